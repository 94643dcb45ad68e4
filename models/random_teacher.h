// A teacher that has learned nothing: He-normal weights. Its features still tell textures and edges apart, which makes it
// the baseline that a pretrained teacher is measured against, and a stand-in where no file is at hand.
#pragma once

#include <cstdint>
#include <filesystem>

#include "models/resnet_teacher.h"

namespace ddpmts {

/// Writes a folded ResNet up to layer3 (torchvision's names, OIHW, f32) drawn from `seed`. Throws FileError.
void write_random_teacher(const std::filesystem::path& path, std::uint64_t seed,
                          TeacherDepth depth = TeacherDepth::resnet18);

}  // namespace ddpmts
