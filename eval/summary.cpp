#include "eval/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <utility>

#include "eval/aupro.h"
#include "eval/metrics.h"

namespace ddpmts::eval {
namespace {

std::string type_name(const PictureResult& picture) {
  if (!picture.defect_type.empty()) return picture.defect_type;
  if (!picture.defective.has_value()) return "unlabelled";
  return *picture.defective ? "defective" : "good";
}

/// Good pictures first, then defective, then unlabelled.
int label_order(const std::optional<bool>& defective) {
  return !defective.has_value() ? 2 : *defective ? 1 : 0;
}

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

std::vector<TypeRow> count_types(std::span<const PictureResult> pictures) {
  std::map<std::pair<int, std::string>, TypeRow> rows;
  std::map<std::pair<int, std::string>, std::vector<double>> scores;
  for (const PictureResult& picture : pictures) {
    if (!picture.error.empty()) continue;
    const std::pair key{label_order(picture.defective), type_name(picture)};
    TypeRow& row = rows[key];
    row.defect_type = type_name(picture);
    row.defective = picture.defective;
    ++row.count;
    row.found += picture.verdict_defective ? 1 : 0;
    row.mean_raw_score += static_cast<double>(picture.raw_score);  // a sum until the end
    scores[key].push_back(picture.score);
  }
  std::vector<TypeRow> table;
  for (auto& [key, row] : rows) {
    row.mean_raw_score /= row.count;
    row.median_score = *median(std::move(scores[key]));
    table.push_back(std::move(row));
  }
  return table;
}

void add_to_confusion(const PictureResult& picture, Confusion& confusion) {
  if (*picture.defective) {
    ++(picture.verdict_defective ? confusion.defects_found : confusion.defects_missed);
  } else {
    ++(picture.verdict_defective ? confusion.false_alarms : confusion.good_passed);
  }
}

}  // namespace

void judge(PictureResult& picture, const Calibration& calibration) {
  picture.score = calibration.normalize(static_cast<double>(picture.raw_score));
  picture.verdict_defective = calibration.is_defective(static_cast<double>(picture.raw_score));
}

PartMetrics measure_part(std::string name, std::span<const PictureResult> pictures,
                         std::span<const float> scores, std::span<const PictureMap> maps) {
  if (scores.size() != pictures.size()) {
    throw std::invalid_argument(
        fmt::format("results: {} scores of '{}' for {} pictures", scores.size(), name, pictures.size()));
  }
  std::vector<PictureResult> judged(pictures.begin(), pictures.end());
  for (std::size_t i = 0; i < judged.size(); ++i) judged[i].raw_score = scores[i];
  const Summary alone = summarize(judged, maps, {});
  return {std::move(name), alone.image_auroc, alone.pixel_auroc, alone.pixel_ap, alone.aupro};
}

Summary summarize(std::span<const PictureResult> pictures, std::span<const PictureMap> maps,
                  const Calibration& calibration) {
  Summary summary;
  summary.calibration = calibration;
  summary.pictures = static_cast<int>(pictures.size());
  std::vector<float> scores;
  std::vector<std::uint8_t> labels;
  std::vector<double> times;
  Confusion confusion;
  for (const PictureResult& picture : pictures) {
    if (!picture.error.empty()) {
      ++summary.errors;
      continue;
    }
    if (!std::isfinite(picture.raw_score)) {
      throw std::invalid_argument(fmt::format(
          "results: the score of '{}' is {}; the model's output is broken", picture.path, picture.raw_score));
    }
    times.push_back(picture.milliseconds);
    summary.judged_defective += picture.verdict_defective ? 1 : 0;
    if (!picture.defective.has_value()) {
      ++summary.unlabelled;
      continue;
    }
    ++(*picture.defective ? summary.labelled_defective : summary.labelled_good);
    add_to_confusion(picture, confusion);
    if (*picture.defective && picture.verdict_defective && picture.on_defect) {
      ++summary.pointing.counted;
      summary.pointing.on_defect += *picture.on_defect ? 1 : 0;
    }
    scores.push_back(picture.raw_score);
    labels.push_back(*picture.defective ? 1 : 0);
  }
  if (!scores.empty()) summary.confusion = confusion;
  summary.per_type = count_types(pictures);
  summary.median_milliseconds = median(std::move(times));

  const RankedScores images(scores, labels);
  summary.image_auroc = auroc(images);
  if (const auto best = f1_max(images)) summary.f1_max = best->value;
  const RankedScores pixels(maps);
  summary.pixel_auroc = auroc(pixels);
  summary.pixel_ap = average_precision(pixels);
  if (const auto best = f1_max(pixels)) summary.pixel_f1_max = best->value;
  summary.aupro = aupro(maps);
  return summary;
}

}  // namespace ddpmts::eval
