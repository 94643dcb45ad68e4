// Where the teacher's weights come from.
#pragma once

#include <filesystem>
#include <string>

#include "engine/files/safetensors.h"

namespace ddpmts::app {

/// The word that asks for a teacher of random weights.
inline constexpr const char* kRandomTeacher = "random";

/// For those who use the shipped teacher: what one trained on ImageNet would bring, and the line that gets it. The figures are
/// those of docs/results.md.
inline constexpr const char* kAboutShippedTeacher =
    "using the teacher that ships with the program, trained on drawn pictures; one trained on ImageNet finds "
    "more on some\n"
    "parts (image AUROC on magnetic tiles: 90.8 instead of 86.3 %). To get one and use it with --teacher "
    "resnet18.safetensors:\n"
    "  curl -LO https://download.pytorch.org/models/resnet18-f37072fd.pth && ddpmts convert "
    "resnet18-f37072fd.pth -o "
    "resnet18.safetensors";

/// The teacher that ships with the program: teacher.safetensors in the program's own folder, else in weights/ beside that folder
/// (so a checkout's build/ddpmts finds weights/teacher.safetensors). Absolute; empty when there is none. The working folder and
/// other files do not matter.
std::filesystem::path shipped_teacher();

/// `wanted` when it is given; else $DDPMTS_TEACHER; else the shipped one. Throws Error saying how to get one when there is none.
std::string find_teacher(const std::string& wanted);

/// The file of a teacher. Throws FileError when it cannot be used; for a file of PyTorch with the command that converts it.
SafetensorsFile open_teacher(const std::filesystem::path& path);

}  // namespace ddpmts::app
