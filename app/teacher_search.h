// Where the teacher's weights come from.
#pragma once

#include <string>

namespace ddpmts::app {

/// The word that asks for a teacher of random weights.
inline constexpr const char* kRandomTeacher = "random";

/// `wanted` when it is given; else $DDPMTS_TEACHER; else the one *.safetensors in weights/ beside the working folder or the
/// program. Throws Error saying how to get one when there is none.
std::string find_teacher(const std::string& wanted);

}  // namespace ddpmts::app
