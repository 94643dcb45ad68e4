// Pictures in host memory. Rows run top to bottom, nothing between pixels or rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ddpmts {

/// Colour picture, [height, width, 3], 8 bits a channel, sRGB as stored in the file.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;

  Image() = default;
  /// Black picture. Throws std::invalid_argument on a side below 1.
  Image(int width, int height);

  std::uint8_t* pixel(int x, int y) { return rgb.data() + offset(x, y); }
  const std::uint8_t* pixel(int x, int y) const { return rgb.data() + offset(x, y); }
  bool empty() const { return rgb.empty(); }
  bool operator==(const Image&) const = default;

 private:
  std::size_t offset(int x, int y) const {
    return (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)) * 3;
  }
};

/// Colour with opacity, [height, width, 4], 8 bits a channel, colours not multiplied by the opacity.
struct TransparentImage {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgba;
};

/// Grey picture, [height, width], one value of type T a pixel.
template <class T>
struct GreyPicture {
  int width = 0;
  int height = 0;
  std::vector<T> value;

  GreyPicture() = default;
  /// All zero. Throws std::invalid_argument on a side below 1.
  GreyPicture(int width, int height);

  T& at(int x, int y) { return value[offset(x, y)]; }
  const T& at(int x, int y) const { return value[offset(x, y)]; }
  bool empty() const { return value.empty(); }
  bool operator==(const GreyPicture&) const = default;

 private:
  std::size_t offset(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x);
  }
};

/// As read from a file: 0 = background, 255 = defect, between them = soft edges. As made by load_mask: only 0
/// and 1.
using Mask = GreyPicture<std::uint8_t>;
/// Sixteen bits a pixel, for stored anomaly maps.
using Grey16 = GreyPicture<std::uint16_t>;
/// Anomaly maps and the like.
using FloatMap = GreyPicture<float>;

extern template struct GreyPicture<std::uint8_t>;
extern template struct GreyPicture<std::uint16_t>;
extern template struct GreyPicture<float>;

}  // namespace ddpmts
