// CPU twin of kernels/mask_downsample.h.
#include "kernels/mask_downsample.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

struct Tap {
  std::int64_t low, high;
  float weight;  // of high
};

Tap tap_at(std::int64_t i, std::int64_t src, std::int64_t dst) {
  float place = (static_cast<float>(i) + 0.5f) * (static_cast<float>(src) / static_cast<float>(dst)) - 0.5f;
  place = place < 0.0f ? 0.0f : place;
  const std::int64_t low = static_cast<std::int64_t>(place);
  return {low, low + 1 < src ? low + 1 : src - 1, place - static_cast<float>(low)};
}

}  // namespace

void mask_downsample(const MaskDownsampleArgs& a) {
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < a.n * a.dst_h; ++row) {
    const Tap y = tap_at(row % a.dst_h, a.src_h, a.dst_h);
    const std::uint8_t* picture = a.src + row / a.dst_h * a.src_h * a.src_w;
    const std::uint8_t* top = picture + y.low * a.src_w;
    const std::uint8_t* bottom = picture + y.high * a.src_w;
    std::uint8_t* out = a.dst + row * a.dst_w;
    for (std::int64_t i = 0; i < a.dst_w; ++i) {
      const Tap x = tap_at(i, a.src_w, a.dst_w);
      const float upper = static_cast<float>(top[x.low]) * (1.0f - x.weight) + static_cast<float>(top[x.high]) * x.weight;
      const float lower =
          static_cast<float>(bottom[x.low]) * (1.0f - x.weight) + static_cast<float>(bottom[x.high]) * x.weight;
      out[i] = upper * (1.0f - y.weight) + lower * y.weight >= a.threshold ? 1 : 0;
    }
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
