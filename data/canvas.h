// A small software rasteriser for the parts that the program draws itself: a height map with colours, lit
// from one side, seen through a slightly soft lens by a slightly noisy sensor.
//
// Everything is made of +, -, *, / and sqrt, which IEEE 754 rounds the same way everywhere; the few other
// functions are written out below, so that no C library's last digit decides about a byte of a picture.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "data/image.h"
#include "kernels/philox.h"

namespace ddpmts::drawing {

/// Unit coordinates: the picture spans [-1,1] x [-1,1], y points down.
struct Point {
  float x = 0, y = 0;
};
inline Point operator+(Point a, Point b) { return {a.x + b.x, a.y + b.y}; }
inline Point operator-(Point a, Point b) { return {a.x - b.x, a.y - b.y}; }
inline Point operator*(float s, Point a) { return {s * a.x, s * a.y}; }
inline float dot(Point a, Point b) { return a.x * b.x + a.y * b.y; }
inline float length(Point a) { return std::sqrt(dot(a, a)); }

/// Linear light, 1 = white paper in full light.
struct Colour {
  float r = 0, g = 0, b = 0;
};
inline Colour operator+(Colour a, Colour b) { return {a.r + b.r, a.g + b.g, a.b + b.b}; }
inline Colour operator*(float s, Colour a) { return {s * a.r, s * a.g, s * a.b}; }
inline Colour operator*(Colour a, Colour b) { return {a.r * b.r, a.g * b.g, a.b * b.b}; }

inline int floor_to_int(float x) {
  const int i = static_cast<int>(x);
  return static_cast<float>(i) > x ? i - 1 : i;
}
inline float clamp01(float x) { return std::min(std::max(x, 0.0f), 1.0f); }
inline float mix(float a, float b, float t) { return a + (b - a) * t; }
inline Colour mix(Colour a, Colour b, float t) {
  return {mix(a.r, b.r, t), mix(a.g, b.g, t), mix(a.b, b.b, t)};
}
/// 0 at and below `low`, 1 at and above `high`, a cubic between. `low` may be the larger one: then it falls.
inline float smooth_step(float low, float high, float x) {
  const float t = clamp01((x - low) / (high - low));
  return t * t * (3.0f - 2.0f * t);
}
/// sin(2 pi x), error below 4e-6.
float sine_of_turns(float x);
inline float cosine_of_turns(float x) { return sine_of_turns(x + 0.25f); }
/// The angle of (x, y) in turns, [-0.5, 0.5], error below 1e-5; 0 for the origin.
float turns_of(Point p);
inline Point unit_vector(float turns) { return {cosine_of_turns(turns), sine_of_turns(turns)}; }
/// p turned by the angle whose cosine and sine `direction` holds.
inline Point rotate(Point p, Point direction) {
  return {p.x * direction.x - p.y * direction.y, p.x * direction.y + p.y * direction.x};
}

/// Numbers in the order they are asked for, from one chapter of one picture's stream. Chapters never overlap.
class RandomNumbers {
 public:
  RandomNumbers(kernels::Philox philox, std::uint32_t chapter) : philox_(philox), next_(chapter << 20) {}
  std::uint32_t bits() {
    if (left_ == 0) {
      const kernels::Uint4 block = philox_.bits(next_++);
      words_[3] = block.x, words_[2] = block.y, words_[1] = block.z, words_[0] = block.w;
      left_ = 4;
    }
    return words_[--left_];
  }
  /// [low, high).
  float uniform(float low, float high) { return kernels::uniform(bits(), low, high); }
  /// 0 ... count - 1.
  int index(int count) {
    return static_cast<int>(kernels::uniform_index(bits(), static_cast<std::uint32_t>(count)));
  }
  bool chance(float probability) { return kernels::uniform01(bits()) < probability; }

 private:
  kernels::Philox philox_;
  std::uint32_t next_;
  std::uint32_t words_[4] = {};
  int left_ = 0;
};

/// A square of 256 x 256 random values in [-1, 1) that repeats; read between its points it is smooth noise.
class NoiseTable {
 public:
  explicit NoiseTable(RandomNumbers random);
  float value(int x, int y) const { return values_[static_cast<std::size_t>(((y & 255) << 8) | (x & 255))]; }
  /// One cell is one unit of x or y; cubic blending.
  float smooth(float x, float y) const;

 private:
  std::vector<float> values_;
};

/// What is known of the surface at one sample.
struct Sample {
  float height = 0;  ///< unit coordinates, towards the camera
  Colour albedo;     ///< share of the light that comes back
  float light = 1;   ///< what shadow leaves of the key light and the ambient light, [0,1]
  float gloss = 0;   ///< strength of the highlight
};

/// Samples [x0, x1) x [y0, y1).
struct Box {
  int x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};

struct Lighting {
  float direction[3] = {-0.45f, -0.55f, 0.70f};  ///< towards the lamp; need not have length 1
  float ambient = 0.35f;                         ///< share of the light that comes from everywhere
  Colour colour = {1, 1, 1};
  Point gradient;          ///< change of brightness per unit length across the picture
  float vignette = 0.06f;  ///< loss of brightness at distance 1 from the centre
  int sharpness = 5;       ///< highlights are the 2^sharpness-th power of the cosine
};

struct Camera {
  float defocus = 0.15f;  ///< weight of each neighbour in the three-tap blur, [0, 0.25]
  float noise = 1.5f;     ///< standard deviation of the sensor noise in 8-bit levels
};

/// Three floats a pixel, row by row; after `expose` in 8-bit levels.
struct FloatImage {
  int size = 0;
  std::vector<float> rgb;

  explicit FloatImage(int side)
      : size(side), rgb(static_cast<std::size_t>(side) * static_cast<std::size_t>(side) * 3) {}
};

/// The surface, with 2 x 2 samples a pixel.
class Canvas {
 public:
  static constexpr int kSamples = 2;  // a side of a pixel
  /// size: pixels a side, 16 ... 4096; throws std::invalid_argument.
  explicit Canvas(int size);

  int size() const { return size_; }
  int samples() const { return size_ * kSamples; }
  /// Distance between two samples in unit coordinates.
  float spacing() const { return 2.0f / static_cast<float>(samples()); }
  Sample& at(int x, int y) {
    return surface_[static_cast<std::size_t>(y) * static_cast<std::size_t>(samples()) + x];
  }
  const Sample& at(int x, int y) const {
    return surface_[static_cast<std::size_t>(y) * static_cast<std::size_t>(samples()) + x];
  }
  Point position(int x, int y) const {
    return {(static_cast<float>(x) + 0.5f) * spacing() - 1.0f,
            (static_cast<float>(y) + 0.5f) * spacing() - 1.0f};
  }
  Box everything() const { return {0, 0, samples(), samples()}; }
  /// The samples from `low` to `high`, cut to the picture.
  Box box(Point low, Point high) const;

  /// Lights the surface and averages the samples of each pixel: linear light. Writes the pixels of `image`, [size, size],
  /// whose light depends on a sample of the box.
  void light(const Lighting& lighting, Box box, FloatImage& image) const;

 private:
  int size_;
  std::vector<Sample> surface_;
};

/// Blurs linear light and encodes it (gamma 2) into levels [0, 255], still as floats.
FloatImage expose(FloatImage linear, const Camera& camera);
/// Adds the sensor's noise and rounds. Pixel i's noise depends on `philox` and i alone.
Image digitise(const FloatImage& levels, const Camera& camera, kernels::Philox philox);

}  // namespace ddpmts::drawing
