// The shapes that tests and benchmark share: named lists of the feature maps that the networks make, and one of sizes that
// are multiples of nothing. tests/models/shape_lists_test.cpp holds the lists against the networks. Plain data: kernels'
// tests include it too.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ddpmts::bench {

/// A feature map of one picture, [h, w, c].
struct MapShape {
  std::int64_t h = 1, w = 1, c = 1;

  std::int64_t pixels() const { return h * w; }
  std::int64_t count() const { return h * w * c; }
  bool operator==(const MapShape&) const = default;
  /// "64x64x128"
  std::string text() const { return std::to_string(h) + "x" + std::to_string(w) + "x" + std::to_string(c); }
  /// GroupNorm's 32 groups, or as many of them as divide the channels.
  std::int64_t groups() const {
    std::int64_t groups = 32;
    while (c % groups != 0) --groups;
    return groups;
  }
};

/// Student and teacher on a picture of 256 pixels, finest first; the first three are the levels that are compared.
inline constexpr MapShape kDetector256[] = {{64, 64, 64}, {32, 32, 128}, {16, 16, 256}, {8, 8, 512}};
/// The UNet `s` on 64 pixels, level by level.
inline constexpr MapShape kUNet64[] = {{64, 64, 64}, {32, 32, 128}, {16, 16, 192}, {8, 8, 256}};
/// Those of it with self-attention.
inline constexpr MapShape kAttention64[] = {{32, 32, 128}, {16, 16, 192}, {8, 8, 256}};
/// The UNet `s` on 256 pixels, level by level.
inline constexpr MapShape kUNet256[] = {{256, 256, 64}, {128, 128, 64}, {64, 64, 128},
                                        {32, 32, 128},  {16, 16, 256},  {8, 8, 256}};
/// ResNet-18 on 224 pixels: stem, layer1, layer2, layer3.
inline constexpr MapShape kResNet18At224[] = {{112, 112, 64}, {56, 56, 64}, {28, 28, 128}, {14, 14, 256}};
/// Sides and channels that no vector, tile or group divides.
inline constexpr MapShape kOdd[] = {{1, 1, 6}, {5, 3, 33}, {7, 9, 40}, {13, 11, 65}, {29, 31, 3}};

struct ShapeList {
  std::string_view name;
  std::span<const MapShape> maps;
};

inline constexpr std::array<ShapeList, 6> kShapeLists = {{{"detector256", kDetector256},
                                                          {"unet64", kUNet64},
                                                          {"attention64", kAttention64},
                                                          {"unet256", kUNet256},
                                                          {"resnet18_224", kResNet18At224},
                                                          {"odd", kOdd}}};

}  // namespace ddpmts::bench
