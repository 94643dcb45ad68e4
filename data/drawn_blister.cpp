// Eight two-colour capsules with a printed mark, each in a pocket of an embossed foil tray.
#include <array>
#include <stdexcept>

#include "data/drawn_scene.h"

namespace ddpmts::drawing {
namespace {

constexpr int kColumns = 4, kRows = 2, kPockets = kColumns * kRows;
constexpr float kRadius = 0.118f, kHalf = 0.185f;  // capsule: radius, half-length of its straight part
constexpr float kPocketRadius = 0.162f, kPocketHalf = 0.195f;  // pocket, likewise
constexpr float kDepth = 0.08f;                                // of a pocket
constexpr Point kShadow = {0.026f, 0.034f};

/// Distance to a rounded bar along y: negative inside.
float bar_distance(Point q, float half, float radius) {
  const float y = std::max(std::fabs(q.y) - half, 0.0f);
  return std::sqrt(q.x * q.x + y * y) - radius;
}

/// Distance to the segment a-b.
float segment_distance(Point p, Point a, Point b) {
  const Point u = p - a, v = b - a;
  return length(u - clamp01(dot(u, v) / dot(v, v)) * v);
}

/// Distance to the printed mark, "N5" and a bar below, about 0.09 wide around the origin.
float mark_distance(Point q) {
  constexpr Point strokes[][2] = {
      {{-0.048f, 0.030f}, {-0.048f, -0.030f}}, {{-0.048f, -0.030f}, {-0.012f, 0.030f}},
      {{-0.012f, 0.030f}, {-0.012f, -0.030f}}, {{0.046f, -0.030f}, {0.016f, -0.030f}},
      {{0.016f, -0.030f}, {0.016f, -0.004f}},  {{0.016f, -0.004f}, {0.040f, -0.004f}},
      {{0.040f, -0.004f}, {0.048f, 0.010f}},   {{0.048f, 0.010f}, {0.040f, 0.030f}},
      {{0.040f, 0.030f}, {0.014f, 0.030f}},    {{-0.048f, 0.052f}, {0.046f, 0.052f}},
  };
  float best = 1.0f;
  for (const auto& stroke : strokes) best = std::min(best, segment_distance(q, stroke[0], stroke[1]));
  return best;
}

struct Capsule {
  bool present = true;
  Point centre;         // in tray coordinates
  Point turn = {1, 0};  // cosine and sine of its rotation; (-1, 0) is the wrong way round
  Point mark_shift;
  float shade = 1;
};

class Blister final : public Scene {
 public:
  Blister(RandomNumbers random, RandomNumbers table) : noise_(table) {
    centre_ = {random.uniform(-0.02f, 0.02f), random.uniform(-0.02f, 0.02f)};
    turn_ = unit_vector(random.uniform(-0.006f, 0.006f));
    foil_ = {0.965f, 0.985f, random.uniform(1.0f, 1.03f)};
    foil_ = random.uniform(0.40f, 0.46f) * foil_;
    cap_ = {0.50f, random.uniform(0.070f, 0.085f), 0.045f};
    cap_ = random.uniform(0.92f, 1.08f) * cap_;
    body_ = {0.78f, random.uniform(0.69f, 0.71f), 0.52f};
    body_ = random.uniform(0.95f, 1.05f) * body_;
    lighting_.direction[0] = random.uniform(-0.50f, -0.38f);
    lighting_.direction[1] = random.uniform(-0.52f, -0.42f);
    lighting_.direction[2] = 0.75f;
    lighting_.ambient = random.uniform(0.40f, 0.47f);
    lighting_.gradient = {random.uniform(-0.06f, 0.03f), random.uniform(-0.06f, 0.03f)};
    lighting_.sharpness = 5;
    const float exposure = random.uniform(0.97f, 1.10f);
    lighting_.colour = {exposure, exposure, exposure * random.uniform(0.98f, 1.01f)};
    camera_ = {random.uniform(0.05f, 0.11f), random.uniform(1.1f, 1.8f)};
    for (int k = 0; k < kPockets; ++k) {
      Capsule& capsule = capsules_[static_cast<std::size_t>(k)];
      capsule.centre = pocket(k) + Point{random.uniform(-0.010f, 0.010f), random.uniform(-0.014f, 0.014f)};
      capsule.turn = unit_vector(random.uniform(-0.010f, 0.010f));
      capsule.mark_shift = {random.uniform(-0.010f, 0.010f), random.uniform(-0.008f, 0.008f)};
      capsule.shade = random.uniform(0.96f, 1.04f);
    }
  }

