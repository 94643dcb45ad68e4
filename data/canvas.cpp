#include "data/canvas.h"

#include <fmt/format.h>

#include <stdexcept>

namespace ddpmts::drawing {
namespace {

constexpr std::uint32_t kNoiseChapter = 0x800;  // above every chapter of RandomNumbers

/// Normal, diffuse light and highlight of one sample.
Colour light_sample(const Sample& sample, float slope_x, float slope_y, const float lamp[3],
                    const float half[3], const Lighting& lighting) {
  const float norm = 1.0f / std::sqrt(slope_x * slope_x + slope_y * slope_y + 1.0f);
  const float facing = std::max(0.0f, (lamp[2] - slope_x * lamp[0] - slope_y * lamp[1]) * norm);
  const float diffuse =
      lighting.ambient * (0.55f + 0.45f * norm) + (1.0f - lighting.ambient) * facing / lamp[2];
  float highlight = std::max(0.0f, (half[2] - slope_x * half[0] - slope_y * half[1]) * norm);
  for (int i = 0; i < lighting.sharpness; ++i) highlight *= highlight;
  const float shine = sample.gloss * highlight;
  return sample.light * (diffuse * sample.albedo + Colour{shine, shine, shine});
}

void normalise(float v[3]) {
  const float norm = 1.0f / std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
  for (int i = 0; i < 3; ++i) v[i] *= norm;
}

}  // namespace

float sine_of_turns(float x) {
  float t = x - static_cast<float>(floor_to_int(x + 0.5f));  // [-0.5, 0.5)
  if (t > 0.25f) t = 0.5f - t;
  if (t < -0.25f) t = -0.5f - t;
  const float a = 6.28318531f * t, s = a * a;  // Taylor series; the next term is below 4e-6 at a quarter turn
  return a * (1.0f + s * (-1.0f / 6 + s * (1.0f / 120 + s * (-1.0f / 5040 + s * (1.0f / 362880)))));
}

float turns_of(Point p) {
  const float ax = std::fabs(p.x), ay = std::fabs(p.y);
  const float larger = std::max(ax, ay);
  if (larger == 0.0f) return 0.0f;
  // atan(t) on [0,1]: beyond tan(pi/8) by way of atan(t) = pi/4 + atan((t-1)/(t+1)), then the Taylor series.
  float t = std::min(ax, ay) / larger, base = 0.0f;
  if (t > 0.41421356f) {
    t = (t - 1.0f) / (t + 1.0f);
    base = 0.78539816f;
  }
  const float s = t * t;
  float angle = base + t * (1.0f + s * (-1.0f / 3 + s * (1.0f / 5 + s * (-1.0f / 7 + s * (1.0f / 9)))));
  if (ay > ax) angle = 1.57079633f - angle;
  if (p.x < 0.0f) angle = 3.14159265f - angle;
  return (p.y < 0.0f ? -angle : angle) * 0.159154943f;
}

NoiseTable::NoiseTable(RandomNumbers random) : values_(256 * 256) {
  for (float& value : values_) value = random.uniform(-1.0f, 1.0f);
}

float NoiseTable::smooth(float x, float y) const {
  const int xi = floor_to_int(x), yi = floor_to_int(y);
  float u = x - static_cast<float>(xi), v = y - static_cast<float>(yi);
  u = u * u * (3.0f - 2.0f * u);
  v = v * v * (3.0f - 2.0f * v);
  return mix(mix(value(xi, yi), value(xi + 1, yi), u), mix(value(xi, yi + 1), value(xi + 1, yi + 1), u), v);
}

Canvas::Canvas(int size) : size_(size) {
  if (size < 16 || size > 4096) {
    throw std::invalid_argument(
        fmt::format("cannot draw a picture of {0} x {0} pixels: choose a side from 16 to 4096", size));
  }
  surface_.resize(static_cast<std::size_t>(samples()) * static_cast<std::size_t>(samples()));
}

Box Canvas::box(Point low, Point high) const {
  const auto to_sample = [&](float x) {
    return std::clamp(floor_to_int((std::clamp(x, -2.0f, 2.0f) + 1.0f) / spacing()), 0, samples());
  };
  return {to_sample(low.x), to_sample(low.y), std::min(to_sample(high.x) + 1, samples()),
          std::min(to_sample(high.y) + 1, samples())};
}

void Canvas::light(const Lighting& lighting, Box box, FloatImage& image) const {
  float lamp[3] = {lighting.direction[0], lighting.direction[1], lighting.direction[2]};
  normalise(lamp);
  float half[3] = {lamp[0], lamp[1], lamp[2] + 1.0f};
  normalise(half);
  const int last = samples() - 1;
  const float per_two = 0.5f / spacing();
  // A sample's slope comes from its neighbours: one sample more on each side, then whole pixels.
  const int x0 = std::max(box.x0 - 1, 0) / kSamples, x1 = std::min(box.x1 / kSamples + 1, size_);
  const int y0 = std::max(box.y0 - 1, 0) / kSamples, y1 = std::min(box.y1 / kSamples + 1, size_);
  for (int py = y0; py < y1; ++py) {
    for (int px = x0; px < x1; ++px) {
      Colour sum;
      for (int y = py * kSamples; y < (py + 1) * kSamples; ++y) {
        for (int x = px * kSamples; x < (px + 1) * kSamples; ++x) {
          const float slope_x =
              (at(std::min(x + 1, last), y).height - at(std::max(x - 1, 0), y).height) * per_two;
          const float slope_y =
              (at(x, std::min(y + 1, last)).height - at(x, std::max(y - 1, 0)).height) * per_two;
          sum = sum + light_sample(at(x, y), slope_x, slope_y, lamp, half, lighting);
        }
      }
      const Point p = position(px * kSamples, py * kSamples);
      const float fall = 1.0f + dot(lighting.gradient, p) - lighting.vignette * dot(p, p);
      const Colour pixel = (fall / (kSamples * kSamples)) * (sum * lighting.colour);
      float* out =
          image.rgb.data() + (static_cast<std::size_t>(py) * static_cast<std::size_t>(size_) + px) * 3;
      out[0] = pixel.r, out[1] = pixel.g, out[2] = pixel.b;
    }
  }
}

FloatImage expose(FloatImage linear, const Camera& camera) {
  const int size = linear.size;
  const float side = camera.defocus, centre = 1.0f - 2.0f * side;
  const std::size_t row = static_cast<std::size_t>(size) * 3;
  std::vector<float> across(linear.rgb.size());
  for (int y = 0; y < size; ++y) {
    const float* in = linear.rgb.data() + static_cast<std::size_t>(y) * row;
    float* out = across.data() + static_cast<std::size_t>(y) * row;
    for (std::size_t i = 0; i < row; ++i) {
      out[i] = centre * in[i] + side * (in[i < 3 ? i : i - 3] + in[i + 3 < row ? i + 3 : i]);
    }
  }
  for (int y = 0; y < size; ++y) {
    const float* in = across.data() + static_cast<std::size_t>(y) * row;
    const float* above = y > 0 ? in - row : in;
    const float* below = y + 1 < size ? in + row : in;
    float* out = linear.rgb.data() + static_cast<std::size_t>(y) * row;
    for (std::size_t i = 0; i < row; ++i) {
      const float light = centre * in[i] + side * (above[i] + below[i]);
      out[i] = 255.0f * std::sqrt(clamp01(light));
    }
  }
  return linear;
}

Image digitise(const FloatImage& levels, const Camera& camera, kernels::Philox philox) {
  Image image(levels.size, levels.size);
  // The sum of a word's four bytes has a standard deviation of 147.8 and is close to normal.
  const float scale = camera.noise / 147.8f;
  const auto normal = [&](std::uint32_t w) {
    const std::uint32_t sum = (w & 255u) + ((w >> 8) & 255u) + ((w >> 16) & 255u) + (w >> 24);
    return (static_cast<float>(sum) - 510.0f) * scale;
  };
  for (std::size_t i = 0; i < levels.rgb.size(); i += 3) {
    const kernels::Uint4 word = philox.bits((kNoiseChapter << 20) + static_cast<std::uint32_t>(i / 3));
    const float noise[3] = {normal(word.x), normal(word.y), normal(word.z)};
    const float grey = normal(word.w);
    for (std::size_t c = 0; c < 3; ++c) {
      const float level = levels.rgb[i + c] + 0.8f * grey + 0.6f * noise[c];
      image.rgb[i + c] = static_cast<std::uint8_t>(std::clamp(floor_to_int(level + 0.5f), 0, 255));
    }
  }
  return image;
}

}  // namespace ddpmts::drawing
