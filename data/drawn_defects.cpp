// The defects that lie on any surface: outlines, strokes, and what they do to height, colour and gloss.
#include "data/drawn_scene.h"

namespace ddpmts::drawing {
namespace {

/// A polyline whose direction wanders: `bend` is the steady change of direction, `jitter` the random one, in
/// turns a step.
std::vector<Point> wander(RandomNumbers& random, Point start, float turns, float step, int steps, float bend,
                          float jitter) {
  std::vector<Point> points{start};
  for (int i = 0; i < steps; ++i) {
    turns += bend + random.uniform(-jitter, jitter);
    points.push_back(points.back() + step * unit_vector(turns));
  }
  return points;
}

}  // namespace

Blob Blob::random(RandomNumbers& random, Point centre, float radius, float unevenness) {
  Blob blob;
  blob.centre = centre;
  blob.radius = radius;
  blob.direction = unit_vector(random.uniform(0.0f, 1.0f));
  blob.stretch = random.uniform(1.0f, 1.6f);
  for (int k = 0; k < 4; ++k) {
    const float amplitude = unevenness / static_cast<float>(k + 1);
    blob.cosines[k] = random.uniform(-amplitude, amplitude);
    blob.sines[k] = random.uniform(-amplitude, amplitude);
  }
  return blob;
}

float Blob::inside(Point p) const {
  const Point q = rotate(p - centre, {direction.x, -direction.y});
  const Point scaled = {q.x / stretch, q.y};
  const float distance = length(scaled);
  if (distance < 1e-6f) return 1.0f;
  const Point once = (1.0f / distance) * scaled;
  Point multiple = rotate(once, once);  // (cos, sin) of twice the angle, then of three times, ...
  float outline = 1.0f;
  for (int k = 0; k < 4; ++k) {
    outline += cosines[k] * multiple.x + sines[k] * multiple.y;
    multiple = rotate(multiple, once);
  }
  return outline - distance / radius;
}

Stroke::Nearest Stroke::nearest(Point p) const {
  float best = 1e30f, along = 0;
  const std::size_t segments = points.size() - 1;
  for (std::size_t i = 0; i < segments; ++i) {
    const Point a = p - points[i], b = points[i + 1] - points[i];
    const float t = clamp01(dot(a, b) / dot(b, b));
    const Point off = a - t * b;
    const float squared = dot(off, off);
    if (squared < best) {
      best = squared;
      along = (static_cast<float>(i) + t) / static_cast<float>(segments);
    }
  }
  const float taper = 0.25f + 3.0f * along * (1.0f - along);
  return {std::sqrt(best) / (half_width * std::min(taper, 1.0f)), along};
}

void SurfaceDefect::cover_strokes(float margin) {
  extent_ = {{1e30f, 1e30f}, {-1e30f, -1e30f}};
  for (const Stroke& stroke : strokes_) {
    for (const Point& p : stroke.points) {
      extent_.low = {std::min(extent_.low.x, p.x - margin), std::min(extent_.low.y, p.y - margin)};
      extent_.high = {std::max(extent_.high.x, p.x + margin), std::max(extent_.high.y, p.y + margin)};
    }
  }
}

SurfaceDefect SurfaceDefect::scratch(RandomNumbers& random, Point centre, float length) {
  SurfaceDefect defect;
  defect.kind_ = DefectKind::scratch;
  defect.strength_ = mix(0.3f, 1.0f, draw_severity(random));
  const int steps = 12, strokes = random.chance(0.3f) ? 2 : 1;
  const float turns = random.uniform(0.0f, 1.0f), bend = random.uniform(-0.012f, 0.012f);
  for (int k = 0; k < strokes; ++k) {
    const float own = length * (k == 0 ? 1.0f : random.uniform(0.4f, 0.9f));
    const Point aside = (static_cast<float>(k) * 0.03f) * unit_vector(turns + 0.25f);
    const Point start = centre + aside - (0.5f * own) * unit_vector(turns + 6 * bend);
    Stroke stroke;
    stroke.points = wander(random, start, turns, own / static_cast<float>(steps), steps, bend, 0.008f);
    stroke.half_width = mix(0.007f, 0.012f, defect.strength_) * (k == 0 ? 1.0f : 0.7f);
    defect.strokes_.push_back(std::move(stroke));
  }
  defect.cover_strokes(0.04f);
  return defect;
}

SurfaceDefect SurfaceDefect::crack(RandomNumbers& random, Point start, Point direction, float length) {
  SurfaceDefect defect;
  defect.kind_ = DefectKind::crack;
  defect.strength_ = mix(0.45f, 1.0f, draw_severity(random));
  const float turns = turns_of(direction);
  const int steps = 14;
  const float step = length / static_cast<float>(steps);
  Stroke trunk;
  trunk.points = wander(random, start, turns, step, steps, random.uniform(-0.006f, 0.006f), 0.07f);
  trunk.half_width = mix(0.006f, 0.011f, defect.strength_);
  const int branches = 1 + random.index(3);
  for (int k = 0; k < branches; ++k) {
    const std::size_t at = 3 + static_cast<std::size_t>(random.index(8));
    const float side = random.chance(0.5f) ? 1.0f : -1.0f;
    const float away = side * random.uniform(0.08f, 0.16f);
    Stroke branch;
    branch.points =
        wander(random, trunk.points[at], turns + away, step * 0.8f, 4 + random.index(3), 0.0f, 0.08f);
    branch.half_width = 0.65f * trunk.half_width;
    defect.strokes_.push_back(std::move(branch));
  }
  defect.strokes_.push_back(std::move(trunk));
  defect.cover_strokes(0.04f);
  return defect;
}

SurfaceDefect SurfaceDefect::stain(RandomNumbers& random, Point centre, float radius, Colour tint) {
  SurfaceDefect defect;
  defect.kind_ = DefectKind::stain;
  defect.strength_ = mix(0.42f, 1.0f, draw_severity(random));
  defect.blob_ = Blob::random(random, centre, radius, 0.16f);
  defect.tint_ = tint;
  defect.extent_ = around(centre, defect.blob_.reach());
  return defect;
}

SurfaceDefect SurfaceDefect::fade(RandomNumbers& random, Point centre, float radius, Colour tint,
                                  bool rings) {
  SurfaceDefect defect;
  defect.kind_ = DefectKind::fade;
  defect.strength_ = mix(0.35f, 1.0f, draw_severity(random));
  defect.blob_ = Blob::random(random, centre, radius, 0.08f);
  defect.tint_ = tint;
  defect.rings_ = rings;
  defect.extent_ = around(centre, defect.blob_.reach());
  return defect;
}

SurfaceDefect SurfaceDefect::fibre(RandomNumbers& random, Point centre, float length, Colour colour) {
  SurfaceDefect defect;
  defect.kind_ = DefectKind::fibre;
  defect.tint_ = colour;
  defect.strength_ = mix(0.5f, 1.0f, draw_severity(random));
  const int steps = 22;
  const float turns = random.uniform(0.0f, 1.0f), bend = random.uniform(-0.03f, 0.03f);
  Stroke stroke;
  stroke.points = wander(random, {}, turns, length / static_cast<float>(steps), steps, bend, 0.035f);
  const Point shift = centre - stroke.points[steps / 2];
  for (Point& p : stroke.points) p = p + shift;
  stroke.half_width = random.uniform(0.009f, 0.014f);
  defect.strokes_.push_back(std::move(stroke));
  defect.cover_strokes(0.07f);
  return defect;
}

void SurfaceDefect::apply_strokes(Point p, float on_part, Sample& sample) const {
  for (const Stroke& stroke : strokes_) {
    const Stroke::Nearest near = stroke.nearest(p);
    const float d = near.distance;
    if (d > 4.0f && kind_ != DefectKind::fibre) continue;
    if (kind_ == DefectKind::scratch) {
      // A V-shaped groove between two burrs; freshly cut metal or foil is brighter than the surface around
      // it.
      const float groove = clamp01(1.0f - d), burr = clamp01(1.0f - std::fabs(d - 1.5f) / 0.8f);
      sample.height += on_part * strength_ * stroke.half_width * (0.45f * burr - 0.9f * groove);
      const float cut = on_part * strength_ * smooth_step(1.3f, 0.4f, d);
      sample.albedo = (1.0f + 0.65f * cut) * sample.albedo + Colour{0.06f * cut, 0.06f * cut, 0.06f * cut};
    } else if (kind_ == DefectKind::crack) {
      const float open = on_part * smooth_step(1.2f, 0.5f, d);
      sample.height -= open * strength_ * stroke.half_width * 1.2f;
      sample.light *= 1.0f - 0.85f * strength_ * open;
      sample.gloss *= 1.0f - open;
      const float edge = on_part * clamp01(1.0f - std::fabs(d - 1.7f) / 0.7f);
      sample.height += 0.25f * edge * strength_ * stroke.half_width;
    } else {  // a fibre: a round thread with a soft shadow to its lower right
      const Point towards_lamp = {-0.014f, -0.018f};
      const float shadow = smooth_step(2.2f, 0.3f, stroke.nearest(p + towards_lamp).distance);
      sample.light *= 1.0f - 0.5f * on_part * shadow;
      const float cover = on_part * strength_ * smooth_step(1.15f, 0.85f, d);
      const float bulge = std::sqrt(std::max(0.0f, 1.0f - d * d));
      sample.height = mix(sample.height, 0.05f + stroke.half_width * bulge, cover);
      const float twist = 0.85f + 0.15f * sine_of_turns(near.along * 24.0f);
      sample.albedo = mix(sample.albedo, twist * tint_, cover);
      sample.light = mix(sample.light, 1.0f, cover);
    }
  }
}

void SurfaceDefect::apply(Point p, float on_part, Sample& sample) const {
  if (on_part <= 0.0f || p.x < extent_.low.x || p.y < extent_.low.y || p.x > extent_.high.x ||
      p.y > extent_.high.y) {
    return;
  }
  if (kind_ == DefectKind::stain) {
    const float depth = blob_.inside(p);
    if (depth <= 0.0f) return;
    // A dried drop: even inside, a darker rim where it dried last.
    const float body = smooth_step(0.0f, 0.22f, depth),
                rim = clamp01(1.0f - std::fabs(depth - 0.16f) / 0.12f);
    const float amount = on_part * strength_ * clamp01(0.72f * body + 0.28f * rim);
    sample.albedo = mix(sample.albedo, sample.albedo * tint_ + 0.06f * tint_, amount);
    sample.gloss *= 1.0f - 0.6f * amount;
  } else if (kind_ == DefectKind::fade) {
    const float depth = blob_.inside(p);
    if (depth <= 0.0f) return;
    const float amount = on_part * strength_ * smooth_step(0.0f, 0.7f, depth);
    Colour tint = tint_;
    if (rings_) {  // temper colours from the rim inwards: straw, brown, purple, blue
      const Colour straw = {1.0f, 0.82f, 0.48f}, purple = {0.62f, 0.42f, 0.58f}, blue = {0.45f, 0.60f, 0.95f};
      tint = mix(mix(straw, purple, smooth_step(0.25f, 0.55f, depth)), blue, smooth_step(0.5f, 0.8f, depth));
    }
    // Bleaching stops where the material is as pale as it gets.
    const auto faded = [](float colour, float factor) {
      return std::min(colour * factor, std::max(colour, 0.62f));
    };
    const Colour target = {faded(sample.albedo.r, tint.r), faded(sample.albedo.g, tint.g),
                           faded(sample.albedo.b, tint.b)};
    sample.albedo = mix(sample.albedo, target, amount);
  } else {
    apply_strokes(p, on_part, sample);
  }
}

}  // namespace ddpmts::drawing
