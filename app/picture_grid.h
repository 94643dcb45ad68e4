// Many small pictures in one file, to look at.
#pragma once

#include <filesystem>
#include <span>

#include "engine/tensor.h"

namespace ddpmts::app {

/// Writes rows of pictures as one PNG, two pixels of white between them. Each row is u8 [count,h,w,3], all of the same size;
/// rows wrap after `columns` pictures. Throws FileError.
void write_picture_grid(const std::filesystem::path& path, std::span<const Tensor> rows,
                        std::int64_t columns);

}  // namespace ddpmts::app
