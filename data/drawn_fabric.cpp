// A 2/1 twill: blue warp yarns run down the picture, pale weft yarns across; each weft passes under two warps
// and over one.
#include <stdexcept>

#include "data/drawn_scene.h"

namespace ddpmts::drawing {
namespace {

constexpr float kYarns = 11.0f;  // a unit length: 22 across the picture
constexpr float kRise = 0.30f;   // how far a yarn's middle rises above the mean plane, in yarn spacings
constexpr float kThick = 0.30f;  // a yarn's own thickness, likewise

class Fabric final : public Scene {
 public:
  Fabric(RandomNumbers random, RandomNumbers table) : noise_(table) {
    turn_ = unit_vector(random.uniform(-0.006f, 0.006f));
    pitch_ = kYarns * random.uniform(0.97f, 1.03f);
    phase_ = {random.uniform(0.0f, 60.0f), random.uniform(0.0f, 60.0f)};
    warp_ = {0.060f, 0.150f, random.uniform(0.29f, 0.33f)};
    warp_ = random.uniform(0.9f, 1.1f) * warp_;
    weft_ = {0.56f, random.uniform(0.525f, 0.54f), 0.46f};
    weft_ = random.uniform(0.94f, 1.06f) * weft_;
    wander_ = random.uniform(0.10f, 0.17f);
    lighting_.direction[0] = random.uniform(-0.50f, -0.40f);
    lighting_.direction[1] = random.uniform(-0.46f, -0.36f);
    lighting_.ambient = random.uniform(0.42f, 0.50f);
    lighting_.gradient = {random.uniform(-0.07f, 0.07f), random.uniform(-0.07f, 0.07f)};
    const float exposure = random.uniform(1.16f, 1.34f);
    lighting_.colour = {exposure, exposure, exposure};
    lighting_.sharpness = 3;
    camera_ = {random.uniform(0.06f, 0.13f), random.uniform(1.2f, 2.0f)};
  }

  Lighting lighting() const override { return lighting_; }
  Camera camera() const override { return camera_; }

  void draw(Canvas& canvas, Box box) const override {
    for (int y = box.y0; y < box.y1; ++y) {
      for (int x = box.x0; x < box.x1; ++x) {
        const Point p = canvas.position(x, y);
        Sample& sample = canvas.at(x, y);
        sample_at(p, sample);
        for (const SurfaceDefect& defect : defects_) defect.apply(p, 1.0f, sample);
      }
    }
  }

  Extent spoil(DefectKind defect, RandomNumbers& random) override;

 private:
  /// One direction of yarns, seen along itself.
  struct Strand {
    float cover;   ///< 0 beside the yarn, 1 on it
    float height;  ///< in yarn spacings
    float bulge;   ///< 1 on the yarn's crest, 0 at its sides
    int yarn;
    float across;  ///< -1 ... 1 over the yarn's width
  };

  /// Yarn coordinates: x counts warps, y counts wefts; both swing a little, as yarns do.
  Point to_yarns(Point p) const {
    const Point q = pitch_ * rotate(p, turn_) + phase_;
    const float swing_x = noise_.smooth(q.x * 0.35f, q.y * 0.22f),
                swing_y = noise_.smooth(q.x * 0.22f + 70.0f, q.y * 0.35f);
    return {q.x + wander_ * swing_x, q.y + wander_ * swing_y};
  }

  bool warp_on_top(int warp, int weft) const {
    const bool wrong =
        warp >= wrong_low_[0] && warp < wrong_high_[0] && weft >= wrong_low_[1] && weft < wrong_high_[1];
    if (wrong) return wrong_warp_on_top_;
    return ((warp + weft) % 3 + 3) % 3 != 0;
  }
  /// +1 where the yarn passes over, -1 where under, smooth between two crossings.
  float weave(bool is_warp, int yarn, float along) const {
    const int before = floor_to_int(along - 0.5f);
    const float t = along - 0.5f - static_cast<float>(before);
    const auto side = [&](int crossing) {
      const bool on_top = is_warp ? warp_on_top(yarn, crossing) : !warp_on_top(crossing, yarn);
      return on_top ? 1.0f : -1.0f;
    };
    return mix(side(before), side(before + 1), smooth_step(0.15f, 0.85f, t));
  }
  Strand strand(bool is_warp, Point q) const;
  Colour yarn_colour(bool is_warp, const Strand& s, float along) const;
  /// Whether the tear has taken this yarn here. Every yarn breaks at its own place, and frays.
  bool torn(bool is_warp, int yarn, float along, float across) const;
  void sample_at(Point p, Sample& sample) const;

