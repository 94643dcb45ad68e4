// Softmax over rows and its gradient (contract: kernels/softmax.h).
// Layout: [rows, columns] row-major; the exponentials of a row wait for their sum in a scratch row, in the first cache.
// Bytes moved: forward reads x once and writes y; backward reads y and dy (the second time from the cache), writes dx.
// Variants: y in f32 or bf16.
#include "kernels/softmax.h"

#include <omp.h>

#include <stdexcept>

#include "kernels/cpu/fast_exp.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kSmall = 1 << 14;  // elements below which one thread is faster than two

constexpr std::int64_t kAhead = 1024;  // elements between what is computed and what is fetched

/// −∞ in the lanes from `count` on.
DDPMTS_INLINE Floats only_first(Floats x, std::int64_t count) {
  if (count >= kLanes) return x;
  float lanes[kLanes];
  store(lanes, x);
  for (std::int64_t i = count; i < kLanes; ++i) lanes[i] = -__builtin_inff();
  return load(lanes);
}

template <int kBy>
DDPMTS_INLINE Floats rotated(Floats x) {
  Ints order{};
  for (int i = 0; i < kLanes; ++i) order[i] = (i + kBy) % kLanes;
  return __builtin_shuffle(x, order);
}

/// One value from all lanes, halving their number in each step: a row of attention is a few vectors long, and combining lane
/// after lane would take longer than the row.
template <class Combine>
DDPMTS_INLINE float reduce(Floats x, Combine combine) {
  if constexpr (kLanes > 8) x = combine(x, rotated<8>(x));
  if constexpr (kLanes > 4) x = combine(x, rotated<4>(x));
  x = combine(x, rotated<2>(x));
  return combine(x, rotated<1>(x))[0];
}
DDPMTS_INLINE float largest_lane(Floats x) {
  return reduce(x, [](Floats a, Floats b) DDPMTS_INLINE_LAMBDA { return larger(a, b); });
}
DDPMTS_INLINE float total(Floats x) {
  return reduce(x, [](Floats a, Floats b) DDPMTS_INLINE_LAMBDA { return a + b; });
}

/// `exponentials` has room for `columns` rounded up to kLanes.
template <class T>
void softmax_row(const float* x, T* y, std::int64_t columns, float scale, float* exponentials) {
  Floats highest = splat(-__builtin_inff());
  for_each_vector(columns, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    highest = larger(highest, only_first(load_upto(x + c, n) * scale, n));
  });
  const float largest = largest_lane(highest);
  Floats sum{};
  for_each_vector(columns, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    const Floats e = exp_of_negative<float>(largest - only_first(as_written(load_upto(x + c, n) * scale), n));
    __builtin_prefetch(x + c + kAhead);  // rows to come, while this one is computed
    sum += e;
    store(exponentials + c, e);
  });
  const float share = 1.0f / total(sum);
  for_each_vector(columns, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    store_upto(y + c, load(exponentials + c) * share, n);
  });
}

template <class T>
void forward(const SoftmaxArgs& args) {
  T* y = static_cast<T*>(args.y);
  const bool parallel = args.rows * args.columns >= kSmall;
  const std::int64_t width = ceil_div(args.columns, 16) * 16;
  const Scratch<float> scratch(width * (parallel ? omp_get_max_threads() : 1));
#pragma omp parallel if (parallel)
  {
    float* exponentials = scratch.data() + omp_get_thread_num() * width;
#pragma omp for schedule(static)
    for (std::int64_t r = 0; r < args.rows; ++r) {
      softmax_row(args.x + r * args.columns, y + r * args.columns, args.columns, args.scale, exponentials);
    }
  }
}

template <class T>
void backward(const SoftmaxArgs& args) {
  const std::int64_t columns = args.columns;
#pragma omp parallel for schedule(static) if (args.rows * columns >= kSmall)
  for (std::int64_t r = 0; r < args.rows; ++r) {
    const T* y = static_cast<const T*>(args.y) + r * columns;
    const T* dy = static_cast<const T*>(args.dy) + r * columns;
    float* dx = args.dx + r * columns;
    Floats dots{};
    for_each_vector(columns, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      dots += load_upto(y + c, n) * load_upto(dy + c, n);
    });
    const float dot = total(dots);
    for_each_vector(columns, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      store_upto(dx + c, args.scale * load_upto(y + c, n) * as_written(load_upto(dy + c, n) - dot), n);
    });
  }
}

void check(const SoftmaxArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("softmax: y must be f32 or bf16");
  }
  if (args.rows < 0 || args.columns < 1)
    throw std::invalid_argument("softmax: a row must have at least one column");
}

}  // namespace

void softmax_forward(const SoftmaxArgs& args) {
  check(args);
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { forward<decltype(zero)>(args); });
}

void softmax_backward(const SoftmaxArgs& args) {
  check(args);
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { backward<decltype(zero)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
