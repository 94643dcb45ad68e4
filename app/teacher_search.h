// Where the teacher's weights come from.
#pragma once

#include <string>

#include "engine/files/safetensors.h"

namespace ddpmts::app {

/// The word that asks for a teacher of random weights.
inline constexpr const char* kRandomTeacher = "random";

/// `wanted` when it is given; else $DDPMTS_TEACHER; else the one *.safetensors in weights/ beside the working folder or the
/// program. Throws Error saying how to get one when there is none.
std::string find_teacher(const std::string& wanted);

/// The file of a teacher. Throws FileError when it cannot be used; for a file of PyTorch with the command that converts it.
SafetensorsFile open_teacher(const std::filesystem::path& path);

}  // namespace ddpmts::app
