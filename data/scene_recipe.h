// What made-up scenes a teacher learns from, and how they are looked at. Scene i of a seed is always the same;
// kernels/scene_views.h turns it into pixels.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/scene_views.h"

namespace ddpmts {

/// Neighbouring scenes come in families that share what is not needed to tell them apart. All share the light; beside it 12 %
/// of the families share nothing, 32 % the colours, 16 % colours and shapes, 20 % colours and textures, 20 % everything but a
/// small flaw or two. Told from its own family, a scene has to be known by its structure. A batch holds whole families, so that
/// no scene's nearest relatives are missing from what it is told apart from.
constexpr std::uint64_t kSceneFamily = 4;

/// Scene `index` of `seed`.
kernels::SceneRecipe draw_scene(std::uint64_t seed, std::uint64_t index);

/// Two looks, of size×size pixels, at overlapping parts of a scene: moved, scaled by up to two against each other, turned a
/// little, in other light and colours, blurred and noised. `scene` of both is 0.
std::array<kernels::SceneViewRecipe, 2> draw_scene_views(std::uint64_t seed, std::uint64_t index,
                                                         std::int64_t size);

}  // namespace ddpmts
