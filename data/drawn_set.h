// A small data set of drawn parts, laid out as MVTec AD lays out its folders:
//   <folder>/<part>/train/good/000.png, test/good/000.png, test/<defect>/000.png, ground_truth/<defect>/000_mask.png
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/drawn_parts.h"

namespace ddpmts {

struct DrawnSetCounts {
  int train_good = 48;
  int test_good = 16;
  int test_defect = 6;  ///< of each kind that the part can have
};

/// One picture of the set. No two pictures of a part have the same index, so no test part was seen in training.
struct DrawnPicture {
  DefectKind defect = DefectKind::none;
  std::uint64_t index = 0;      ///< for draw_part
  std::filesystem::path image;  ///< relative to the part's folder
  std::filesystem::path mask;   ///< likewise; empty for a good part
};

/// What the set of this part consists of, in the order train good, test good, test defects.
/// @throws std::invalid_argument for a count below 0 or above 1 000 000
std::vector<DrawnPicture> drawn_set(PartKind part, const DrawnSetCounts& counts);

/// Draws one picture of the set and writes it, and its mask (0 and 255) if it has one, below `part_folder`. Pictures are
/// independent: they may be written in any order and from several threads.
/// @throws what draw_part and the image writer throw; std::filesystem::filesystem_error if a folder cannot be made
void write_drawn_picture(const std::filesystem::path& part_folder, PartKind part, const DrawnPicture& picture,
                         std::uint64_t seed, int size);

/// Draws and writes the sets of all parts, each into <folder>/<name of the part>, on all OpenMP threads. Files that are
/// already there are replaced; the first error is thrown again after the others have ended.
void write_drawn_set(const std::filesystem::path& folder, std::uint64_t seed, int size,
                     const DrawnSetCounts& counts);

}  // namespace ddpmts
