// From samples to pixels of one size.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/image.h"

namespace ddpmts {

/// What is known about a sample's defect pixels.
enum class MaskState : std::uint8_t {
  unknown,   ///< no mask file, or no label: counts for picture metrics only
  all_good,  ///< a good picture: all background by definition
  marked,    ///< the mask marks defect pixels
  unmarked,  ///< a defective picture whose mask file marks nothing: a fault of the dataset
  lost,      ///< the mask marks a defect too small to survive the resize
};

struct LoadedMask {
  Mask mask;                            ///< [size, size], 0 = background, 1 = defect
  MaskState state = MaskState::marked;  ///< marked, unmarked or lost
};

/// The mask of a picture of `picture_width` × `picture_height`, cut to 0 and 1 at `size` (resize_mask). A mask file of 0 and 1
/// instead of 0 and 255 is understood: its ones are defects. Throws FileError; ImageError, naming both sizes, when the mask's
/// size is not its picture's.
LoadedMask load_mask(const std::filesystem::path& path, int picture_height, int picture_width, int size,
                     const ImageLimits& limits = {});

/// One row a sample: pixels, or the reason why there are none.
struct LoadedPicture {
  Image image;                ///< [size, size, 3]; empty when it could not be loaded
  int width = 0, height = 0;  ///< of the file's picture, upright, in pixels
  Mask mask;                  ///< [size, size], 0 or 1; empty when its state is unknown
  MaskState mask_state = MaskState::unknown;
  std::string error;  ///< one line naming the file; empty when all went well

  bool loaded() const { return error.empty(); }
  /// A mask that can be trusted pixel by pixel: that of a good picture, or one that marks something.
  bool counts_for_pixel_metrics() const {
    return mask_state == MaskState::all_good || mask_state == MaskState::marked;
  }
};

/// Loads samples on all OpenMP threads, in order. A file that cannot be used gives a row with an error, never an exception.
/// Throws std::invalid_argument when size is below 1.
std::vector<LoadedPicture> load_pictures(std::span<const Sample> samples, int size,
                                         const ImageLimits& limits = {});

}  // namespace ddpmts
