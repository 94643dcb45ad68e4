// Rows of length 1 and their gradient (contract: kernels/normalize_rows.h).
// Layout: threads share rows; sums in f32 lanes within a row.
// Bytes moved: see the contract. A few hundred rows: everything stays in the second cache.
// Variants: x in f32 or bf16.
#include "kernels/normalize_rows.h"

#include "kernels/cpu/vector_math.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kSmall = 1 << 15;  // elements below which one thread is faster than two

template <class T>
void normalize_forward(const NormalizeRowsArgs& args) {
#pragma omp parallel for schedule(static) if (args.rows * args.columns >= kSmall)
  for (std::int64_t r = 0; r < args.rows; ++r) {
    const T* x = static_cast<const T*>(args.x) + r * args.columns;
    float* y = args.y + r * args.columns;
    Floats squares{};
    for_each_vector(args.columns, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats value = load_upto(x + c, n);
      squares += value * value;
    });
    const float square = sum_lanes(squares);
    const float inverse = square < kLeastSquaredLength ? 0.0f : 1.0f / __builtin_sqrtf(square);
    args.inverse_norms[r] = inverse;
    for_each_vector(args.columns, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      store_upto(y + c, load_upto(x + c, n) * inverse, n);
    });
  }
}

template <class T>
void normalize_backward(const NormalizeRowsArgs& args) {
#pragma omp parallel for schedule(static) if (args.rows * args.columns >= kSmall)
  for (std::int64_t r = 0; r < args.rows; ++r) {
    const float* y = args.y + r * args.columns;
    const float* dy = args.dy + r * args.columns;
    T* dx = static_cast<T*>(args.dx) + r * args.columns;
    Floats dots{};
    for_each_vector(args.columns, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      dots += load_upto(y + c, n) * load_upto(dy + c, n);
    });
    const float dot = sum_lanes(dots), inverse = args.inverse_norms[r];
    for_each_vector(args.columns, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      store_upto(dx + c, inverse * (load_upto(dy + c, n) - dot * load_upto(y + c, n)), n);
    });
  }
}

}  // namespace

void normalize_rows_forward(const NormalizeRowsArgs& args) {
  check(args);
  with_float_type(args.type,
                  [&](auto zero) DDPMTS_INLINE_LAMBDA { normalize_forward<decltype(zero)>(args); });
}

void normalize_rows_backward(const NormalizeRowsArgs& args) {
  check(args);
  with_float_type(args.type,
                  [&](auto zero) DDPMTS_INLINE_LAMBDA { normalize_backward<decltype(zero)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
