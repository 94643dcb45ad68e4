// Filters at the points of Winograd's convolution (contract: kernels/winograd.h).
// Layout: [K, 3, 3, C] or, turned, [C, 3, 3, K] → [36][⌈K / panel⌉][C][panel], a panel as wide as two vectors.
// Bytes moved: the filters read and the four times as many results written once.
// Variants: as they are, turned.
#include "kernels/cpu/winograd_math.h"
#include "kernels/winograd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// Writes the filters of one input channel to `count` (at most kLanes) output channels, taps[row][column], at all points;
/// `stride`: floats from point to point.
DDPMTS_INLINE void write_filters(const Floats (&taps)[3][3], float* out, std::int64_t stride) {
  Floats columns[3][6];  // [column][point of the rows]
  for (int s = 0; s < 3; ++s) {
    const Floats column[3] = {taps[0][s], taps[1][s], taps[2][s]};
    transform_filter(column, columns[s]);
  }
  for (int i = 0; i < 6; ++i) {
    const Floats row[3] = {columns[0][i], columns[1][i], columns[2][i]};
    Floats points[6];
    transform_filter(row, points);
    for (int j = 0; j < 6; ++j) store(out + (6 * i + j) * stride, points[j]);
  }
}

constexpr std::int64_t kBlock = 16;  // input channels that are brought into order together

/// From [k][3][3][c] for `inputs` (at most kBlock) and `outputs` (at most kLanes) channels to out[c · kPanel].
DDPMTS_INLINE void transform_block(const float* weights, std::int64_t c, std::int64_t inputs,
                                   std::int64_t outputs, float* out, std::int64_t stride) {
  float ordered[9][kBlock][kLanes] = {};
  for (std::int64_t k = 0; k < outputs; ++k) {
    for (int tap = 0; tap < 9; ++tap) {
      const float* from = weights + (k * 9 + tap) * c;
      for (std::int64_t i = 0; i < inputs; ++i) ordered[tap][i][k] = from[i];
    }
  }
  for (std::int64_t i = 0; i < inputs; ++i) {
    Floats taps[3][3];
    for (int tap = 0; tap < 9; ++tap) taps[tap / 3][tap % 3] = load(ordered[tap][i]);
    write_filters(taps, out + i * kPanel, stride);
  }
}

/// From [c][3][3][k], turned, for one input and `outputs` channels.
DDPMTS_INLINE void transform_turned(const float* weights, std::int64_t k, std::int64_t outputs, float* out,
                                    std::int64_t stride) {
  Floats taps[3][3];
  for (int tap = 0; tap < 9; ++tap) taps[tap / 3][tap % 3] = load_upto(weights + (8 - tap) * k, outputs);
  write_filters(taps, out, stride);
}

}  // namespace

void winograd_weights(const WinogradWeightsArgs& args) {
  const std::int64_t c = args.c, k = args.k;
  const std::int64_t panels = ceil_div(k, kPanel), stride = panels * c * kPanel;
  const std::int64_t blocks = ceil_div(c, kBlock);
#pragma omp parallel for schedule(static) collapse(2)
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t first = block * kBlock, inputs = smaller(kBlock, c - first);
      for (std::int64_t half = 0; half < 2; ++half) {
        const std::int64_t output = panel * kPanel + half * kLanes;
        const std::int64_t outputs = larger(smaller(kLanes, k - output), std::int64_t{0});
        float* out = args.transformed + (panel * c + first) * kPanel + half * kLanes;
        if (args.turned) {
          for (std::int64_t i = 0; i < inputs; ++i) {
            transform_turned(args.weights + (first + i) * 9 * k + output, k, outputs, out + i * kPanel,
                             stride);
          }
        } else {
          transform_block(args.weights + output * 9 * c + first, c, inputs, outputs, out, stride);
        }
      }
    }
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
