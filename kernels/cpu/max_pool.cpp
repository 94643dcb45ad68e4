// CPU twin of kernels/max_pool.h.
#include "kernels/max_pool.h"

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// Positions [first, last) of the window that lie inside the picture.
struct Inside {
  std::int64_t first, last;
};

DDPMTS_INLINE Inside inside(std::int64_t out, std::int64_t stride, std::int64_t padding, std::int64_t window,
                            std::int64_t side) {
  const std::int64_t begin = out * stride - padding;
  return {larger(begin, 0), smaller(begin + window, side)};
}

template <class T>
void pool_rows(const MaxPoolArgs& a) {
  const T* const x = static_cast<const T*>(a.x);
  T* const y = static_cast<T*>(a.y);
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < a.n * a.out_h; ++row) {
    const Inside down = inside(row % a.out_h, a.stride, a.padding, a.window_h, a.h);
    const T* const picture = x + row / a.out_h * a.h * a.w * a.c;
    for (std::int64_t i = 0; i < a.out_w; ++i) {
      const Inside across = inside(i, a.stride, a.padding, a.window_w, a.w);
      T* const out = y + (row * a.out_w + i) * a.c;
      for_each_vector(a.c, [&](std::int64_t k, std::int64_t count) DDPMTS_INLINE_LAMBDA {
        Floats most = splat(-__builtin_inff());
        Ints nan{};
        for (std::int64_t v = down.first; v < down.last; ++v) {
          for (std::int64_t u = across.first; u < across.last; ++u) {
            const Floats value = load_upto(picture + (v * a.w + u) * a.c + k, count);
            nan |= value != value;
            most = larger(most, value);
          }
        }
        store_upto(out + k, (Floats)((Ints)most | nan), count);
      });
    }
  }
}

}  // namespace

void max_pool(const MaxPoolArgs& args) {
  with_float_type(args.type, [&](auto type) { pool_rows<decltype(type)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
