// The report's page: escaping, order, and that what was given is on it.
#include "eval/report.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "eval/base64.h"
#include "eval/charts.h"

namespace ddpmts::eval {
namespace {

constexpr Calibration calibration{0.5, 0.1, 0.01, 20};

GalleryItem item(std::string path, std::optional<bool> defective, float score, std::string error = "") {
  GalleryItem result;
  result.result.path = std::move(path);
  result.result.defect_type = defective.value_or(false) ? "scratch" : "";
  result.result.defective = defective;
  result.result.raw_score = score;
  result.result.error = std::move(error);
  judge(result.result, calibration);
  result.picture_png = "UElDVFVSRQ==";
  result.overlay_png = "T1ZFUkxBWQ==";
  return result;
}

std::string page_of(const std::vector<GalleryItem>& gallery, const ReportText& text = {}) {
  std::vector<PictureResult> pictures;
  for (const GalleryItem& entry : gallery) pictures.push_back(entry.result);
  return report_html(summarize(pictures, {}, calibration), pictures, gallery, text);
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Report, EscapesEveryNameItIsGiven) {
  const std::string attack = "<script>alert(\"1\")</script>'&\x01";
  GalleryItem first = item(attack, true, 0.9f);
  first.result.defect_type = attack;
  GalleryItem broken = item(attack, true, 0.0f, attack);
  const std::string page = page_of({first, item("plain", false, 0.1f), broken}, {attack, attack});
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_EQ(page.find('\x01'), std::string::npos);
  // Title twice, subtitle, kind's row, each card's path and kind both visible and in its attribute,
  // error on its card and in the list: every mention went through the escape.
  EXPECT_EQ(count(page, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;\xEF\xBF\xBD"),
            3u + 1u + 4u + 2u + 1u + 2u);
}

TEST(Report, NeedsNoNetwork) {
  const std::string page = page_of({item("a", true, 0.9f), item("b", false, 0.1f)});
  for (const char* part : {"http:", "https:", "//cdn", "@import", "url("}) {
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  }
}

TEST(Report, PutsTheWorstFirst) {
  const std::vector<GalleryItem> gallery = {item("passed", false, 0.1f),
                                            item("found, close", true, 0.52f),
                                            item("alarm, small", false, 0.6f),
                                            item("missed, close", true, 0.45f),
                                            item("unreadable", true, 0.0f, "torn"),
                                            item("alarm, large", false, 0.9f),
                                            item("missed, far", true, 0.1f),
                                            item("no label", std::nullopt, 0.8f)};
  std::vector<std::string> order;
  for (const std::size_t index : worst_first(gallery)) order.push_back(gallery[index].result.path);
  const std::vector<std::string> expected = {"missed, far", "missed, close", "alarm, large", "alarm, small",
                                             "no label",    "found, close",  "passed",       "unreadable"};
  EXPECT_EQ(order, expected);
}

TEST(Report, SaysInWordsWhatWasFound) {
  const std::string page = page_of({item("a", true, 0.9f), item("b", true, 0.1f), item("c", false, 0.9f),
                                    item("d", false, 0.1f), item("e", false, 0.1f, "torn file")});
  EXPECT_NE(page.find("1 of 2 defective pictures"), std::string::npos);
  EXPECT_NE(page.find("1 false alarm</b> on 2 good pictures"), std::string::npos);
  EXPECT_NE(page.find("<td>torn file</td>"), std::string::npos);
  EXPECT_EQ(count(page, "<svg"), 2u);
  EXPECT_EQ(count(page, "data:image/png;base64,UElDVFVSRQ=="), 5u);
  EXPECT_EQ(count(page, "data:image/png;base64,T1ZFUkxBWQ=="), 5u);
}

TEST(Report, WorksWithoutLabelsOrPictures) {
  const std::string unlabelled = page_of({item("a", std::nullopt, 0.9f), item("b", std::nullopt, 0.1f)});
  EXPECT_NE(unlabelled.find("Of 2 pictures without a label, <b class=\"bad\">1</b> judged defective"),
            std::string::npos);
  EXPECT_EQ(count(unlabelled, "<svg"), 1u);  // no ROC without labels
  EXPECT_EQ(unlabelled.find("Image AUROC"), std::string::npos);
  const std::string empty = page_of({});
  EXPECT_NE(empty.find("</html>"), std::string::npos);
  EXPECT_EQ(count(empty, "<svg"), 0u);
}

TEST(Report, RefusesPicturesThatAreNotBase64) {
  GalleryItem bad = item("a", true, 0.9f);
  bad.overlay_png = "\"><img src=x>";
  EXPECT_THROW(page_of({bad}), std::invalid_argument);
}

TEST(Charts, EveryPictureIsInOneBar) {
  std::vector<PictureResult> pictures;
  for (int i = 0; i <= 100; ++i)
    pictures.push_back(item("p", i % 2 == 0, static_cast<float>(i) / 100).result);
  const std::string svg = score_histogram_svg(pictures);
  std::size_t total = 0;
  for (std::size_t at = svg.find("</title>"); at != std::string::npos; at = svg.find("</title>", at + 1)) {
    total += std::stoul(svg.substr(svg.rfind(": ", at) + 2));
  }
  EXPECT_EQ(total, pictures.size());
}

TEST(Base64, AgreesWithTheStandardsExamples) {
  const std::pair<const char*, const char*> examples[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : examples) {
    const std::string text = plain;
    EXPECT_EQ(base64(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size())), encoded);
    EXPECT_TRUE(is_base64(encoded));
  }
  const std::uint8_t high[] = {0xff, 0xfe, 0xfb};
  EXPECT_EQ(base64(high), "//77");
  EXPECT_FALSE(is_base64("a\"b"));
}

}  // namespace
}  // namespace ddpmts::eval
