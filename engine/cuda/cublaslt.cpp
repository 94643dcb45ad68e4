#include "engine/cuda/cublaslt.h"

#include "engine/error.h"

namespace ddpmts::cuda {
namespace {

template <class Function>
void bind(Function& function, const char* name) {
  function = reinterpret_cast<Function>(library_symbol(Library::cublaslt, name));
}

Cublaslt bind_all() {
  Cublaslt table{};
  bind(table.create, "cublasLtCreate");
  bind(table.destroy, "cublasLtDestroy");
  bind(table.status_string, "cublasLtGetStatusString");
  bind(table.operation_create, "cublasLtMatmulDescCreate");
  bind(table.operation_destroy, "cublasLtMatmulDescDestroy");
  bind(table.operation_set, "cublasLtMatmulDescSetAttribute");
  bind(table.layout_create, "cublasLtMatrixLayoutCreate");
  bind(table.layout_destroy, "cublasLtMatrixLayoutDestroy");
  bind(table.preference_create, "cublasLtMatmulPreferenceCreate");
  bind(table.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  bind(table.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  bind(table.heuristics, "cublasLtMatmulAlgoGetHeuristic");
  bind(table.matmul, "cublasLtMatmul");
  return table;
}

}  // namespace

const Cublaslt& cublaslt() {
  static const Cublaslt table = bind_all();
  return table;
}

void check_cublaslt(cublasStatus_t status, const char* call, int device) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw_error<DeviceError>("{} failed on cuda:{}: {}", call, device, cublaslt().status_string(status));
}

}  // namespace ddpmts::cuda
