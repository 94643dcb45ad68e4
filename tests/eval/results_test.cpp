// The summary's numbers, and results.json and results.csv read back.
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "eval/metrics.h"
#include "eval/summary.h"

namespace ddpmts::eval {
namespace {

PictureResult picture(std::string path, std::string type, std::optional<bool> defective, float score,
                      double milliseconds) {
  PictureResult result;
  result.path = std::move(path);
  result.defect_type = std::move(type);
  result.defective = defective;
  result.raw_score = score;
  result.milliseconds = milliseconds;
  return result;
}

constexpr Calibration calibration{0.5, 0.1, 0.01, 20};

/// Two good (one false alarm), three scratches (one missed), one crack, one without a label, one unreadable.
std::vector<PictureResult> sample() {
  std::vector<PictureResult> pictures = {picture("good/a.png", "good", false, 0.1f, 4),
                                         picture("good/b, \"old\".png", "good", false, 0.6f, 6),
                                         picture("scratch/1.png", "scratch", true, 0.9f, 5),
                                         picture("scratch/2.png", "scratch", true, 0.4f, 5),
                                         picture("scratch/3.png", "scratch", true, 0.5f, 5),
                                         picture("crack/1.png", "crack", true, 0.8f, 9),
                                         picture("line\nbreak.png", "", std::nullopt, 0.7f, 2),
                                         picture("torn.png", "crack", true, 0.0f, 0)};
  for (PictureResult& entry : pictures) judge(entry, calibration);
  pictures[2].blobs = {{3, 4, 5, 6, 20, 0.95f, 0.8}, {1, 1, 1, 1, 1, 0.6f, 0.6}};
  pictures.back().error = "cannot read 'torn.png': \"unexpected end\", copy it again";
  pictures.back().raw_score = std::numeric_limits<float>::quiet_NaN();
  return pictures;
}

/// A small reader of RFC 4180, written apart from the writer.
std::vector<std::vector<std::string>> read_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows(1, {""});
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
        rows.back().back() += text[++i];
      } else if (c == '"') {
        quoted = false;
      } else {
        rows.back().back() += c;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == ',') {
      rows.back().emplace_back();
    } else if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') {
      ++i;
      rows.push_back({""});
    } else {
      rows.back().back() += c;
    }
  }
  rows.pop_back();  // what follows the last line break
  return rows;
}

TEST(Summary, CountsVerdictsAgainstLabels) {
  const Summary summary = summarize(sample(), {}, calibration);
  EXPECT_EQ(summary.pictures, 8);
  EXPECT_EQ(summary.errors, 1);
  EXPECT_EQ(summary.labelled_good, 2);
  EXPECT_EQ(summary.labelled_defective, 4);
  EXPECT_EQ(summary.unlabelled, 1);
  EXPECT_EQ(summary.judged_defective, 5);
  ASSERT_TRUE(summary.confusion.has_value());
  EXPECT_EQ(summary.confusion->defects_found, 3);  // 0.5 is on the threshold: found
  EXPECT_EQ(summary.confusion->defects_missed, 1);
  EXPECT_EQ(summary.confusion->false_alarms, 1);
  EXPECT_EQ(summary.confusion->good_passed, 1);
  EXPECT_DOUBLE_EQ(summary.image_auroc.value(), 6.0 / 8.0);
  EXPECT_DOUBLE_EQ(summary.f1_max.value(), 8.0 / 9.0);  // all four found, one alarm, at 0.4
  EXPECT_DOUBLE_EQ(summary.median_milliseconds.value(), 5.0);
  EXPECT_FALSE(summary.pixel_auroc.has_value());
  EXPECT_FALSE(summary.aupro.has_value());
}

