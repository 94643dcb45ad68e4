#include "data/resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <stdexcept>

namespace ddpmts {
namespace {

// Weights are whole numbers of 2^-22: sums of 8-bit values times weights then fit 32 bits, and come out the same on every
// machine.
constexpr int kWeightBits = 22;
constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);

/// For every output position: the first input position and its weights, which sum to about 1.
struct Filter {
  std::vector<int> first;
  std::vector<int> count;
  std::vector<std::int32_t> weights;  ///< [output, most]
  int most = 0;
  const std::int32_t* weights_of(int i) const {
    return weights.data() + static_cast<std::size_t>(i) * static_cast<std::size_t>(most);
  }
};

Filter triangle_filter(int from, int to) {
  const double scale = static_cast<double>(from) / to;
  const double reach = std::max(scale, 1.0);  // half width of the triangle, in input pixels
  Filter filter;
  filter.most = static_cast<int>(std::ceil(reach)) * 2 + 1;
  filter.first.resize(static_cast<std::size_t>(to));
  filter.count.resize(static_cast<std::size_t>(to));
  filter.weights.resize(static_cast<std::size_t>(to) * static_cast<std::size_t>(filter.most));
  std::vector<double> exact(static_cast<std::size_t>(filter.most));
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    const int begin = std::max(static_cast<int>(centre - reach + 0.5), 0);
    const int end = std::min(static_cast<int>(centre + reach + 0.5), from);
    double sum = 0;
    for (int k = begin; k < end; ++k) {
      const double weight = std::max(0.0, 1.0 - std::abs((k + 0.5 - centre) / reach));
      exact[static_cast<std::size_t>(k - begin)] = weight;
      sum += weight;
    }
    filter.first[static_cast<std::size_t>(i)] = begin;
    filter.count[static_cast<std::size_t>(i)] = end - begin;
    for (int k = 0; k < end - begin; ++k) {
      const double share = exact[static_cast<std::size_t>(k)] / sum;
      filter.weights[static_cast<std::size_t>(i) * static_cast<std::size_t>(filter.most) +
                     static_cast<std::size_t>(k)] =
          static_cast<std::int32_t>(std::lround(share * (1 << kWeightBits)));
    }
  }
  return filter;
}

std::uint8_t to_byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

Image resize_rows(const Image& image, int width) {
  const Filter filter = triangle_filter(image.width, width);
  Image out(width, image.height);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < width; ++x) {
      const std::uint8_t* in = image.pixel(filter.first[static_cast<std::size_t>(x)], y);
      const std::int32_t* weights = filter.weights_of(x);
      std::int32_t sum[3] = {kHalf, kHalf, kHalf};
      for (int k = 0; k < filter.count[static_cast<std::size_t>(x)]; ++k, in += 3) {
        for (int c = 0; c < 3; ++c) sum[c] += in[c] * weights[k];
      }
      for (int c = 0; c < 3; ++c) out.pixel(x, y)[c] = to_byte(sum[c]);
    }
  }
  return out;
}

Image resize_columns(const Image& image, int height) {
  const Filter filter = triangle_filter(image.height, height);
  Image out(image.width, height);
  std::vector<std::int32_t> sum(static_cast<std::size_t>(image.width) * 3);
  for (int y = 0; y < height; ++y) {
    std::ranges::fill(sum, kHalf);
    for (int k = 0; k < filter.count[static_cast<std::size_t>(y)]; ++k) {
      const std::uint8_t* in = image.pixel(0, filter.first[static_cast<std::size_t>(y)] + k);
      const std::int32_t weight = filter.weights_of(y)[k];
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += in[i] * weight;
    }
    std::ranges::transform(sum, out.pixel(0, y), to_byte);
  }
  return out;
}

/// Two neighbours along one side and the share of the second.
struct Neighbours {
  int low, high;
  float share;
};

std::vector<Neighbours> neighbours(int from, int to) {
  const float scale = static_cast<float>(from) / static_cast<float>(to);
  std::vector<Neighbours> out;
  for (int i = 0; i < to; ++i) {
    const float position = std::max((static_cast<float>(i) + 0.5f) * scale - 0.5f, 0.0f);
    const int low = std::min(static_cast<int>(position), from - 1);
    out.push_back({low, std::min(low + 1, from - 1), position - static_cast<float>(low)});
  }
  return out;
}

/// Calls f(output index, value) for each output pixel, row by row.
template <class T, class F>
void interpolate(const GreyPicture<T>& in, int width, int height, F&& f) {
  const std::vector<Neighbours> columns = neighbours(in.width, width);
  const std::vector<Neighbours> rows = neighbours(in.height, height);
  const auto value = [&](int x, int y) { return static_cast<float>(in.at(x, y)); };
  std::size_t index = 0;
  for (const Neighbours& row : rows) {
    for (const Neighbours& column : columns) {
      const float above =
          value(column.low, row.low) * (1 - column.share) + value(column.high, row.low) * column.share;
      const float below =
          value(column.low, row.high) * (1 - column.share) + value(column.high, row.high) * column.share;
      f(index++, above * (1 - row.share) + below * row.share);
    }
  }
}

template <class Picture>
void check(const Picture& picture, int width, int height) {
  if (picture.empty() || width < 1 || height < 1) {
    throw std::invalid_argument(fmt::format("resize from {} x {} to {} x {}: every side must be at least 1",
                                            picture.width, picture.height, width, height));
  }
}

}  // namespace

Image resize_antialiased(const Image& image, int width, int height) {
  check(image, width, height);
  if (width == image.width && height == image.height) return image;
  if (width == image.width) return resize_columns(image, height);
  const Image narrowed = resize_rows(image, width);
  return height == image.height ? narrowed : resize_columns(narrowed, height);
}

FloatMap resize_bilinear(const FloatMap& map, int width, int height) {
  check(map, width, height);
  FloatMap out(width, height);
  interpolate(map, width, height, [&](std::size_t i, float value) { out.value[i] = value; });
  return out;
}

Mask resize_mask(const Mask& mask, int width, int height) {
  check(mask, width, height);
  Mask out(width, height);
  constexpr float kCut = 0.5f * 255;
  interpolate(mask, width, height, [&](std::size_t i, float value) { out.value[i] = value >= kCut ? 1 : 0; });
  return out;
}

}  // namespace ddpmts
