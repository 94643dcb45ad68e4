// A turned steel ring with six bolt holes, lying on a dark mat.
#include <array>
#include <stdexcept>

#include "data/drawn_scene.h"

namespace ddpmts::drawing {
namespace {

constexpr int kHoles = 6;
constexpr float kOuter = 0.83f, kInner = 0.34f, kHoleCircle = 0.615f, kHole = 0.078f;
constexpr float kThickness = 0.06f, kChamfer = 0.022f;
constexpr float kSeat = 0.465f;  // radius of the raised seat around the bore
constexpr Point kShadow = {0.035f, 0.045f};

class Flange final : public Scene {
 public:
  Flange(RandomNumbers random, RandomNumbers table) : noise_(table) {
    centre_ = {random.uniform(-0.03f, 0.03f), random.uniform(-0.03f, 0.03f)};
    turn_ = unit_vector(random.uniform(-0.03f, 0.03f));
    scale_ = random.uniform(0.975f, 1.025f);
    steel_ = {1.0f, random.uniform(0.985f, 1.0f), random.uniform(0.975f, 1.02f)};
    steel_ = random.uniform(0.30f, 0.35f) * steel_;
    mat_ = {0.72f, 0.95f, random.uniform(1.15f, 1.35f)};
    mat_ = random.uniform(0.032f, 0.042f) * mat_;
    const float lamp = random.uniform(-0.02f, 0.02f);
    lamp_across_ = unit_vector(lamp + 0.645f);
    window_across_ = unit_vector(lamp + 0.86f);
    roughness_ = random.uniform(0.9f, 1.1f);
    lighting_.direction[0] += random.uniform(-0.06f, 0.06f);
    lighting_.direction[1] += random.uniform(-0.06f, 0.06f);
    lighting_.ambient = random.uniform(0.32f, 0.40f);
    lighting_.gradient = {random.uniform(-0.06f, 0.02f), random.uniform(-0.06f, 0.02f)};
    lighting_.sharpness = 4;
    const float exposure = random.uniform(0.94f, 1.06f);
    lighting_.colour = {exposure, exposure, exposure * random.uniform(0.99f, 1.01f)};
    camera_ = {random.uniform(0.06f, 0.12f), random.uniform(1.2f, 1.9f)};
    for (int k = 0; k < kHoles; ++k) {
      holes_[static_cast<std::size_t>(k)] =
          kHoleCircle * unit_vector(static_cast<float>(k) / kHoles) +
          Point{random.uniform(-0.002f, 0.002f), random.uniform(-0.002f, 0.002f)};
    }
  }

  Lighting lighting() const override { return lighting_; }
  Camera camera() const override { return camera_; }

  void draw(Canvas& canvas, Box box) const override {
    for (int y = box.y0; y < box.y1; ++y) {
      for (int x = box.x0; x < box.x1; ++x) {
        const Point p = canvas.position(x, y);
        Sample& sample = canvas.at(x, y);
        const float on_plate = sample_at(p, canvas.spacing(), sample);
        for (const SurfaceDefect& defect : defects_) defect.apply(p, on_plate, sample);
      }
    }
  }

  Extent spoil(DefectKind defect, RandomNumbers& random) override;

 private:
  /// Coordinates in which the ring is centred, of nominal size, and hole 0 lies on the x axis.
  Point to_part(Point p) const { return rotate((1.0f / scale_) * (p - centre_), {turn_.x, -turn_.y}); }
  Point to_picture(Point q) const { return centre_ + scale_ * rotate(q, turn_); }

  /// Signed distance to the plate's outline: negative on the metal.
  float outline(Point q, float radius, float turns) const {
    float d = std::max(radius - kOuter, kInner - radius);
    const int hole = (floor_to_int(turns * kHoles + 0.5f) + 2 * kHoles) % kHoles;
    if (hole != missing_hole_) d = std::max(d, kHole - length(q - holes_[static_cast<std::size_t>(hole)]));
    if (chip_.radius > 0.0f) d = std::max(d, chip_.inside(q) * chip_.radius);
    return d;
  }

  float sample_at(Point p, float spacing, Sample& sample) const;
  void sample_mat(Point p, Sample& sample) const;
  Colour sample_steel(Point q, float radius, float turns) const;