  Lighting lighting() const override { return lighting_; }
  Camera camera() const override { return camera_; }

  void draw(Canvas& canvas, Box box) const override {
    for (int y = box.y0; y < box.y1; ++y) {
      for (int x = box.x0; x < box.x1; ++x) {
        const Point p = canvas.position(x, y);
        Sample& sample = canvas.at(x, y);
        const Point q = to_tray(p);
        const int k = pocket_at(q);
        const float cover = sample_at(q, k, canvas.spacing(), sample);
        const float on_part = only_capsule_ < 0 ? 1.0f : only_capsule_ == k ? cover : 0.0f;
        for (const SurfaceDefect& defect : defects_) defect.apply(p, on_part, sample);
      }
    }
  }

  Extent spoil(DefectKind defect, RandomNumbers& random) override;

 private:
  static Point pocket(int k) {
    return {0.46f * (static_cast<float>(k % kColumns) - 1.5f), k / kColumns == 0 ? -0.46f : 0.46f};
  }
  /// The pocket in whose cell of the tray q lies.
  static int pocket_at(Point q) {
    const int column = std::clamp(floor_to_int(q.x / 0.46f + 2.0f), 0, kColumns - 1);
    return column + (q.y < 0.0f ? 0 : kColumns);
  }
  Point to_tray(Point p) const { return rotate(p - centre_, {turn_.x, -turn_.y}); }
  Point to_picture(Point q) const { return centre_ + rotate(q, turn_); }
  static Point to_capsule(Point q, const Capsule& capsule) {
    return rotate(q - capsule.centre, {capsule.turn.x, -capsule.turn.y});
  }
  /// A place on capsule k, `along` from -1 (end of the cap) to 1, `across` from -1 to 1, in the picture.
  Point on_capsule(int k, float along, float across) const {
    return to_picture(pocket(k) + Point{across * kRadius, along * (kHalf + kRadius)});
  }

  void sample_tray(Point q, int k, Sample& sample) const;
  void sample_capsule(Point q, int k, Sample& sample) const;
  float ink(Point q, int k) const;
  float sample_at(Point q, int k, float spacing, Sample& sample) const;

