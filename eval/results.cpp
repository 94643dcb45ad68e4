// The two machine-readable forms of a test run, results.json and results.csv.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "eval/summary.h"

namespace ddpmts::eval {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json label_or_null(const std::optional<bool>& defective) {
  return defective ? Json(*defective ? "defective" : "good") : Json(nullptr);
}

Json json_of(const Blob& blob, const Calibration& calibration) {
  return {{"x", blob.x},         {"y", blob.y},
          {"width", blob.width}, {"height", blob.height},
          {"area", blob.area},   {"score", calibration.normalize(static_cast<double>(blob.max_value))}};
}

Json json_of(const TypeRow& row) {
  return {{"defect_type", row.defect_type},
          {"label", label_or_null(row.defective)},
          {"count", row.count},
          {"found", row.found},
          {"mean_raw_score", row.mean_raw_score},
          {"median_score", row.median_score}};
}

/// A CSV field: quoted when it holds a comma, a quote, a line break or an outer space.
std::string csv_field(const std::string& text) {
  const bool outer_space = !text.empty() && (text.front() == ' ' || text.back() == ' ');
  if (!outer_space && text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace

Json prediction_json(const PictureResult& picture, const Calibration& calibration) {
  const bool judged = picture.error.empty();
  Json json = {{"path", picture.path}};
  json["width"] = judged ? Json(picture.width) : Json(nullptr);
  json["height"] = judged ? Json(picture.height) : Json(nullptr);
  json["verdict"] = judged ? label_or_null(picture.verdict_defective) : Json(nullptr);
  json["score"] = judged ? Json(picture.score) : Json(nullptr);
  json["raw_score"] = judged ? Json(static_cast<double>(picture.raw_score)) : Json(nullptr);
  json["threshold"] = calibration.threshold;
  json["milliseconds"] = judged ? Json(picture.milliseconds) : Json(nullptr);
  json["boxes"] = Json::array();
  if (judged) {
    for (const Blob& blob : picture.blobs) json["boxes"].push_back(json_of(blob, calibration));
  }
  json["error"] = judged ? Json(nullptr) : Json(picture.error);
  return json;
}

std::string results_json(const Summary& summary, std::span<const PictureResult> pictures) {
  Json json;
  json["image_auroc"] = or_null(summary.image_auroc);
  json["pixel_auroc"] = or_null(summary.pixel_auroc);
  json["pixel_ap"] = or_null(summary.pixel_ap);
  json["aupro"] = or_null(summary.aupro);
  json["f1_max"] = or_null(summary.f1_max);
  json["pixel_f1_max"] = or_null(summary.pixel_f1_max);
  const Calibration& calibration = summary.calibration;
  json["threshold"] = calibration.threshold;
  json["calibration"] = {{"threshold", calibration.threshold},
                         {"scale", calibration.scale},
                         {"false_alarm_rate", calibration.false_alarm_rate},
                         {"good_count", calibration.good_count}};
  json["counts"] = {{"pictures", summary.pictures},
                    {"errors", summary.errors},
                    {"labelled_good", summary.labelled_good},
                    {"labelled_defective", summary.labelled_defective},
                    {"unlabelled", summary.unlabelled},
                    {"judged_defective", summary.judged_defective},
                    {"masks_left_out", summary.masks_left_out}};
  json["median_milliseconds"] = or_null(summary.median_milliseconds);
  json["confusion"] = nullptr;
  if (summary.confusion) {
    json["confusion"] = {{"defects_found", summary.confusion->defects_found},
                         {"defects_missed", summary.confusion->defects_missed},
                         {"false_alarms", summary.confusion->false_alarms},
                         {"good_passed", summary.confusion->good_passed}};
  }
  json["pointing"] = {{"on_defect", summary.pointing.on_defect}, {"counted", summary.pointing.counted}};
  json["parts"] = Json::object();
  for (const PartMetrics& part : summary.parts) {
    json["parts"][part.name] = {{"image_auroc", or_null(part.image_auroc)},
                                {"pixel_auroc", or_null(part.pixel_auroc)},
                                {"pixel_ap", or_null(part.pixel_ap)},
                                {"aupro", or_null(part.aupro)}};
  }
  json["per_type"] = Json::array();
  for (const TypeRow& row : summary.per_type) json["per_type"].push_back(json_of(row));
  json["pictures"] = Json::array();
  for (const PictureResult& picture : pictures) {
    Json row = prediction_json(picture, calibration);
    row["defect_type"] = picture.defect_type.empty() ? Json(nullptr) : Json(picture.defect_type);
    row["label"] = label_or_null(picture.defective);
    row["on_defect"] = picture.on_defect ? Json(*picture.on_defect) : Json(nullptr);
    json["pictures"].push_back(std::move(row));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string results_csv(const Summary& summary, std::span<const PictureResult> pictures) {
  std::string csv =
      "path,defect_type,label,verdict,score,raw_score,threshold,ms,box_x,box_y,box_width,box_height,"
      "error\r\n";
  for (const PictureResult& picture : pictures) {
    const char* label = !picture.defective ? "" : *picture.defective ? "defective" : "good";
    csv += fmt::format("{},{},{},", csv_field(picture.path), csv_field(picture.defect_type), label);
    if (picture.error.empty()) {
      // {} prints the shortest digits that read back as the same number.
      csv +=
          fmt::format("{},{},{},{},{:.3f},", picture.verdict_defective ? "defective" : "good", picture.score,
                      picture.raw_score, summary.calibration.threshold, picture.milliseconds);
      if (picture.blobs.empty()) {
        csv += ",,,,";
      } else {
        const Blob& blob = picture.blobs.front();
        csv += fmt::format("{},{},{},{},", blob.x, blob.y, blob.width, blob.height);
      }
    } else {
      csv += ",,,,,,,,,";
    }
    csv += csv_field(picture.error) + "\r\n";
  }
  return csv;
}

}  // namespace ddpmts::eval
