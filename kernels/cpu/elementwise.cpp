// The plain passes: cast, add, fill, u8 pictures to normalised channels (contract: kernels/elementwise.h).
// Layout: flat arrays.
// Bytes moved: what the arrays hold, once.
// Variants: per pair of element types.
#include "kernels/elementwise.h"

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kBlock = 1 << 14;  // elements of one task; arrays up to this size run on one thread

/// Runs body(first, count) over blocks of [0, total) in parallel.
template <class Body>
DDPMTS_INLINE void for_each_block(std::int64_t total, Body body) {
  const std::int64_t blocks = ceil_div(total, kBlock);
#pragma omp parallel for schedule(static) if (blocks > 1)
  for (std::int64_t b = 0; b < blocks; ++b) body(b * kBlock, smaller(kBlock, total - b * kBlock));
}

template <class From, class To>
void cast_array(const From* from, To* to, std::int64_t count) {
  for_each_block(count, [=](std::int64_t first, std::int64_t size) {
    for_each_vector(size, [=](std::int64_t i, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      store_upto(to + first + i, load_upto(from + first + i, n), n);
    });
  });
}

template <class T>
void add_arrays(const T* a, const T* b, T* out, std::int64_t count) {
  for_each_block(count, [=](std::int64_t first, std::int64_t size) {
    for_each_vector(size, [=](std::int64_t i, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      store_upto(out + first + i, load_upto(a + first + i, n) + load_upto(b + first + i, n), n);
    });
  });
}

void fill_array(float value, float* out, std::int64_t count) {
  for_each_block(count, [=](std::int64_t first, std::int64_t size) {
    for (std::int64_t i = first; i < first + size; ++i) out[i] = value;
  });
}

template <class T>
void normalize(const NormalizeArgs& args) {
  T table[3][256];  // a byte has few values: the formula is evaluated once for each
  for (int c = 0; c < 3; ++c) {
    for (int v = 0; v < 256; ++v) {
      table[c][v] = from_float<T>((static_cast<float>(v) / 255.0f - args.mean[c]) / args.std[c]);
    }
  }
  const std::uint8_t* src = args.src;
  T* dst = static_cast<T*>(args.dst);
  const std::int64_t width = args.dst_channels;
  for_each_block(args.pixels, [&table, src, dst, width](std::int64_t first, std::int64_t size) {
    for (std::int64_t pixel = first; pixel < first + size; ++pixel) {
      const std::uint8_t* rgb = src + 3 * pixel;
      T* out = dst + width * pixel;
      for (int c = 0; c < 3; ++c) out[c] = table[c][rgb[c]];
      for (std::int64_t c = 3; c < width; ++c) out[c] = T{};
    }
  });
}

}  // namespace

void cast(const CastArgs& args) {
  with_float_type(args.src_type, [&](auto from) DDPMTS_INLINE_LAMBDA {
    with_float_type(args.dst_type, [&](auto to) DDPMTS_INLINE_LAMBDA {
      cast_array(static_cast<const decltype(from)*>(args.src), static_cast<decltype(to)*>(args.dst),
                 args.count);
    });
  });
}

void add(const AddArgs& args) {
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA {
    using T = decltype(zero);
    add_arrays(static_cast<const T*>(args.a), static_cast<const T*>(args.b), static_cast<T*>(args.out),
               args.count);
  });
}

void fill_values(const FillValuesArgs& args) { fill_array(args.value, args.dst, args.count); }

void normalize_pictures(const NormalizeArgs& args) {
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { normalize<decltype(zero)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
