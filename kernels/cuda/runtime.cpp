// The host side of launch.cuh: starting kernels, device properties, scratch memory. The shim has its own
// (tests/shim/runtime.cpp).
#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.cuh"

namespace ddpmts::kernels::cuda {
namespace {

constexpr std::size_t kSharedBytesWithoutAsking = 48 * 1024;

/// "cuda/add.cu" of ".../cuda/add.cu".
std::string short_path(std::string path) {
  std::size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) slash = path.rfind('/', slash - 1);
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string device_text() {
  int device = -1;
  cudaDeviceProp properties{};
  if (cudaGetDevice(&device) != cudaSuccess) return "no device";
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return "device " + std::to_string(device);
  return "device " + std::to_string(device) + " (" + properties.name + ")";
}

void check(cudaError_t error, const char* call, const char* file, int line) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error of a call is not the next call's
  throw std::runtime_error(std::string(call) + " failed at " + short_path(file) + ":" + std::to_string(line) +
                           " on " + device_text() + ": " + cudaGetErrorName(error) + ", " +
                           cudaGetErrorString(error));
}
#define DDPMTS_CHECK_CUDA(call) check((call), #call, __FILE__, __LINE__)

/// A range in the profiler's timeline, as long as it lives.
class ProfilerRange {
 public:
  explicit ProfilerRange(const char* name) { nvtxRangePushA(name); }
  ~ProfilerRange() { nvtxRangePop(); }
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;
};

std::string text_of(dim3 d) {
  return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z);
}

int current_device() {
  int device = 0;
  DDPMTS_CHECK_CUDA(cudaGetDevice(&device));
  return device;
}

}  // namespace

namespace detail {

void launch(const KernelName& name, const void* kernel, dim3 grid, dim3 block,
            std::size_t dynamic_shared_bytes, Stream stream, void** parameters) {
  const ProfilerRange range(name.name);
  cudaError_t error = cudaSuccess;
  if (dynamic_shared_bytes > kSharedBytesWithoutAsking) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(dynamic_shared_bytes));
  }
  if (error == cudaSuccess) {
    error = cudaLaunchKernel(kernel, grid, block, parameters, dynamic_shared_bytes,
                             static_cast<cudaStream_t>(stream.handle));
  }
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw std::runtime_error("CUDA kernel " + std::string(name.name) + " (" + short_path(name.file) + ":" +
                           std::to_string(name.line) + ", grid " + text_of(grid) + ", block " +
                           text_of(block) + ", " + std::to_string(dynamic_shared_bytes) +
                           " bytes of shared memory) failed on " + device_text() + ": " +
                           cudaGetErrorName(error) + ", " + cudaGetErrorString(error));
}

}  // namespace detail

int multiprocessor_count() {
  static std::mutex mutex;
  static std::map<int, int> counts;
  const int device = current_device();
  const std::lock_guard lock(mutex);
  const auto found = counts.find(device);
  if (found != counts.end()) return found->second;
  int count = 0;
  DDPMTS_CHECK_CUDA(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return counts[device] = count;
}

ReductionScratch reduction_scratch(Stream stream) {
  thread_local std::map<int, ReductionScratch> scratches;  // never freed: a graph may hold them
  const int device = current_device();
  const auto found = scratches.find(device);
  if (found != scratches.end()) return found->second;
  constexpr std::size_t partial_bytes =
      ReductionScratch::kMostBlocks * ReductionScratch::kMostSums * sizeof(double);
  void* memory = nullptr;
  DDPMTS_CHECK_CUDA(cudaMalloc(&memory, partial_bytes + sizeof(unsigned)));
  ReductionScratch scratch{static_cast<double*>(memory),
                           reinterpret_cast<unsigned*>(static_cast<char*>(memory) + partial_bytes)};
  DDPMTS_CHECK_CUDA(
      cudaMemsetAsync(scratch.tickets, 0, sizeof(unsigned), static_cast<cudaStream_t>(stream.handle)));
  scratches.emplace(device, scratch);
  return scratch;
}

void* scratch_memory(Stream, std::size_t bytes) {
  struct Block {
    void* data = nullptr;
    std::size_t bytes = 0;
  };
  constexpr std::size_t kFirstBytes = std::size_t{1} << 20;
  thread_local std::map<int, Block> blocks;  // never freed: a graph may hold them
  Block& block = blocks[current_device()];
  if (block.bytes < bytes) {
    // Twice as much each time: all that was outgrown is together smaller than what is in use.
    const std::size_t wanted = larger(larger(bytes, 2 * block.bytes), kFirstBytes);
    void* memory = nullptr;
    DDPMTS_CHECK_CUDA(cudaMalloc(&memory, wanted));
    block = Block{memory, wanted};
  }
  return block.data;
}

}  // namespace ddpmts::kernels::cuda
