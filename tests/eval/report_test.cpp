// The report's page: escaping, order, and that what was given is on it.
#include "eval/report.h"

#include <fmt/format.h>
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
  // error on its card and in the list: every mention went through the escape. (The found one is not among the missed.)
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
  std::vector<PictureResult> pictures;
  for (const GalleryItem& entry : {item("passed", false, 0.1f), item("found, close", true, 0.52f),
                                   item("alarm, small", false, 0.6f), item("missed, close", true, 0.45f),
                                   item("unreadable", true, 0.0f, "torn"), item("alarm, large", false, 0.9f),
                                   item("missed, far", true, 0.1f), item("no label", std::nullopt, 0.8f)}) {
    pictures.push_back(entry.result);
  }
  std::vector<std::string> order;
  for (const std::size_t index : worst_first(pictures)) order.push_back(pictures[index].path);
  const std::vector<std::string> expected = {"missed, far", "missed, close", "alarm, large", "alarm, small",
                                             "no label",    "found, close",  "passed",       "unreadable"};
  EXPECT_EQ(order, expected);
}

TEST(Report, ShowsSomeOfEveryOutcome) {
  std::vector<PictureResult> pictures;
  for (int i = 0; i < 20; ++i)
    pictures.push_back(item(fmt::format("missed {}", i), true, 0.4f - 0.01f * static_cast<float>(i)).result);
  for (int i = 0; i < 9; ++i)
    pictures.push_back(item(fmt::format("found {}", i), true, 0.55f + 0.02f * static_cast<float>(i)).result);
  pictures.push_back(item("alarm", false, 0.8f).result);
  pictures.push_back(item("torn", false, 0.8f, "torn").result);
  const auto names = [&](std::size_t places) {
    std::vector<std::string> chosen;
    for (const std::size_t index : choose_for_gallery(pictures, places))
      chosen.push_back(pictures[index].path);
    return chosen;
  };
  // The alarm needs one place of seven, three each are left: the worst missed, and the found spread over their scores.
  const std::vector<std::string> seven = {"missed 19", "missed 18", "missed 17", "alarm",
                                          "found 0",   "found 3",   "found 6"};
  EXPECT_EQ(names(7), seven);
  EXPECT_EQ(names(30).size(), 30u);
  EXPECT_EQ(names(1000).size(), 30u);
  EXPECT_TRUE(names(0).empty());
}

TEST(Report, SaysInWordsWhatWasFound) {
  const std::string page = page_of({item("a", true, 0.9f), item("b", true, 0.1f), item("c", false, 0.9f),
                                    item("d", false, 0.1f), item("e", false, 0.1f, "torn file")});
  EXPECT_NE(page.find("1 of 2 defective pictures</b> (50.0&#8239;%); <b>1 missed</b>"), std::string::npos);
  EXPECT_NE(page.find("1 of 2 good pictures</b>; <b>1 false alarm</b>"), std::string::npos);
  EXPECT_NE(page.find("Missed: <b>scratch</b> 1 of 2."), std::string::npos);
  EXPECT_EQ(page.find("Where:"), std::string::npos);  // nobody said where the defects are
  EXPECT_NE(page.find("<td>torn file</td>"), std::string::npos);
  EXPECT_EQ(count(page, "<svg"), 2u);
  EXPECT_EQ(count(page, "data:image/png;base64,UElDVFVSRQ=="), 5u);
  EXPECT_EQ(count(page, "data:image/png;base64,T1ZFUkxBWQ=="), 5u);
}

TEST(Report, SaysWhereInThePicture) {
  GalleryItem found = item("a", true, 0.9f), elsewhere = item("b", true, 0.8f),
              missed = item("c", true, 0.1f);
  for (GalleryItem* entry : {&found, &elsewhere, &missed}) {
    entry->result.width = 900;
    entry->result.height = 300;
    entry->result.blobs = {{610, 10, 280, 80, 500, 0.9f, 0.9}, {0, 0, 5, 5, 20, 0.6f, 0.6}};
    entry->result.on_defect = true;
  }
  elsewhere.result.blobs = {{400, 110, 100, 80, 500, 0.9f, 0.9}};
  elsewhere.result.on_defect = false;
  const std::string page = page_of({found, elsewhere, missed});
  EXPECT_NE(page.find("Where: in <b>1 of 2 pictures</b> found"), std::string::npos);
  EXPECT_NE(page.find("2 spots, the largest: upper right, 280&#8239;&#215;&#8239;80&#8239;px"),
            std::string::npos);
  EXPECT_NE(
      page.find("1 spot: centre, 100&#8239;&#215;&#8239;80&#8239;px; <b>not where the true defect is</b>"),
      std::string::npos);
  EXPECT_EQ(count(page, "spot"), 2u);  // nothing was found in the missed one
}

TEST(Report, NamesTheKindsMissedMostFirst) {
  std::vector<GalleryItem> gallery;
  const char* kinds[] = {"a", "b", "c", "d", "e", "f"};
  for (int kind = 0; kind < 6; ++kind) {
    for (int i = 0; i < 6; ++i) {
      gallery.push_back(item("p", true, i < kind ? 0.1f : 0.9f));
      gallery.back().result.defect_type = kinds[kind];
    }
  }
  EXPECT_NE(
      page_of(gallery).find("Missed: <b>f</b> 5 of 6, <b>e</b> 4 of 6, <b>d</b> 3 of 6, <b>c</b> 2 of 6, and "
                            "1 more kind."),
      std::string::npos);
}

TEST(Report, TellsWhatOtherThresholdsWouldHaveFound) {
  std::vector<GalleryItem> gallery;
  for (int i = 0; i < 20; ++i) gallery.push_back(item("good", false, i == 0 ? 0.45f : 0.1f));
  for (int i = 0; i < 4; ++i) gallery.push_back(item("bad", true, i == 0 ? 0.9f : i == 1 ? 0.46f : 0.3f));
  EXPECT_NE(
      page_of(gallery).find("could have found 100.0&#8239;% of the defects at up to 5&#8239;% false alarms "
                            "(raw threshold 0.3)"),
      std::string::npos);
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
