// Folders of pictures. Three shapes are understood:
//   MVTec         train/good, and optionally test/<type>/ with ground_truth/<type>/<stem>_mask.png
//   good pictures one folder with nothing but pictures of good parts in it
//   good and bad  good/ and bad/, and optionally masks/ with <stem>.png or <stem>_mask.png for the bad ones
// The named sub-folders are found in upper or lower case. A scan reads the headers of pictures, never their pixels.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/image_header.h"

namespace ddpmts {

/// A folder that is missing, empty, or of none of the three shapes.
struct DatasetError : FileError {
  using FileError::FileError;
};

enum class Layout : std::uint8_t { mvtec, good_only, good_and_bad };
const char* name_of(Layout layout);

/// One picture of a dataset.
struct Sample {
  std::filesystem::path path;
  std::string type;               ///< "good", the MVTec defect folder's name, or "bad"; empty when unknown
  std::optional<bool> defective;  ///< the label; none for pictures that are only to be inspected
  std::optional<std::filesystem::path> mask;  ///< file with the defect's pixels; never for good pictures
  int width = 0;  ///< pixels, upright, from the header; 0 where that cannot be read
  int height = 0;
};

/// Something found in a picture folder and left out.
struct Skipped {
  std::filesystem::path path;
  std::string reason;
};

struct Dataset {
  std::filesystem::path root;
  Layout layout = Layout::good_only;
  std::vector<Sample>
      train_good;  ///< by name, in natural order; at least one; all with headers that can be read
  std::vector<Sample>
      test;  ///< by type, then by name, unreadable ones too; empty when there is nothing to test on
  std::vector<Skipped> skipped;
};

/// Looks at `root` and lists what there is. In a good-and-bad folder every fifth good picture is kept for the test: those
/// with the smallest hash of their file name, count / 5 rounded to nearest but at least one of two or more; with no
/// bad pictures all good ones are for training. The same names give the same split on every machine.
/// Throws DatasetError, saying what was expected, when there is no good picture to train on.
Dataset scan_dataset(const std::filesystem::path& root);

struct PictureList {
  std::vector<Sample> pictures;  ///< without label and type; unreadable ones too
  std::vector<Skipped> skipped;
};

/// The pictures of one folder, in natural order, for inspection; sub-folders are reported as skipped. An empty list is not
/// an error. Throws DatasetError when the folder is missing or unreadable.
PictureList scan_pictures(const std::filesystem::path& folder);

/// True for the extensions of the formats that are read (png, jpg, jpeg, bmp), in upper or lower case.
bool has_picture_extension(const std::filesystem::path& path);

/// True when `a` comes before `b`: runs of digits compare as numbers ("2.png" before "10.png"), all else byte by byte; the
/// same everywhere, whatever the locale.
bool natural_less(std::string_view a, std::string_view b);

}  // namespace ddpmts