TEST(Summary, TellsTheKindsApart) {
  const Summary summary = summarize(sample(), {}, calibration);
  ASSERT_EQ(summary.per_type.size(), 4u);
  const char* names[] = {"good", "crack", "scratch", "unlabelled"};
  const int counts[] = {2, 1, 3, 1};
  const int found[] = {1, 1, 2, 1};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(summary.per_type[i].defect_type, names[i]);
    EXPECT_EQ(summary.per_type[i].count, counts[i]);
    EXPECT_EQ(summary.per_type[i].found, found[i]);
  }
  EXPECT_NEAR(summary.per_type[2].mean_raw_score, 0.6, 1e-7);
  EXPECT_DOUBLE_EQ(summary.per_type[2].median_score,
                   0.5);  // the raw scores are 0.9, 0.4 and 0.5, the threshold
}

TEST(Summary, CountsWhereFoundDefectsWerePointedAt) {
  std::vector<PictureResult> pictures = sample();
  for (PictureResult& result : pictures) result.on_defect = true;  // good and missed ones must not count
  for (PictureResult& result : pictures) {
    if (result.defect_type == "crack") result.on_defect = false;
  }
  const Summary all = summarize(pictures, {}, calibration);
  EXPECT_EQ(all.pointing.counted, 3);
  EXPECT_EQ(all.pointing.on_defect, 2);
  EXPECT_EQ(summarize(sample(), {}, calibration).pointing.counted, 0);  // no masks
}

TEST(Summary, PixelMetricsComeFromTheMaps) {
  const std::vector<float> map = {0.1f, 0.9f, 0.2f, 0.3f};
  const std::vector<std::uint8_t> mask = {0, 1, 0, 1};
  const std::vector<PictureMap> maps = {{map, mask, 2, 2, "m"}};
  const Summary summary = summarize({}, maps, calibration);
  EXPECT_EQ(summary.pixel_auroc.value(), 1.0);
  EXPECT_EQ(summary.pixel_ap.value(), 1.0);
  EXPECT_EQ(summary.pixel_f1_max.value(), 1.0);
  EXPECT_EQ(summary.aupro.value(), 1.0);
  EXPECT_FALSE(summary.image_auroc.has_value());
  EXPECT_FALSE(summary.confusion.has_value());
  EXPECT_FALSE(summary.median_milliseconds.has_value());
}

TEST(Summary, MeasuresAPartByItsOwnScoresAndMaps) {
  const std::vector<PictureResult> pictures = sample();
  std::vector<float> scores;
  for (const PictureResult& result : pictures)
    scores.push_back(result.defective.value_or(false) ? 2.0f : 1.0f);
  const std::vector<float> map = {0.9f, 0.1f, 0.2f, 0.3f};
  const std::vector<std::uint8_t> mask = {1, 0, 0, 0};
  const std::vector<PictureMap> maps = {{map, mask, 2, 2, "m"}};
  Summary summary = summarize(pictures, {}, calibration);
  summary.parts = {measure_part("one", pictures, scores, maps)};
  EXPECT_EQ(summary.parts[0].image_auroc.value(), 1.0);  // all of them together: 6/8
  EXPECT_EQ(summary.parts[0].pixel_auroc.value(), 1.0);
  const nlohmann::json json = nlohmann::json::parse(results_json(summary, pictures));
  EXPECT_EQ(json["parts"]["one"]["image_auroc"].get<double>(), 1.0);
  EXPECT_EQ(json["parts"]["one"]["pixel_ap"].get<double>(), 1.0);
  EXPECT_THROW(measure_part("short", pictures, {scores.data(), 2}, maps), std::invalid_argument);
}

TEST(Summary, RefusesABrokenScoreAndNamesThePicture) {
  std::vector<PictureResult> pictures = sample();
  pictures.back().error.clear();
  try {
    summarize(pictures, {}, calibration);
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("'torn.png'"), std::string::npos) << error.what();
  }
}

