// The CUDA launchers of a build without CUDA. No device pointer can exist here, so reaching one is a
// programming error.
#include "engine/error.h"
#include "engine/no_cuda/every_kernel.h"

#define DDPMTS_ABSENT(name, Args)                                               \
  void name(const Args&, Stream) {                                              \
    throw_error<DeviceError>("{}: this program was built without CUDA", #name); \
  }

namespace ddpmts::kernels::cuda {

DDPMTS_EVERY_KERNEL(DDPMTS_ABSENT)

}  // namespace ddpmts::kernels::cuda
