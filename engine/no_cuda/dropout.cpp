// The CUDA launcher of dropout in a build without CUDA (see kernels.cpp).
#include "kernels/dropout.h"

#include "engine/error.h"

namespace ddpmts::kernels::cuda {

void dropout(const DropoutArgs&, Stream) {
  throw_error<DeviceError>("dropout: this program was built without CUDA");
}

}  // namespace ddpmts::kernels::cuda