  NoiseTable noise_;
  Point centre_, turn_;
  Colour foil_, cap_, body_;
  Lighting lighting_;
  Camera camera_;
  std::array<Capsule, kPockets> capsules_;
  int smeared_ = -1;
  Point smear_;  // how far and where the wet ink was dragged
  float smear_ink_ = 0;
  int chipped_ = -1;
  Blob chip_;  // in tray coordinates
  float chip_depth_ = 0;
  bool broken_through_ = false;
  int only_capsule_ = -1;  // the defects lie on this capsule; -1: on everything
  std::vector<SurfaceDefect> defects_;
};

void Blister::sample_tray(Point q, int k, Sample& sample) const {
  const Point local = q - pocket(k);
  const float d = bar_distance(local, kPocketHalf, kPocketRadius);
  const float grain = noise_.smooth(q.x * 120.0f, q.y * 120.0f);
  const float haze = noise_.smooth(q.x * 4.0f + 9.0f, q.y * 4.0f + 5.0f);
  // Embossed lozenges on the flat foil.
  const float u = (q.x + q.y) * 17.0f, v = (q.x - q.y) * 17.0f;
  const float lozenge = sine_of_turns(u) * sine_of_turns(v);
  const float flat = smooth_step(0.030f, 0.045f, d);
  // A raised bead around the pocket, then its wall, then a gently hollow floor.
  const float bead = clamp01(1.0f - std::fabs(d - 0.018f) / 0.018f);
  const float wall = smooth_step(0.006f, -0.045f, d);
  sample.height = 0.0022f * flat * lozenge + 0.010f * bead * bead * (3.0f - 2.0f * bead) - kDepth * wall +
                  0.0003f * grain;
  const float brightness = 1.0f + 0.03f * grain + 0.04f * haze + 0.05f * flat * lozenge;
  sample.albedo = mix(brightness * foil_, (0.80f * brightness) * foil_, wall);
  sample.gloss = mix(0.16f, 0.30f, bead);
  // Pockets are darker near the lamp's side, where their wall shades the floor.
  const float shaded = bar_distance(local - Point{0.032f, 0.042f}, kPocketHalf, kPocketRadius);
  sample.light = 1.0f - 0.30f * wall * smooth_step(-0.05f, 0.03f, shaded);
  const Capsule& capsule = capsules_[static_cast<std::size_t>(k)];
  if (capsule.present) {
    const float shadow = bar_distance(to_capsule(q - kShadow, capsule), kHalf, kRadius);
    const float contact = bar_distance(to_capsule(q, capsule), kHalf, kRadius);
    sample.light *= (1.0f - 0.55f * smooth_step(0.02f, -0.035f, shadow)) *
                    (1.0f - 0.35f * smooth_step(0.03f, 0.0f, contact));
  }
}

/// How much ink lies at a point of the capsule, [0,1].
float Blister::ink(Point q, int k) const {
  const Capsule& capsule = capsules_[static_cast<std::size_t>(k)];
  const Point place = q - Point{0.0f, 0.105f} - capsule.mark_shift;
  const auto print = [](Point at) { return smooth_step(0.0125f, 0.0065f, mark_distance(at)); };
  if (std::fabs(place.x) > 0.24f || std::fabs(place.y) > 0.24f) return 0.0f;
  float ink = print(place);
  if (k == smeared_) {  // streaks that get thinner along the way
    ink *= 0.85f;
    constexpr int kCopies = 9;
    for (int i = 1; i <= kCopies; ++i) {
      const float t = static_cast<float>(i) / kCopies;
      ink = std::max(ink, (1.0f - 0.85f * t) * smear_ink_ * print(place - t * smear_));
    }
  }
  return ink;
}

void Blister::sample_capsule(Point q, int k, Sample& sample) const {
  const Capsule& capsule = capsules_[static_cast<std::size_t>(k)];
  const Point own = to_capsule(q, capsule);
  const bool is_cap = own.y < -0.02f;
  const float radius = is_cap ? kRadius : kRadius - 0.005f;
  const float d = bar_distance(own, kHalf, 0.0f);
  const float crest = std::sqrt(std::max(0.0f, radius * radius - d * d));
  sample.height = crest;
  Colour colour = capsule.shade * (is_cap ? cap_ : body_);
  const float speckle = noise_.smooth(q.x * 80.0f + 40.0f, q.y * 80.0f);
  colour = (1.0f + 0.018f * speckle) * colour;
  colour = mix(colour, {0.035f, 0.035f, 0.06f}, 0.88f * ink(own, k));
  // The lower edge of the cap: a thin dark line; the locking ring: a shallow groove.
  const float seam = clamp01(1.0f - std::fabs(own.y + 0.016f) / 0.009f);
  const float ring = clamp01(1.0f - std::fabs(own.y + 0.085f) / 0.012f);
  sample.height -= 0.004f * ring;
  sample.albedo = (1.0f - 0.45f * seam) * colour;
  sample.gloss = 0.42f;
  sample.light = mix(0.55f, 1.0f, smooth_step(0.0f, 0.55f, crest / kRadius));
  // The window's reflection: a narrow soft strip along the capsule, broken at its round ends.
  const float strip = clamp01(1.0f - std::fabs(own.x + 0.048f) / 0.014f) *
                      smooth_step(kHalf + 0.03f, kHalf - 0.04f, std::fabs(own.y));
  sample.albedo = sample.albedo + (0.13f * strip * strip) * Colour{1.0f, 1.0f, 1.0f};
  if (k == chipped_) {
    const float depth = chip_.inside(q);
    if (depth > 0.0f) {
      const float press = smooth_step(0.0f, 0.8f, depth);
      sample.height -= chip_depth_ * press;
      if (broken_through_) {  // the shell is gone: white powder, loose and matt
        const float powder =
            noise_.smooth(q.x * 85.0f, q.y * 85.0f) + 0.7f * noise_.smooth(q.x * 160.0f, q.y * 160.0f);
        const float open = smooth_step(0.04f, 0.12f, depth);
        sample.albedo = mix(sample.albedo, (0.62f + 0.10f * powder) * Colour{1.0f, 0.97f, 0.90f}, open);
        sample.height += open * 0.006f * powder;
        sample.light *= 1.0f - 0.35f * open * smooth_step(0.5f, 0.1f, depth);
        sample.gloss *= 1.0f - open;
      }
    }
  }
}

float Blister::sample_at(Point q, int k, float spacing, Sample& sample) const {
  const Capsule& capsule = capsules_[static_cast<std::size_t>(k)];
  const Point own = to_capsule(q, capsule);
  const float radius = own.y < -0.02f ? kRadius : kRadius - 0.005f;
  const float d = capsule.present ? bar_distance(own, kHalf, radius) : 1.0f;
  const float cover = clamp01(0.5f - d / spacing);
  if (cover < 1.0f) sample_tray(q, k, sample);
  if (cover <= 0.0f) return 0.0f;
  Sample top;
  sample_capsule(q, k, top);
  if (cover < 1.0f) {
    top.height = mix(sample.height, top.height, cover);
    top.albedo = mix(sample.albedo, top.albedo, cover);
    top.light = mix(sample.light, top.light, cover);
    top.gloss *= cover;
  }
  sample = top;
  return cover;
}

Extent Blister::spoil(DefectKind defect, RandomNumbers& random) {
  const int k = random.index(kPockets);
  Capsule& capsule = capsules_[static_cast<std::size_t>(k)];
  const Extent whole_pocket = around(to_picture(pocket(k)), kPocketHalf + kPocketRadius + 0.06f);
  switch (defect) {
    case DefectKind::missing:
      capsule.present = false;
      return whole_pocket;
    case DefectKind::misplaced:
      capsule.turn = {-capsule.turn.x, -capsule.turn.y};
      return whole_pocket;
    case DefectKind::smear: {
      smeared_ = k;
      smear_ = unit_vector(random.uniform(0.0f, 1.0f));
      smear_ = random.uniform(0.05f, 0.11f) * smear_;
      smear_ink_ = mix(0.25f, 0.95f, draw_severity(random));
      return whole_pocket;
    }
    case DefectKind::chip: {
      chipped_ = k;
      const float side = random.chance(0.5f) ? 1.0f : -1.0f;
      const Point place = pocket(k) + Point{random.uniform(-0.5f, 0.5f) * kRadius,
                                            side * random.uniform(0.4f, 0.95f) * (kHalf + 0.5f * kRadius)};
      chip_ = Blob::random(random, place, random.uniform(0.030f, 0.070f), 0.16f);
      chip_depth_ = chip_.radius * random.uniform(0.35f, 0.7f);
      broken_through_ = random.chance(0.6f);
      return around(to_picture(place), chip_.reach() + 0.03f);
    }
    case DefectKind::crack: {
      only_capsule_ = k;
      const float along = random.uniform(-0.5f, 0.5f);
      const Point start = on_capsule(k, along, random.uniform(-0.8f, -0.4f));
      const Point direction = unit_vector(random.uniform(-0.14f, 0.14f));
      defects_.push_back(SurfaceDefect::crack(random, start, direction, random.uniform(0.14f, 0.22f)));
      break;
    }
    case DefectKind::fade: {
      const Colour tints[] = {
          {1.0f, 0.62f, 0.30f}, {0.45f, 0.46f, 0.52f}, {0.60f, 0.85f, 0.40f}};  // yellowed, grey, mouldy
      const Point place = on_capsule(k, random.uniform(-0.6f, 0.6f), 0.0f);
      const Colour tint = tints[random.index(3)];
      defects_.push_back(SurfaceDefect::fade(random, place, random.uniform(0.10f, 0.24f), tint, false));
      only_capsule_ = k;
      break;
    }
    case DefectKind::stain: {
      const Colour tints[] = {{0.30f, 0.17f, 0.07f}, {0.12f, 0.12f, 0.13f}};  // grease, dirt
      const Point place = {random.uniform(-0.75f, 0.75f), random.uniform(-0.75f, 0.75f)};
      const Colour tint = tints[random.index(2)];
      defects_.push_back(SurfaceDefect::stain(random, place, random.uniform(0.04f, 0.12f), tint));
      break;
    }
    case DefectKind::fibre: {
      const Point place = {random.uniform(-0.6f, 0.6f), random.uniform(-0.6f, 0.6f)};
      defects_.push_back(
          SurfaceDefect::fibre(random, place, random.uniform(0.3f, 0.7f), {0.025f, 0.022f, 0.022f}));
      break;
    }
    default:
      throw std::logic_error("Blister::spoil: a blister cannot have this defect");
  }
  return defects_.back().extent();
}

}  // namespace

std::unique_ptr<Scene> make_blister(RandomNumbers random, RandomNumbers table) {
  return std::make_unique<Blister>(random, table);
}

}  // namespace ddpmts::drawing
