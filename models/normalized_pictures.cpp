#include "models/normalized_pictures.h"

#include "engine/launch.h"
#include "kernels/elementwise.h"

namespace ddpmts {

Tensor normalized_pictures(const Tensor& pictures, DType type) {
  if (pictures.shape().rank() != 4 || pictures.dim(3) != 3 || pictures.type() != DType::u8) {
    throw_error<ShapeError>("pictures must be u8 [N, height, width, 3], not {} {}", name_of(pictures.type()),
                            pictures.shape().text());
  }
  const Tensor normalized = Tensor::empty(pictures.shape(), type, pictures.device());
  kernels::NormalizeArgs args;
  args.type = type;
  args.pixels = pictures.count() / 3;
  args.src = pictures.data<std::uint8_t>();
  args.dst = normalized.raw();
  DDPMTS_LAUNCH(pictures.device(), normalize_pictures, args);
  return normalized;
}

}  // namespace ddpmts
