// How real a bank of painted defects is: its distances to a dataset's real defects in the teacher's features, beside those of
// defects from the sources `self` and `texture`, as realism.json and as a page that shows them all, realism.html.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/training_data.h"
#include "models/defect_painter.h"
#include "models/resnet_teacher.h"

namespace ddpmts::app {

/// Pictures with a defect each, on the host.
struct DefectSet {
  Tensor pictures;                  ///< u8 [N,side,side,3]
  Tensor masks;                     ///< u8 [N,side,side], 0 or 1; none is empty
  std::vector<std::string> labels;  ///< one a picture: what it is called on the page

  std::int64_t count() const { return static_cast<std::int64_t>(labels.size()); }
};

class RealismReport {
 public:
  /// Loads what needs no painted defects, so that a report that cannot be made fails before they are painted: the dataset's
  /// real defects at size×size, and the teacher (a file as `train --teacher` takes it). Defects without a mask, or whose mask
  /// marks nothing at this size, are left out with a note. Throws Error when fewer than four are left, DatasetError,
  /// FileError.
  RealismReport(const std::filesystem::path& dataset, std::int64_t size, std::string teacher, Device device);

  /// Compares the bank that was painted from `data` with `config` and writes both files into it. For `self` and `texture` as many
  /// defects are drawn as the bank holds, with the same masks' settings and seed, so that most lie at the same places of the same
  /// pictures. False, with nothing written, when the program was asked to end.
  bool write(const std::filesystem::path& bank, const TrainingData& data, const PaintConfig& config) const;

 private:
  std::filesystem::path dataset_;
  std::string teacher_file_;
  ResNetTeacher teacher_;
  DefectSet real_;
  Device device_;
};

/// One vector a defect, [count, 448]: the teacher's locally averaged features (models/feature_memory.h), averaged over the
/// positions that the mask touches, each weighted with the mask's area there. Fewer rows when the program was asked to end.
std::vector<double> defect_features(const ResNetTeacher& teacher, const DefectSet& defects, Device device);

}  // namespace ddpmts::app
