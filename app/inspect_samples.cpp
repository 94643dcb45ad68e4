#include "app/inspect_samples.h"

#include <algorithm>

#include "app/interrupt.h"
#include "app/progress_line.h"
#include "models/map_scores.h"

namespace ddpmts::app {

Tensor stack_pictures(std::span<const LoadedPicture* const> pictures, std::int64_t size, Device device) {
  const auto count = static_cast<std::int64_t>(pictures.size());
  std::vector<std::uint8_t> pixels;
  pixels.reserve(static_cast<std::size_t>(count * size * size * 3));
  for (const LoadedPicture* picture : pictures) {
    pixels.insert(pixels.end(), picture->image.rgb.begin(), picture->image.rgb.end());
  }
  return Tensor::from_host<std::uint8_t>({count, size, size, 3}, pixels, device);
}

namespace {

// Boxes from the map's pixels to the picture's.
void scale_boxes(std::vector<eval::Blob>& blobs, std::int64_t size, const LoadedPicture& picture) {
  const double sx = static_cast<double>(picture.width) / static_cast<double>(size);
  const double sy = static_cast<double>(picture.height) / static_cast<double>(size);
  for (eval::Blob& blob : blobs) {
    const int right = static_cast<int>((blob.x + blob.width) * sx + 0.5);
    const int bottom = static_cast<int>((blob.y + blob.height) * sy + 0.5);
    blob.x = static_cast<int>(blob.x * sx);
    blob.y = static_cast<int>(blob.y * sy);
    blob.width = std::max(1, right - blob.x);
    blob.height = std::max(1, bottom - blob.y);
    blob.area = static_cast<std::int64_t>(static_cast<double>(blob.area) * sx * sy + 0.5);
  }
}

}  // namespace

Inspector inspector_of(const Model& model, bool with_parts) {
  Inspector inspector;
  inspector.size = model.detector->config().size;
  inspector.top_k = model.detector->config().top_k;
  inspector.name = fmt::format("student and teacher, {}", name_of(model.detector->config().precision));
  inspector.device = model.detector->device();
  inspector.threshold = model.threshold;
  inspector.inspect = [&detector = *model.detector, with_parts](const Tensor& pictures) {
    Inspection found = detector.inspect(pictures);
    Inspector::Maps maps{found.anomaly, std::move(found.scores), {}};
    if (!with_parts) return maps;
    for (const auto& [name, map] : {std::pair{"distance", found.distance},
                                    {"segmentation", found.segmentation},
                                    {"memory", found.memory}}) {
      if (map) maps.parts.push_back({name, map});
    }
    return maps;
  };
  return inspector;
}

std::size_t inspect_samples(const Inspector& inspector, std::span<const Sample> samples,
                            const InspectOptions& options,
                            const std::function<void(InspectedPicture&&)>& take) {
  const std::int64_t size = inspector.size;
  const auto pixels = static_cast<std::size_t>(size * size);
  std::size_t done = 0;
  while (done < samples.size() && !interrupted()) {
    const auto chunk =
        samples.subspan(done, std::min(samples.size() - done, static_cast<std::size_t>(options.batch)));
    std::vector<Sample> wanted(chunk.begin(), chunk.end());
    if (!options.with_masks) {
      for (Sample& sample : wanted) sample.mask.reset();
    }
    std::vector<LoadedPicture> loaded = load_pictures(wanted, static_cast<int>(size));
    std::vector<const LoadedPicture*> usable;
    for (const LoadedPicture& picture : loaded) {
      if (picture.loaded()) usable.push_back(&picture);
    }
    Inspector::Maps inspection;
    std::vector<float> maps;
    std::vector<std::vector<float>> part_maps, part_scores;
    double milliseconds = 0;
    if (!usable.empty()) {
      const double start = now_seconds();
      inspection = inspector.inspect(stack_pictures(usable, size, inspector.device));
      maps = inspection.anomaly.to_floats();
      milliseconds = (now_seconds() - start) * 1e3 / static_cast<double>(usable.size());
      for (const Inspector::Part& part : inspection.parts) {
        part_maps.push_back(part.maps.to_floats());
        part_scores.push_back(top_k_scores(part.maps, inspector.top_k));
      }
    }
    std::size_t next = 0;  // among the usable ones
    for (std::size_t i = 0; i < chunk.size(); ++i) {
      InspectedPicture picture;
      picture.sample = &chunk[i];
      picture.result.path = chunk[i].path.string();
      picture.result.defect_type = chunk[i].type;
      picture.result.defective = chunk[i].defective;
      picture.result.error = loaded[i].error;
      if (loaded[i].loaded()) {
        const auto own = [&](const std::vector<float>& all) {
          const auto begin = all.begin() + static_cast<std::ptrdiff_t>(next * pixels);
          return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(pixels));
        };
        picture.anomaly = own(maps);
        for (std::size_t k = 0; k < part_maps.size(); ++k) {
          picture.parts.push_back({inspection.parts[k].name, part_scores[k][next], own(part_maps[k])});
        }
        picture.result.width = loaded[i].width;
        picture.result.height = loaded[i].height;
        picture.result.raw_score = inspection.scores[next];
        picture.result.milliseconds = milliseconds;
        eval::judge(picture.result, inspector.threshold);
        if (picture.result.verdict_defective) {
          picture.result.blobs =
              eval::find_blobs(picture.anomaly, static_cast<int>(size), static_cast<int>(size),
                               inspector.threshold.threshold, options.min_blob_area);
          scale_boxes(picture.result.blobs, size, loaded[i]);
        }
        ++next;
      }
      picture.loaded = std::move(loaded[i]);
      take(std::move(picture));
    }
    done += chunk.size();
  }
  return done;
}

}  // namespace ddpmts::app
