#include "app/test_run.h"

#include <algorithm>
#include <cstdio>

#include "app/interrupt.h"
#include "app/overlay.h"
#include "app/progress_line.h"
#include "data/image_png.h"
#include "engine/files/atomic_file.h"
#include "eval/base64.h"
#include "eval/pointing.h"
#include "eval/report.h"

namespace ddpmts::app {
namespace {

std::string percent(const std::optional<double>& value) {
  return value ? fmt::format("{:6.2f} %", *value * 100) : std::string("     --");
}

void print_summary(const eval::Summary& s) {
  std::printf("image AUROC  %s   F1-max %s\n", percent(s.image_auroc).c_str(), percent(s.f1_max).c_str());
  std::printf("pixel AUROC  %s   AP     %s   AUPRO %s\n", percent(s.pixel_auroc).c_str(),
              percent(s.pixel_ap).c_str(), percent(s.aupro).c_str());
  if (s.confusion) {
    std::printf("at the threshold: %d of %d defects found, %d of %d good parts alarmed\n",
                s.confusion->defects_found, s.confusion->defects_found + s.confusion->defects_missed,
                s.confusion->false_alarms, s.confusion->false_alarms + s.confusion->good_passed);
  }
  for (const eval::PartMetrics& part : s.parts) {
    std::printf("  %-12s alone: image AUROC %s   pixel AUROC %s   AP %s\n", part.name.c_str(),
                percent(part.image_auroc).c_str(), percent(part.pixel_auroc).c_str(),
                percent(part.pixel_ap).c_str());
  }
  if (s.errors > 0) {
    std::printf("%d picture%s could not be judged: see the report\n", s.errors, s.errors == 1 ? "" : "s");
  }
}

// The pictures of one test run, kept until the metrics over all of them are known.
struct Found {
  std::vector<eval::PictureResult> results;
  std::vector<std::vector<float>> maps;
  std::vector<std::vector<InspectedPicture::Part>> parts;  // empty where a picture could not be judged
  std::vector<LoadedPicture> pictures;

  /// The pictures that enter the pixel metrics, with the maps that `map_of` gives; none when no picture has a marked defect:
  /// pixel metrics need masks of defects, not only good pictures.
  template <class MapOf>
  std::vector<eval::PictureMap> with_masks(int size, MapOf&& map_of) const {
    std::vector<eval::PictureMap> chosen;
    bool any_marked = false;
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (!results[i].error.empty() || !pictures[i].counts_for_pixel_metrics()) continue;
      chosen.push_back({map_of(i), pictures[i].mask.value, size, size, results[i].path});
      any_marked = any_marked || pictures[i].mask_state == MaskState::marked;
    }
    return any_marked ? chosen : std::vector<eval::PictureMap>();
  }
};

std::vector<eval::PartMetrics> measure_parts(const Found& found, int size) {
  const auto first = std::ranges::find_if(found.parts, [](const auto& parts) { return !parts.empty(); });
  std::vector<eval::PartMetrics> metrics;
  if (first == found.parts.end()) return metrics;
  for (std::size_t k = 0; k < first->size(); ++k) {
    std::vector<float> scores;
    for (const auto& parts : found.parts) scores.push_back(parts.empty() ? 0.0f : parts[k].score);
    const std::vector<eval::PictureMap> maps = found.with_masks(
        size, [&](std::size_t i) -> const std::vector<float>& { return found.parts[i][k].map; });
    metrics.push_back(eval::measure_part((*first)[k].name, found.results, scores, maps));
  }
  return metrics;
}

template <class Picture>
std::string png_text(const Picture& picture) {
  const std::vector<std::byte> png = encode_png(picture);
  return eval::base64({reinterpret_cast<const std::uint8_t*>(png.data()), png.size()});
}

eval::GalleryItem gallery_item(const Found& found, std::size_t i, int size,
                               const eval::Calibration& threshold) {
  eval::GalleryItem item;
  item.result = found.results[i];
  const LoadedPicture& picture = found.pictures[i];
  item.picture_png = png_text(picture.image);
  item.overlay_png =
      png_text(heat_overlay(picture.image, normalized_map(found.maps[i], size, size, threshold)));
  if (picture.mask_state == MaskState::marked) item.mask_outline_png = png_text(outline(picture.mask));
  return item;
}

}  // namespace

std::optional<eval::Summary> test_run(const Inspector& inspector, const Dataset& dataset,
                                      const std::filesystem::path& output, const TestRunOptions& options) {
  if (dataset.test.empty()) {
    throw_error(
        "{} has no test pictures; put some under test/<type>/ or bad/, or inspect single pictures with "
        "`ddpmts "
        "predict`",
        in_quotes(dataset.root));
  }
  make_folder(output);
  const int size = static_cast<int>(inspector.size);
  Found found;
  ProgressLine line;
  InspectOptions inspect;
  inspect.batch = options.batch;
  inspect.with_masks = true;
  const std::size_t done = inspect_samples(inspector, dataset.test, inspect, [&](InspectedPicture&& picture) {
    picture.result.path = std::filesystem::relative(picture.sample->path, dataset.root).string();
    if (picture.loaded.mask_state == MaskState::marked && picture.result.error.empty()) {
      picture.result.on_defect = eval::points_at_defect(
          {picture.anomaly, picture.loaded.mask.value, size, size, picture.result.path}, size / 64);
    }
    found.results.push_back(std::move(picture.result));
    found.maps.push_back(std::move(picture.anomaly));
    found.parts.push_back(std::move(picture.parts));
    found.pictures.push_back(std::move(picture.loaded));
    if (line.due()) line.show(fmt::format("testing {}/{}", found.results.size(), dataset.test.size()));
  });
  line.finish();
  if (done < dataset.test.size()) return std::nullopt;

  int masks_left_out = 0;
  for (std::size_t i = 0; i < found.results.size(); ++i) {
    const MaskState state = found.pictures[i].mask_state;
    if (state != MaskState::unmarked && state != MaskState::lost) continue;
    ++masks_left_out;
    std::fprintf(stderr, "%s: %s; left out of the pixel metrics\n", found.results[i].path.c_str(),
                 state == MaskState::unmarked
                     ? "its mask marks nothing"
                     : fmt::format("what its mask marks is too small to be seen at {0} x {0}", size).c_str());
  }
  const std::vector<eval::PictureMap> maps =
      found.with_masks(size, [&](std::size_t i) -> const std::vector<float>& { return found.maps[i]; });
  eval::Summary summary = eval::summarize(found.results, maps, inspector.threshold);
  summary.masks_left_out = masks_left_out;
  summary.parts = measure_parts(found, size);

  std::vector<eval::GalleryItem> gallery;
  for (const std::size_t i :
       eval::choose_for_gallery(found.results, static_cast<std::size_t>(options.gallery))) {
    gallery.push_back(gallery_item(found, i, size, inspector.threshold));
  }
  eval::ReportText text;
  text.title = fmt::format("Inspection of {}", dataset.root.filename().string());
  text.subtitle = fmt::format("{} pictures, {} x {}, {}", found.results.size(), size, size, inspector.name);
  write_file_atomically(output / "results.json", eval::results_json(summary, found.results));
  write_file_atomically(output / "results.csv", eval::results_csv(summary, found.results));
  write_file_atomically(output / "report.html", eval::report_html(summary, found.results, gallery, text));
  print_summary(summary);
  std::printf("report: %s\n", (output / "report.html").c_str());
  return summary;
}

}  // namespace ddpmts::app