TEST(ResultsJson, ReadsBack) {
  const std::vector<PictureResult> pictures = sample();
  const nlohmann::json json =
      nlohmann::json::parse(results_json(summarize(pictures, {}, calibration), pictures));
  for (const char* key : {"image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_max", "pixel_f1_max",
                          "threshold", "calibration", "counts", "median_milliseconds", "confusion",
                          "pointing", "parts", "per_type", "pictures"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json.size(), 15u);
  EXPECT_DOUBLE_EQ(json["image_auroc"].get<double>(), 0.75);
  EXPECT_TRUE(json["pixel_auroc"].is_null());
  EXPECT_TRUE(json["aupro"].is_null());
  EXPECT_EQ(json["threshold"].get<double>(), 0.5);
  EXPECT_EQ(json["calibration"]["good_count"].get<int>(), 20);
  EXPECT_EQ(json["confusion"]["defects_missed"].get<int>(), 1);
  EXPECT_EQ(json["per_type"][2]["defect_type"], "scratch");
  EXPECT_EQ(json["per_type"][2]["found"].get<int>(), 2);
  ASSERT_EQ(json["pictures"].size(), pictures.size());
  for (std::size_t i = 0; i + 1 < pictures.size(); ++i) {
    const auto& row = json["pictures"][i];
    EXPECT_EQ(row["path"].get<std::string>(), pictures[i].path);
    EXPECT_EQ(row["raw_score"].get<float>(), pictures[i].raw_score);
    EXPECT_EQ(row["score"].get<double>(), pictures[i].score);
    EXPECT_EQ(row["threshold"].get<double>(), 0.5);
    EXPECT_EQ(row["verdict"], pictures[i].verdict_defective ? "defective" : "good");
    EXPECT_TRUE(row["error"].is_null());
  }
  EXPECT_EQ(json["pictures"][2]["boxes"][0]["height"].get<int>(), 6);
  EXPECT_DOUBLE_EQ(json["pictures"][2]["boxes"][0]["score"].get<double>(),
                   calibration.normalize(static_cast<double>(0.95f)));
  EXPECT_TRUE(json["pictures"][6]["label"].is_null());
  const auto& torn = json["pictures"][7];
  EXPECT_EQ(torn["error"].get<std::string>(), pictures[7].error);
  EXPECT_TRUE(torn["score"].is_null());
  EXPECT_TRUE(torn["verdict"].is_null());
}

TEST(ResultsJson, SurvivesNamesThatAreNotUtf8) {
  std::vector<PictureResult> pictures = {picture("caf\xE9.png", "", std::nullopt, 0.2f, 1)};
  const std::string text = results_json(summarize(pictures, {}, calibration), pictures);
  EXPECT_EQ(nlohmann::json::parse(text)["pictures"][0]["path"].get<std::string>(), "caf\xEF\xBF\xBD.png");
  EXPECT_TRUE(nlohmann::json::parse(text)["confusion"].is_null());
}

TEST(ResultsCsv, ReadsBack) {
  const std::vector<PictureResult> pictures = sample();
  const auto rows = read_csv(results_csv(summarize(pictures, {}, calibration), pictures));
  ASSERT_EQ(rows.size(), pictures.size() + 1);
  const std::vector<std::string> header = {"path",      "defect_type", "label", "verdict", "score",
                                           "raw_score", "threshold",   "ms",    "box_x",   "box_y",
                                           "box_width", "box_height",  "error"};
  EXPECT_EQ(rows[0], header);
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const auto& row = rows[i + 1];
    ASSERT_EQ(row.size(), header.size()) << i;
    EXPECT_EQ(row[0], pictures[i].path);
    EXPECT_EQ(row[12], pictures[i].error);
    if (!pictures[i].error.empty()) {
      for (std::size_t column = 3; column < 12; ++column) EXPECT_EQ(row[column], "");
      continue;
    }
    EXPECT_EQ(row[3], pictures[i].verdict_defective ? "defective" : "good");
    EXPECT_EQ(std::stod(row[4]), pictures[i].score);
    EXPECT_EQ(std::stof(row[5]), pictures[i].raw_score);
    EXPECT_EQ(std::stod(row[6]), 0.5);
  }
  EXPECT_EQ(rows[3][8] + rows[3][9] + rows[3][10] + rows[3][11], "3456");
  EXPECT_EQ(rows[1][8], "");
  EXPECT_EQ(rows[7][2], "");
  EXPECT_EQ(rows[8][2], "defective");
}

}  // namespace
}  // namespace ddpmts::eval