  NoiseTable noise_;
  Point centre_, turn_;
  float scale_ = 1, roughness_ = 1;
  Colour steel_, mat_;
  Point lamp_across_, window_across_;  // in the plane, towards the lamp and the weaker window light
  std::array<Point, kHoles> holes_;
  Lighting lighting_;
  Camera camera_;
  int missing_hole_ = -1;
  Blob chip_;  // in part coordinates
  std::vector<SurfaceDefect> defects_;
};

void Flange::sample_mat(Point p, Sample& sample) const {
  const float fibres =
      noise_.smooth(p.x * 90.0f, p.y * 90.0f) + 0.7f * noise_.smooth(p.x * 210.0f, p.y * 190.0f + 31.0f);
  const float cloud = noise_.smooth(p.x * 3.0f + 11.0f, p.y * 3.0f + 7.0f);
  sample.height = 0.0006f * fibres;
  sample.albedo = (1.0f + 0.12f * fibres + 0.08f * cloud) * mat_;
  const Point q = to_part(p - kShadow);
  const float d = outline(q, length(q), turns_of(q));
  const float contact = outline(to_part(p), length(to_part(p)), turns_of(to_part(p)));
  sample.light =
      (1.0f - 0.72f * smooth_step(0.035f, -0.045f, d)) * (1.0f - 0.45f * smooth_step(0.05f, 0.0f, contact));
  sample.gloss = 0.0f;
}

/// Anisotropic reflection of lathe marks: concentric grooves throw the lamp's light into a fan on each side
/// of the bore. With T along the groove, a groove shines where T is square to the light: a Lorentz curve of
/// T.L, shifted a little from groove to groove.
Colour Flange::sample_steel(Point q, float radius, float turns) const {
  const Point outward = {q.x / radius, q.y / radius};
  const Point along = rotate({-outward.y, outward.x}, turn_);
  const float fine = noise_.smooth(radius * 260.0f, turns * 256.0f / 16.0f);
  const float groove = noise_.smooth(radius * 95.0f, 40.5f + turns * 256.0f / 64.0f);
  const float broad = noise_.smooth(radius * 21.0f, 90.5f);
  const float shift = 0.05f * groove + 0.04f * fine + 0.03f * broad;
  const float t1 = (dot(along, lamp_across_) + shift) * 3.5f / roughness_;
  const float t2 = (dot(along, window_across_) - shift) * 4.2f / roughness_;
  const float fan = 1.95f / (1.0f + t1 * t1) + 0.70f / (1.0f + t2 * t2);
  const float marks = 1.0f + 0.14f * fine + 0.12f * groove + 0.06f * broad;
  const Colour cool = {0.97f, 1.0f, 1.045f};
  return ((0.46f + fan) * marks) * (steel_ * cool);
}

float Flange::sample_at(Point p, float spacing, Sample& sample) const {
  const Point q = to_part(p);
  const float radius = length(q), turns = turns_of(q);
  const float d = outline(q, radius, turns);
  const float on_plate = clamp01(0.5f - d / spacing);
  if (on_plate < 1.0f) sample_mat(p, sample);
  if (on_plate <= 0.0f) return 0.0f;

  Sample metal;
  metal.albedo = sample_steel(q, radius, turns);
  const float edge = clamp01(-d / kChamfer);  // 0 on the outline, 1 where the chamfer ends
  metal.height = kThickness - 0.85f * kChamfer * (1.0f - edge) * (2.0f - edge) * 0.5f;
  metal.height += 0.012f * smooth_step(kSeat + 0.012f, kSeat - 0.012f, radius);
  const float groove = 1.0f - std::fabs(radius - 0.745f) / 0.014f;
  if (groove > 0.0f) {
    metal.height -= 0.010f * smooth_step(0.0f, 0.8f, groove);
    metal.light = 1.0f - 0.35f * smooth_step(0.2f, 0.9f, groove);
  }
  metal.gloss = 0.30f * (1.0f - edge) * steel_.r;
  metal.light *= mix(0.80f, 1.0f, smooth_step(0.0f, 0.6f, edge));
  if (chip_.radius > 0.0f) {  // around the broken-off piece: a rough, bevelled fracture
    const float depth = chip_.inside(q) + 0.55f;
    if (depth > 0.0f) {
      const float rough =
          noise_.smooth(q.x * 70.0f, q.y * 70.0f) + 0.6f * noise_.smooth(q.x * 150.0f, q.y * 150.0f);
      const float broken = smooth_step(0.0f, 0.12f, depth);
      metal.height -= broken * (0.05f * depth + 0.005f * rough);
      const float grain = 0.9f + 0.25f * rough;
      metal.albedo = mix(metal.albedo, grain * Colour{0.36f, 0.355f, 0.35f}, broken);
    }
  }
  if (on_plate < 1.0f) {
    metal.height = mix(sample.height, metal.height, on_plate);
    metal.albedo = mix(sample.albedo, metal.albedo, on_plate);
    metal.light = mix(sample.light, metal.light, on_plate);
    metal.gloss *= on_plate;
  }
  sample = metal;
  return on_plate;
}

Extent Flange::spoil(DefectKind defect, RandomNumbers& random) {
  const float turns = random.uniform(0.0f, 1.0f);
  const Point ring = to_picture(random.uniform(0.48f, 0.72f) * unit_vector(turns));
  switch (defect) {
    case DefectKind::scratch:
      defects_.push_back(SurfaceDefect::scratch(random, ring, random.uniform(0.22f, 0.65f)));
      break;
    case DefectKind::stain: {
      const Colour tints[] = {
          {0.42f, 0.20f, 0.08f}, {0.28f, 0.25f, 0.16f}, {0.10f, 0.09f, 0.09f}};  // rust, oil, soot
      const int drops = 1 + random.index(3);
      const Colour tint = tints[random.index(3)];
      Extent all = around(ring, 0.0f);
      for (int k = 0; k < drops; ++k) {
        const float radius = random.uniform(0.05f, 0.14f) / static_cast<float>(1 + k);
        const Point place = ring + Point{static_cast<float>(k) * random.uniform(-0.13f, 0.13f),
                                         static_cast<float>(k) * random.uniform(-0.13f, 0.13f)};
        defects_.push_back(SurfaceDefect::stain(random, place, radius, tint));
        const Extent one = defects_.back().extent();
        all.low = {std::min(all.low.x, one.low.x), std::min(all.low.y, one.low.y)};
        all.high = {std::max(all.high.x, one.high.x), std::max(all.high.y, one.high.y)};
      }
      return all;
    }
    case DefectKind::crack: {  // starts at a bolt hole, where the load is
      const int hole = random.index(kHoles);
      const float outwards = random.chance(0.6f) ? 0.0f : 0.5f;
      const Point away = rotate(unit_vector(outwards + random.uniform(-0.18f, 0.18f)),
                                rotate(unit_vector(static_cast<float>(hole) / kHoles), turn_));
      const Point start = to_picture(holes_[static_cast<std::size_t>(hole)]) + (0.85f * kHole) * away;
      defects_.push_back(SurfaceDefect::crack(random, start, away, random.uniform(0.16f, 0.34f)));
      break;
    }
    case DefectKind::fade:
      defects_.push_back(SurfaceDefect::fade(random, ring, random.uniform(0.12f, 0.26f), {}, true));
      break;
    case DefectKind::chip: {
      const bool outer = random.chance(0.75f);
      const float radius = random.uniform(0.028f, 0.085f);
      const Point q = (outer ? kOuter + 0.2f * radius : kInner - 0.2f * radius) * unit_vector(turns);
      chip_ = Blob::random(random, q, radius, 0.18f);
      return around(to_picture(q), chip_.reach() * 1.4f + 0.15f);
    }
    case DefectKind::missing:
      missing_hole_ = random.index(kHoles);
      return around(to_picture(holes_[static_cast<std::size_t>(missing_hole_)]), kHole * 1.1f + 0.12f);
    default:
      throw std::logic_error("Flange::spoil: a flange cannot have this defect");
  }
  return defects_.back().extent();
}

}  // namespace

std::unique_ptr<Scene> make_flange(RandomNumbers random, RandomNumbers table) {
  return std::make_unique<Flange>(random, table);
}

}  // namespace ddpmts::drawing
