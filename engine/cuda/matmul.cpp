// Matrix products by cuBLASLt, which counts columns first: our row-major c = a·b is its cᵀ = bᵀ·aᵀ, so the operands
// change places and keep their memory, and the bias runs along its rows.
#include "engine/cuda/matmul.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "engine/cuda/context.h"
#include "engine/cuda/cublaslt.h"
#include "engine/cuda/device_kernels.h"
#include "engine/cuda/primitives.h"
#include "engine/error.h"
#include "engine/memory.h"
#include "engine/settings.h"

namespace ddpmts::cuda {
namespace {

struct ProductKey {
  int device = 0;
  MatmulShape shape;
  bool bias = false, tf32 = false, deterministic = false;
  unsigned alignment_a = 0, alignment_b = 0, alignment_c = 0;  ///< of the addresses, at most 256
  std::int64_t workspace_limit = 0;
  bool operator==(const ProductKey&) const = default;
};

struct ProductKeyHash {
  std::size_t operator()(const ProductKey& key) const {
    std::size_t seed = 0;
    const MatmulShape& s = key.shape;
    for (const std::int64_t value :
         {std::int64_t{key.device}, s.m, s.n, s.k, std::int64_t{s.transpose_a}, std::int64_t{s.transpose_b},
          static_cast<std::int64_t>(s.type), static_cast<std::int64_t>(s.result_type), std::int64_t{key.bias},
          std::int64_t{key.tf32}, std::int64_t{key.deterministic}, std::int64_t{key.alignment_a},
          std::int64_t{key.alignment_b}, std::int64_t{key.alignment_c}, key.workspace_limit}) {
      seed ^= std::hash<std::int64_t>{}(value) + 0x9e3779b97f4a7c15ULL + (seed << 6) + (seed >> 2);
    }
    return seed;
  }
};

struct ProductPlan {
  CublasltOperation operation;
  CublasltLayout first, second, result;  ///< of b, a and c
  cublasLtMatmulAlgo_t algorithm{};
  std::size_t workspace = 0;
};

cublasLtHandle_t handle_of(int device) {
  thread_local std::map<int, std::unique_ptr<cublasLtContext, DestroyCublasltHandle>> handles;
  auto& entry = handles[device];
  if (!entry) {
    cublasLtHandle_t handle = nullptr;
    check_cublaslt(cublaslt().create(&handle), "cublasLtCreate", device);
    entry.reset(handle);
  }
  return entry.get();
}

cudaDataType_t data_type(DType type) { return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

unsigned alignment(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  return static_cast<unsigned>(std::min<std::uintptr_t>(address & (~address + 1), 256));
}

// A row-major matrix [rows, columns] is column-major [columns, rows].
CublasltLayout layout(int device, DType type, std::int64_t rows, std::int64_t columns) {
  cublasLtMatrixLayout_t made = nullptr;
  check_cublaslt(cublaslt().layout_create(&made, data_type(type), static_cast<std::uint64_t>(columns),
                                          static_cast<std::uint64_t>(rows), columns),
                 "cublasLtMatrixLayoutCreate", device);
  return CublasltLayout(made);
}

ProductPlan make_plan(const ProductKey& key) {
  const Cublaslt& lt = cublaslt();
  const MatmulShape& s = key.shape;
  const int device = key.device;
  ProductPlan plan;
  const cublasComputeType_t compute = key.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  cublasLtMatmulDesc_t operation = nullptr;
  check_cublaslt(lt.operation_create(&operation, compute, CUDA_R_32F), "cublasLtMatmulDescCreate", device);
  plan.operation.reset(operation);
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    check_cublaslt(lt.operation_set(operation, attribute, &value, sizeof value),
                   "cublasLtMatmulDescSetAttribute", device);
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (key.bias) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
  }
  plan.first = s.transpose_b ? layout(device, s.type, s.n, s.k) : layout(device, s.type, s.k, s.n);
  plan.second = s.transpose_a ? layout(device, s.type, s.k, s.m) : layout(device, s.type, s.m, s.k);
  plan.result = layout(device, s.result_type, s.m, s.n);

  cublasLtMatmulPreference_t made = nullptr;
  check_cublaslt(lt.preference_create(&made), "cublasLtMatmulPreferenceCreate", device);
  const CublasltPreference preference(made);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check_cublaslt(lt.preference_set(made, attribute, &value, sizeof value),
                   "cublasLtMatmulPreferenceSetAttribute", device);
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(key.workspace_limit));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(key.alignment_b));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(key.alignment_a));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(key.alignment_c));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(key.alignment_c));
  if (key.deterministic) {  // sums in place come in a changing order
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE |
                                      CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE));
  }
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      lt.heuristics(handle_of(device), operation, plan.first.get(), plan.second.get(), plan.result.get(),
                    plan.result.get(), made, 1, &found, &count);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0) {
    throw_error<DeviceError>(
        "cuBLASLt has no algorithm on cuda:{} for the matrix product [{}, {}] x [{}, {}], {} to {}: {}",
        device, s.m, s.k, s.k, s.n, name_of(s.type), name_of(s.result_type), lt.status_string(status));
  }
  plan.algorithm = found.algo;
  plan.workspace = found.workspaceSize;
  return plan;
}