  NoiseTable noise_;
  Point turn_, phase_;
  float pitch_ = kYarns, wander_ = 0;
  Colour warp_, weft_;
  Lighting lighting_;
  Camera camera_;
  int wrong_low_[2] = {0, 0}, wrong_high_[2] = {0, 0};
  bool wrong_warp_on_top_ = true;
  bool missing_is_warp_ = false;
  int missing_yarn_ = -1000;
  float missing_from_ = 0, missing_to_ = 0;
  Blob tear_;  // in yarn coordinates
  std::vector<SurfaceDefect> defects_;
};

bool Fabric::torn(bool is_warp, int yarn, float along, float across) const {
  if (tear_.radius <= 0.0f) return false;
  const float ragged = noise_.value(yarn + (is_warp ? 17 : 91), is_warp ? 5 : 201);
  const float middle = static_cast<float>(yarn) + 0.5f;
  const Point q = is_warp ? Point{middle, along} : Point{along, middle};
  const int bundle = floor_to_int(4.0f * across);  // the fibres of a yarn do not break in one line
  const float fray = noise_.value(yarn * 9 + bundle, is_warp ? 60 : 140);
  return tear_.inside(q) * tear_.radius > 0.45f * ragged + 0.35f * fray;
}

Fabric::Strand Fabric::strand(bool is_warp, Point q) const {
  const float across = is_warp ? q.x : q.y, along = is_warp ? q.y : q.x;
  const int yarn = floor_to_int(across);
  const int row = is_warp ? 0 : 128;
  // Thick and thin places along each yarn.
  const float uneven = noise_.smooth(along * 0.45f, static_cast<float>(yarn * 7 + row));
  const float half_width = 0.47f + 0.045f * uneven;
  const float offset = (across - static_cast<float>(yarn) - 0.5f) / half_width;
  Strand s{0, -1.0f, 0, yarn, offset};
  if (std::fabs(offset) >= 1.0f || torn(is_warp, yarn, along, offset)) return s;
  if (is_warp == missing_is_warp_ && yarn == missing_yarn_ && along > missing_from_ && along < missing_to_)
    return s;
  s.cover = 1.0f;
  s.bulge = std::sqrt(1.0f - offset * offset);
  s.height = kRise * weave(is_warp, yarn, along) + kThick * s.bulge;
  return s;
}

Colour Fabric::yarn_colour(bool is_warp, const Strand& s, float along) const {
  const int row = is_warp ? 0 : 128;
  // Two plies twisted around each other, and the fuzz of single fibres.
  const float twist = sine_of_turns(along * 1.9f + s.across * (is_warp ? 0.42f : -0.42f) +
                                    0.8f * noise_.value(s.yarn * 3 + row, 77));
  const float fuzz =
      noise_.smooth(along * 9.0f + s.across * 3.0f, s.across * 2.6f + static_cast<float>(s.yarn * 11 + row));
  const float dye = noise_.value(s.yarn * 5 + row, 33) +
                    0.6f * noise_.smooth(along * 0.3f, static_cast<float>(s.yarn * 9 + row));
  const float brightness = 1.0f + 0.10f * twist + 0.16f * fuzz + 0.07f * dye;
  return brightness * (is_warp ? warp_ : weft_);
}

void Fabric::sample_at(Point p, Sample& sample) const {
  const Point q = to_yarns(p);
  const Strand warp = strand(true, q), weft = strand(false, q);
  const bool warp_is_upper = warp.height > weft.height;
  const Strand& upper = warp_is_upper ? warp : weft;
  sample.gloss = 0.0f;
  if (upper.cover == 0.0f) {  // through the cloth: a dark table in its shadow
    const float grain = noise_.smooth(p.x * 60.0f, p.y * 60.0f);
    sample.height = -0.9f / pitch_;
    sample.albedo = (1.0f + 0.1f * grain) * Colour{0.020f, 0.020f, 0.022f};
    sample.light = 0.75f;
    return;
  }
  sample.height = 0.80f * upper.height / pitch_;
  sample.albedo = yarn_colour(warp_is_upper, upper, warp_is_upper ? q.y : q.x);
  // Deep places get less light: the sides of a yarn and where it dives under another.
  const float depth = upper.height / (kRise + kThick);
  sample.light = mix(0.30f, 1.0f, smooth_step(-0.15f, 0.95f, depth)) * mix(0.72f, 1.0f, upper.bulge);
  sample.gloss = 0.05f * upper.bulge;
}

Extent Fabric::spoil(DefectKind defect, RandomNumbers& random) {
  const Point place = {random.uniform(-0.7f, 0.7f), random.uniform(-0.7f, 0.7f)};
  const Point q = to_yarns(place);
  switch (defect) {
    case DefectKind::missing: {
      missing_is_warp_ = random.chance(0.5f);
      missing_yarn_ = floor_to_int(missing_is_warp_ ? q.x : q.y);
      const float middle = missing_is_warp_ ? q.y : q.x;
      const float half = random.chance(0.25f) ? 60.0f : random.uniform(3.0f, 9.0f);
      missing_from_ = middle - half;
      missing_to_ = middle + half;
      const Point reach = missing_is_warp_ ? Point{0.3f, 2.0f} : Point{2.0f, 0.3f};
      return {place - reach, place + reach};
    }
    case DefectKind::misplaced: {
      const bool along_warp = random.chance(0.5f);
      wrong_warp_on_top_ = along_warp;
      const int size_along = 4 + random.index(6), size_across = 1 + random.index(2);
      wrong_low_[0] = floor_to_int(q.x);
      wrong_low_[1] = floor_to_int(q.y);
      wrong_high_[0] = wrong_low_[0] + (along_warp ? size_across : size_along);
      wrong_high_[1] = wrong_low_[1] + (along_warp ? size_along : size_across);
      const float longest = static_cast<float>(size_along) / pitch_ + 0.3f, widest = 2.0f / pitch_ + 0.3f;
      return {place - Point{0.3f, 0.3f},
              place + (along_warp ? Point{widest, longest} : Point{longest, widest})};
    }
    case DefectKind::tear:
      tear_ = Blob::random(random, q, random.uniform(0.9f, 2.4f), 0.14f);
      return around(place, (tear_.reach() + 1.0f) / pitch_ + 0.1f);
    case DefectKind::stain: {
      const Colour tints[] = {
          {0.40f, 0.26f, 0.12f}, {0.30f, 0.29f, 0.26f}, {0.75f, 0.22f, 0.20f}};  // coffee, oil, dye
      const Colour tint = tints[random.index(3)];
      defects_.push_back(SurfaceDefect::stain(random, place, random.uniform(0.09f, 0.24f), tint));
      break;
    }
    case DefectKind::fade:
      defects_.push_back(
          SurfaceDefect::fade(random, place, random.uniform(0.20f, 0.36f), {3.2f, 2.0f, 1.3f}, false));
      break;
    case DefectKind::fibre: {
      const Colour colours[] = {
          {0.50f, 0.06f, 0.05f}, {0.02f, 0.02f, 0.02f}, {0.75f, 0.73f, 0.68f}, {0.55f, 0.40f, 0.08f}};
      const Colour colour = colours[random.index(4)];
      defects_.push_back(SurfaceDefect::fibre(random, place, random.uniform(0.4f, 0.9f), colour));
      break;
    }
    default:
      throw std::logic_error("Fabric::spoil: a fabric cannot have this defect");
  }
  return defects_.back().extent();
}

}  // namespace

std::unique_ptr<Scene> make_fabric(RandomNumbers random, RandomNumbers table) {
  return std::make_unique<Fabric>(random, table);
}

}  // namespace ddpmts::drawing
