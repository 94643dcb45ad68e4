#include "data/foreground.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace ddpmts {
namespace {

int border_median(const std::uint8_t* picture, int side, int channel) {
  std::vector<std::uint8_t> levels;
  const auto level = [&](int x, int y) { return picture[(y * side + x) * 3 + channel]; };
  for (int i = 0; i < side; ++i) {
    for (const std::uint8_t value : {level(i, 0), level(i, side - 1), level(0, i), level(side - 1, i)}) {
      levels.push_back(value);
    }
  }
  const auto middle = levels.begin() + static_cast<std::ptrdiff_t>(levels.size() / 2);
  std::nth_element(levels.begin(), middle, levels.end());
  return *middle;
}

}  // namespace

Mask foreground(const std::uint8_t* picture, int side, int levels) {
  const int ground[3] = {border_median(picture, side, 0), border_median(picture, side, 1),
                         border_median(picture, side, 2)};
  Mask differs(side, side);
  for (int p = 0; p < side * side; ++p) {
    bool part = false;
    for (int c = 0; c < 3; ++c) part = part || std::abs(picture[p * 3 + c] - ground[c]) > levels;
    differs.value[static_cast<std::size_t>(p)] = part ? 1 : 0;
  }
  Mask voted(side, side);
  constexpr int kReach = 2;
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      int votes = 0, voters = 0;
      for (int v = std::max(0, y - kReach); v <= std::min(side - 1, y + kReach); ++v) {
        for (int u = std::max(0, x - kReach); u <= std::min(side - 1, x + kReach); ++u, ++voters) {
          votes += differs.at(u, v);
        }
      }
      voted.at(x, y) = 2 * votes > voters ? 1 : 0;
    }
  }
  return voted;
}

}  // namespace ddpmts
