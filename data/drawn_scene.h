// What the drawn parts share: the interface of a scene, and the defects that lie on any surface.
#pragma once

#include <memory>
#include <vector>

#include "data/canvas.h"
#include "data/drawn_parts.h"

namespace ddpmts::drawing {

/// Corners of the part of the picture that a defect can have changed, in unit coordinates.
struct Extent {
  Point low, high;
};
/// The square of half-side `radius` around a point.
inline Extent around(Point centre, float radius) {
  return {{centre.x - radius, centre.y - radius}, {centre.x + radius, centre.y + radius}};
}

/// A round shape with an uneven outline: radius * (1 + harmonics 2 to 5 of the angle), stretched along one
/// direction.
struct Blob {
  Point centre;
  float radius = 0;
  Point direction = {1, 0};
  float stretch = 1;
  float cosines[4] = {}, sines[4] = {};

  /// unevenness: largest amplitude of one harmonic, as a share of the radius.
  static Blob random(RandomNumbers& random, Point centre, float radius, float unevenness);
  /// How far inside the outline a point is, as a share of the radius: 1 in the middle, 0 on the outline,
  /// negative outside.
  float inside(Point p) const;
  /// No point of the blob is farther from its centre than this.
  float reach() const { return radius * std::max(1.0f, stretch) * 1.6f; }
};

/// A curve as a polyline, thinner towards its ends.
struct Stroke {
  std::vector<Point> points;
  float half_width = 0;

  struct Nearest {
    float distance;  ///< to the curve, in half-widths at that place
    float along;     ///< 0 at its start, 1 at its end
  };
  Nearest nearest(Point p) const;
};

/// A defect that lies on the surface whatever the part is: scratch, stain, crack, fade or fibre.
class SurfaceDefect {
 public:
  /// A curved groove of `length` through `centre`.
  static SurfaceDefect scratch(RandomNumbers& random, Point centre, float length);
  /// A crack from `start` that runs about `length` in `direction` and branches.
  static SurfaceDefect crack(RandomNumbers& random, Point start, Point direction, float length);
  static SurfaceDefect stain(RandomNumbers& random, Point centre, float radius, Colour tint);
  /// The surface takes on `tint` (a factor on its colour); with `rings` the tint changes hue outwards, as
  /// heated steel does.
  static SurfaceDefect fade(RandomNumbers& random, Point centre, float radius, Colour tint, bool rings);
  static SurfaceDefect fibre(RandomNumbers& random, Point centre, float length, Colour colour);

  const Extent& extent() const { return extent_; }
  /// on_part: [0,1], how far this sample belongs to the part that carries the defect.
  void apply(Point p, float on_part, Sample& sample) const;

 private:
  void apply_strokes(Point p, float on_part, Sample& sample) const;
  void cover_strokes(float margin);

  DefectKind kind_ = DefectKind::none;
  std::vector<Stroke> strokes_;
  Blob blob_;
  Colour tint_;
  float strength_ = 1;
  bool rings_ = false;
  Extent extent_;
};

/// One part in front of the camera.
class Scene {
 public:
  virtual ~Scene() = default;
  /// Writes every sample of the box. A sample depends on its position only, not on the box.
  virtual void draw(Canvas& canvas, Box box) const = 0;
  virtual Lighting lighting() const = 0;
  virtual Camera camera() const = 0;
  /// Gives the part a defect; returns where the surface may now differ. `defect` is one of defects_of(part).
  virtual Extent spoil(DefectKind defect, RandomNumbers& random) = 0;
};

/// Severity of a defect in [0,1]: mostly plain to see, now and then hard.
inline float draw_severity(RandomNumbers& random) {
  return random.chance(0.2f) ? random.uniform(0.0f, 0.3f) : random.uniform(0.3f, 1.0f);
}

std::unique_ptr<Scene> make_flange(RandomNumbers random, RandomNumbers table);
std::unique_ptr<Scene> make_fabric(RandomNumbers random, RandomNumbers table);
std::unique_ptr<Scene> make_blister(RandomNumbers random, RandomNumbers table);

}  // namespace ddpmts::drawing
