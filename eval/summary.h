// What a test run found, picture by picture and in sum, and its machine-readable forms.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/components.h"
#include "eval/picture_map.h"
#include "eval/threshold.h"

namespace ddpmts::eval {

/// One inspected picture. Where error is not empty the picture could not be judged, and score, verdict and
/// blobs mean nothing.
struct PictureResult {
  std::string path;
  std::string defect_type;        ///< "good", "scratch", ...; empty where unknown
  std::optional<bool> defective;  ///< the true label; empty where unknown
  float raw_score = 0;            ///< higher = more likely defective
  double score = 0;               ///< Calibration::normalize(raw_score): in [0, 1], 0.5 = threshold
  bool verdict_defective = false;
  double milliseconds = 0;    ///< time to inspect it
  int width = 0, height = 0;  ///< of the picture, in pixels; 0 where unknown
  std::vector<Blob> blobs;  ///< largest first; where they lie and how large they are in pixels of the picture
  std::optional<bool>
      on_defect;      ///< the map's peak lies on the true defect (pointing.h); empty without a mask
  std::string error;  ///< empty when all went well
};

/// Fills score and verdict_defective from raw_score.
void judge(PictureResult& picture, const Calibration& calibration);

/// Verdicts against labels, over the pictures that have both.
struct Confusion {
  int defects_found = 0;
  int defects_missed = 0;
  int false_alarms = 0;
  int good_passed = 0;
};

/// One kind of picture: how many there are and how many were called defective (for good pictures these are
/// the false alarms).
struct TypeRow {
  std::string defect_type;        ///< as given, else "good", "defective" or "unlabelled" after the label
  std::optional<bool> defective;  ///< the label its pictures share
  int count = 0;
  int found = 0;
  double mean_raw_score = 0;
  double median_score = 0;  ///< normalised: 0.5 = threshold
};

/// Of the defects found, where a mask tells: how often the map's peak lies on the defect itself.
struct Pointing {
  int on_defect = 0;
  int counted = 0;
};

/// The ranking metrics of one of the maps that the judgement is combined from, had it judged alone; as Summary's.
struct PartMetrics {
  std::string name;
  std::optional<double> image_auroc;
  std::optional<double> pixel_auroc;
  std::optional<double> pixel_ap;
  std::optional<double> aupro;
};

/// Metrics are fractions in [0,1], empty where labels or masks are missing or of one class only.
struct Summary {
  std::optional<double> image_auroc;
  std::optional<double> f1_max;  ///< over image scores, at the best threshold in hindsight
  std::optional<double> pixel_auroc;
  std::optional<double> pixel_ap;
  std::optional<double> pixel_f1_max;
  std::optional<double> aupro;  ///< up to a false-positive rate of 0.3
  Calibration calibration;      ///< holds the threshold in use
  int pictures = 0;
  int errors = 0;  ///< pictures that could not be judged; in no other number but `pictures`
  int labelled_good = 0;
  int labelled_defective = 0;
  int unlabelled = 0;
  int judged_defective = 0;
  int masks_left_out =
      0;  ///< pictures left out of the pixel metrics because their mask marks nothing, or nothing that is left
          ///< at the map's size; set by the caller
  std::optional<Confusion> confusion;  ///< empty when no picture has a label
  Pointing pointing;
  std::vector<TypeRow> per_type;  ///< good first, then by name
  std::optional<double> median_milliseconds;
  std::vector<PartMetrics> parts;  ///< set by the caller (measure_part); empty where nothing was combined
};

/// pictures: already judged. maps: the pictures that enter the pixel metrics (see PictureMap); may be empty.
/// Throws std::invalid_argument, naming the picture, for a score that is not finite or sizes that disagree.
Summary summarize(std::span<const PictureResult> pictures, std::span<const PictureMap> maps,
                  const Calibration& calibration);

/// Metrics of one part. scores: the part's, one for each of `pictures`; maps: its own, as for summarize. Throws as summarize.
PartMetrics measure_part(std::string name, std::span<const PictureResult> pictures,
                         std::span<const float> scores, std::span<const PictureMap> maps);

/// One picture as results.json and predictions.json have it: path, width and height in pixels, verdict (good, defective), score,
/// raw_score, threshold, milliseconds, boxes (x, y, width, height and area in pixels of the picture, score), error; null what a
/// picture with an error has not.
nlohmann::ordered_json prediction_json(const PictureResult& picture, const Calibration& calibration);

/// results.json: an object with the keys image_auroc, pixel_auroc, pixel_ap, aupro, f1_max, pixel_f1_max
/// (fractions or null), threshold, calibration, counts, confusion (or null), pointing, parts, per_type and pictures, whose keys are those
/// of prediction_json, defect_type, label and on_defect (or null). Bytes of names that are not UTF-8 are replaced by U+FFFD.
std::string results_json(const Summary& summary, std::span<const PictureResult> pictures);

/// results.csv after RFC 4180 (CRLF, quotes doubled), one row a picture: path, defect_type, label (good,
/// defective or empty), verdict (good, defective), score, raw_score, threshold, ms, the largest box's
/// box_x, box_y, box_width, box_height (empty when there is none), error. Rows with an error leave score to
/// box empty.
std::string results_csv(const Summary& summary, std::span<const PictureResult> pictures);

}  // namespace ddpmts::eval
