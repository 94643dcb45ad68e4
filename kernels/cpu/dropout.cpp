// Dropout (contract: kernels/dropout.h).
// Layout: flat arrays.
// Bytes moved: one read, one write.
// Variants: f32 and bf16.
#include "kernels/dropout.h"

#include <stdexcept>

#include "kernels/cpu/simd.h"
#include "kernels/philox.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kBlock = 1 << 14;  // elements of one task, a multiple of 4

template <class T>
void dropout_block(const DropoutArgs& args, std::int64_t first, std::int64_t count) {
  const T* x = static_cast<const T*>(args.x) + first;
  T* y = static_cast<T*>(args.y) + first;
  const float scale = 1.0f / (1.0f - args.probability);
  const std::uint64_t offset = args.step_offset != nullptr ? *args.step_offset : 0;
  const Philox random{args.seed, RandomStream::dropout, args.step + offset};
  for (std::int64_t i = 0; i < count; i += 4) {
    const Uint4 block = random.bits(static_cast<std::uint32_t>((first + i) / 4));
    const std::uint32_t words[4] = {block.x, block.y, block.z, block.w};
    for (std::int64_t j = 0; j < 4 && i + j < count; ++j) {
      const bool kept = uniform01(words[j]) >= args.probability;
      y[i + j] = from_float<T>(kept ? to_float(x[i + j]) * scale : 0.0f);
    }
  }
}

}  // namespace

void dropout(const DropoutArgs& args) {
  if (!(args.probability >= 0.0f && args.probability < 1.0f)) {
    throw std::invalid_argument("dropout: the probability must lie in [0, 1)");
  }
  const std::int64_t blocks = ceil_div(args.count, kBlock);
#pragma omp parallel for schedule(static) if (blocks > 1)
  for (std::int64_t b = 0; b < blocks; ++b) {
    with_float_type(args.type, [&](auto zero) {
      dropout_block<decltype(zero)>(args, b * kBlock, smaller(kBlock, args.count - b * kBlock));
    });
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