ProductPlan& product_plan(const ProductKey& key) {
  // Entries are small; a program that meets more shapes than this starts anew.
  constexpr std::size_t kKeptPlans = 1024;
  handle_of(key.device);  // before the plans, so that they are destroyed first
  thread_local std::unordered_map<ProductKey, ProductPlan, ProductKeyHash> plans;
  const auto found = plans.find(key);
  if (found != plans.end()) return found->second;
  if (plans.size() >= kKeptPlans) plans.clear();
  return plans.emplace(key, make_plan(key)).first->second;
}

}  // namespace

void product(int device, const MatmulShape& shape, const void* a, const void* b, const float* bias,
             bool accumulate, void* c) {
  const cudaStream_t on = stream(device);
  const EngineSettings& settings = engine_settings();
  ProductPlan& plan = product_plan({device, shape, bias != nullptr, settings.tf32 && shape.type == DType::f32,
                                    settings.deterministic, alignment(a), alignment(b), alignment(c),
                                    settings.workspace_limit});
  if (bias != nullptr) {
    check_cublaslt(
        cublaslt().operation_set(plan.operation.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias),
        "cublasLtMatmulDescSetAttribute", device);
  }
  const Buffer workspace({DeviceType::cuda, device}, plan.workspace);
  const float one = 1.0f, beta = accumulate ? 1.0f : 0.0f;
  check_cublaslt(cublaslt().matmul(handle_of(device), plan.operation.get(), &one, b, plan.first.get(), a,
                                   plan.second.get(), &beta, c, plan.result.get(), c, plan.result.get(),
                                   &plan.algorithm, workspace.data(), plan.workspace, on),
                 "cublasLtMatmul", device);
}

void matmul(int device, const MatmulShape& s, const void* a, const void* b, const float* bias, void* c) {
  const ProfilerRange range("matmul");
  require_arithmetic(device, s.type);
  if (bias == nullptr || s.result_type == DType::f32) return product(device, s, a, b, bias, false, c);
  // cuBLASLt adds a bias of the result's type only; ours is f32, and is added before the one rounding.
  MatmulShape to_f32 = s;
  to_f32.result_type = DType::f32;
  const Buffer sum({DeviceType::cuda, device}, static_cast<std::size_t>(s.m * s.n) * sizeof(float));
  product(device, to_f32, a, b, nullptr, false, sum.data());
  epilogue({s.result_type, s.m, s.n, static_cast<const float*>(sum.data()), bias, nullptr, false, c},
           kernel_stream(device));
}

}  // namespace ddpmts::cuda
