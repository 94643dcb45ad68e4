// The formulas of kernels/scene_math.h by the kind that a recipe names.
#pragma once

#include "kernels/scene_math.h"
#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels::test {

/// Calls body(kind) with the kind as a constant.
template <class Kind, int kCount, int kFirst = 0, class Body>
float with_kind(Kind kind, Body body) {
  if constexpr (kFirst + 1 < kCount) {
    if (static_cast<int>(kind) != kFirst) return with_kind<Kind, kCount, kFirst + 1>(kind, body);
  }
  return body(std::integral_constant<Kind, static_cast<Kind>(kFirst)>());
}

inline float any_raw_field(const FieldRecipe& field, const NoiseTable& table, float u, float v) {
  return with_kind<FieldKind, kFieldKinds>(field.kind,
                                           [&](auto kind) { return raw_field<kind()>(field, table, u, v); });
}
inline float any_field(const FieldRecipe& field, const NoiseTable& table, float u, float v) {
  return with_kind<FieldKind, kFieldKinds>(field.kind,
                                           [&](auto kind) { return field_at<kind()>(field, table, u, v); });
}
inline float any_inside(const ShapeRecipe& shape, float u, float v) {
  return with_kind<ShapeKind, kShapeKinds>(shape.kind,
                                           [&](auto kind) { return inside_shape<kind()>(shape, u, v); });
}

}  // namespace ddpmts::kernels::test
