#include "app/realism_report.h"

#include <algorithm>
#include <cstdio>

#include "app/defect_bank.h"
#include "app/inspect_samples.h"
#include "app/interrupt.h"
#include "app/progress_line.h"
#include "app/realism_page.h"
#include "app/teacher_search.h"
#include "data/dataset_load.h"
#include "data/foreground.h"
#include "engine/autograd.h"
#include "engine/files/atomic_file.h"
#include "eval/realism.h"
#include "models/feature_memory.h"
#include "models/normalized_pictures.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kFewestReal = 4;  // two halves of two
constexpr std::int64_t kBatch = 8;

template <class T>
T* at(const Tensor& batch, std::int64_t i) {
  return batch.data<T>() + i * (batch.count() / batch.dim(0));
}

ResNetTeacher load_teacher(const std::string& file, Device device) {
  const SafetensorsFile weights = open_teacher(file);
  return ResNetTeacher(NamedTensors(weights, WeightOrder::oihw), DType::f32, device);
}

DefectSet load_real_defects(const std::filesystem::path& folder, std::int64_t size) {
  std::vector<Sample> samples;
  const Dataset dataset = scan_dataset(folder);
  for (const Sample& sample : dataset.test) {
    if (sample.defective.value_or(false) && sample.mask) samples.push_back(sample);
  }
  if (samples.empty()) {
    throw_error(
        "--report: {} has no test pictures of defects with masks to compare with; put pictures under "
        "test/<type>/ and masks under ground_truth/<type>/, or name another dataset with --data",
        in_quotes(dataset.root));
  }
  const std::vector<LoadedPicture> loaded = load_pictures(samples, static_cast<int>(size));
  DefectSet real;
  std::vector<const LoadedPicture*> usable;
  for (std::size_t i = 0; i < loaded.size(); ++i) {
    if (!loaded[i].loaded()) {
      std::fprintf(stderr, "skipped: %s\n", loaded[i].error.c_str());
    } else if (loaded[i].mask_state != MaskState::marked) {
      std::fprintf(stderr, "%s: its mask marks nothing at %lld pixels; left out of the report\n",
                   samples[i].path.c_str(), static_cast<long long>(size));
    } else {
      usable.push_back(&loaded[i]);
      real.labels.push_back(samples[i].type);
    }
  }
  if (real.count() < kFewestReal) {
    throw_error("--report: {} has {} usable test pictures of defects with masks; at least {} are needed",
                in_quotes(dataset.root), real.count(), kFewestReal);
  }
  real.pictures = stack_pictures(usable, size, Device{});
  real.masks = Tensor::empty({real.count(), size, size}, DType::u8);
  for (std::int64_t i = 0; i < real.count(); ++i) {
    std::ranges::copy(usable[static_cast<std::size_t>(i)]->mask.value, at<std::uint8_t>(real.masks, i));
  }
  return real;
}

// Without those whose mask is empty: --foreground can leave none of it.
DefectSet with_masks_only(const Tensor& pictures, const Tensor& masks) {
  std::vector<std::int64_t> kept;
  const std::int64_t pixels = masks.dim(1) * masks.dim(2);
  for (std::int64_t i = 0; i < masks.dim(0); ++i) {
    const std::uint8_t* mask = at<std::uint8_t>(masks, i);
    if (std::any_of(mask, mask + pixels, [](std::uint8_t value) { return value != 0; })) kept.push_back(i);
  }
  DefectSet defects;
  const auto count = static_cast<std::int64_t>(kept.size());
  defects.pictures = Tensor::empty({count, masks.dim(1), masks.dim(2), 3}, DType::u8);
  defects.masks = Tensor::empty({count, masks.dim(1), masks.dim(2)}, DType::u8);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t from = kept[static_cast<std::size_t>(i)];
    std::copy_n(at<std::uint8_t>(pictures, from), pixels * 3, at<std::uint8_t>(defects.pictures, i));
    std::copy_n(at<std::uint8_t>(masks, from), pixels, at<std::uint8_t>(defects.masks, i));
    defects.labels.push_back(fmt::format("{}", from + 1));
  }
  return defects;
}

// Defects as the trainer draws them from one source, put where the bank's settings put theirs.
DefectSet drawn_defects(const Tensor& good, const PaintConfig& config, SynthesisConfig source,
                        std::int64_t count) {
  const std::int64_t side = good.dim(1);
  const Tensor pictures = Tensor::empty({count, side, side, 3}, DType::u8);
  const Tensor masks = Tensor::empty({count, side, side}, DType::u8);
  const Tensor normal = Tensor::empty({1, side, side, 3}, DType::f32);
  const Tensor defective = Tensor::empty({1, side, side, 3}, DType::f32);
  for (std::int64_t i = 0; i < count; ++i) {
    // The painter's first try of its defect i.
    const auto sample = static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(config.tries);
    const kernels::TripletRecipe recipe =
        draw_recipe(source, config.sampler.seed, sample, good.dim(0), 0, side, side);
    kernels::TripletArgs args;
    args.n = 1;
    args.h = args.w = side;
    args.pictures = good.data<std::uint8_t>();
    args.recipes = &recipe;
    args.normal = normal.raw();
    args.defective = defective.raw();
    args.mask = at<std::uint8_t>(masks, i);
    std::fill_n(args.mean, 3, 0.0f);
    std::fill_n(args.std, 3, 1.0f / 255.0f);  // levels
    kernels::cpu::triplet(args);
    const std::uint8_t* base = at<std::uint8_t>(good, recipe.picture);
    std::uint8_t* out = at<std::uint8_t>(pictures, i);
    for (std::int64_t p = 0; p < side * side * 3; ++p) {
      out[p] = static_cast<std::uint8_t>(std::clamp(defective.data<float>()[p], 0.0f, 255.0f) + 0.5f);
    }
    if (!config.foreground_only) continue;
    const Mask part = foreground(base, static_cast<int>(side));
    for (std::int64_t p = 0; p < side * side; ++p) {
      if (part.value[static_cast<std::size_t>(p)] != 0) continue;
      args.mask[p] = 0;
      std::copy_n(base + p * 3, 3, out + p * 3);
    }
  }
  return with_masks_only(pictures, masks);
}

SynthesisConfig only(const PaintConfig& config, float SynthesisConfig::*weight) {
  SynthesisConfig source = config.masks;
  source.self_weight = source.texture_weight = source.folder_weight = source.diffusion_weight = 0.0f;
  source.*weight = 1.0f;
  return source;
}

ordered_json to_json(const RealismRow& row) {
  const auto spread = [](const eval::Spread& s) {
    return ordered_json{{"mean", s.mean}, {"deviation", s.deviation}};
  };
  return {{"name", row.name},
          {"defects", row.defects->count()},
          {"frechet", spread(row.distances.frechet)},
          {"kernel", spread(row.distances.kernel)}};
}

}  // namespace

std::vector<double> defect_features(const ResNetTeacher& teacher, const DefectSet& defects, Device device) {
  const NoGrad looking;
  std::vector<double> vectors;
  const std::int64_t side = defects.masks.dim(1);
  for (std::int64_t first = 0; first < defects.count() && !interrupted(); first += kBatch) {
    const std::int64_t n = std::min(kBatch, defects.count() - first);
    const Tensor grid = memory_features(
        teacher.features(normalized_pictures(defects.pictures.slice(first, n).to(device), DType::f32)));
    const std::vector<float> values = grid.to_floats();
    const auto each = values.size() / static_cast<std::size_t>(n);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::vector<double> mean = eval::masked_mean(
          std::span(values).subspan(static_cast<std::size_t>(i) * each, each), grid.dim(1), grid.dim(2),
          kMemoryChannels,
          {at<std::uint8_t>(defects.masks, first + i), static_cast<std::size_t>(side * side)}, side);
      vectors.insert(vectors.end(), mean.begin(), mean.end());
    }
  }
  return vectors;
}

RealismReport::RealismReport(const std::filesystem::path& dataset, std::int64_t size, std::string teacher,
                             Device device)
    : dataset_(dataset),
      teacher_file_(std::move(teacher)),
      teacher_(load_teacher(teacher_file_, device)),
      real_(load_real_defects(dataset, size)),
      device_(device) {}

bool RealismReport::write(const std::filesystem::path& bank, const TrainingData& data,
                          const PaintConfig& config) const {
  const PaintedDefects loaded = load_bank(bank, data, Device{});
  const DefectSet painted = with_masks_only(loaded.pictures, loaded.masks);
  const std::int64_t count = loaded.pictures.dim(0);
  if (painted.count() < 2)
    throw_error("--report: {} painted defects; at least 2 are needed", painted.count());
  const Tensor good = data.training.to(Device{});
  const DefectSet self = drawn_defects(good, config, only(config, &SynthesisConfig::self_weight), count);
  const DefectSet texture =
      drawn_defects(good, config, only(config, &SynthesisConfig::texture_weight), count);

  RealismPage page;
  page.rows = {
      {"Real", "test pictures of this set, against the other half of them", &real_, {}},
      {"Painted", fmt::format("by the diffusion model, form {}", name_of(config.form)), &painted, {}},
      {"Self", "from good pictures: other places of them, bent, stained or blurred", &self, {}},
      {"Texture", "procedural textures", &texture, {}}};
  std::vector<std::vector<double>> features;
  ProgressLine line;
  for (const RealismRow& row : page.rows) {
    line.show(fmt::format("features of {} defects: {}", row.defects->count(), row.name));
    features.push_back(defect_features(teacher_, *row.defects, device_));
    if (interrupted()) return false;
  }
  line.finish();
  std::vector<eval::FeatureRows> sets;
  for (std::size_t i = 0; i < features.size(); ++i) {
    sets.push_back({features[i], page.rows[i].defects->count(), kMemoryChannels});
  }
  eval::RealismConfig comparison;
  comparison.seed = config.sampler.seed;
  const eval::Realism realism = compare_with_real(sets[0], std::span(sets).subspan(1), comparison);
  page.rows[0].distances = realism.real;
  for (std::size_t i = 0; i < realism.sources.size(); ++i) page.rows[i + 1].distances = realism.sources[i];
  page.title = fmt::format("How real are the defects painted for {}?",
                           std::filesystem::weakly_canonical(dataset_).filename().string());
  page.count = realism.count;
  page.draws = comparison.draws;
  page.channels = kMemoryChannels;

  ordered_json numbers = {
      {"dataset", dataset_.string()},    {"teacher", teacher_file_}, {"picture_size", data.training.dim(1)},
      {"channels", page.channels},       {"compared", page.count},   {"draws", page.draws},
      {"sources", ordered_json::array()}};
  for (const RealismRow& row : page.rows) numbers["sources"].push_back(to_json(row));
  write_file_atomically(bank / "realism.json", numbers.dump(2) + "\n");
  write_file_atomically(bank / "realism.html", realism_html(page));
  fmt::print("distances to real defects, {} against {} (lower is closer)\n", page.count, page.count);
  for (const RealismRow& row : page.rows) {
    fmt::print("  {:<8} Fréchet {:8.3f} ± {:.3f}   kernel {:9.5f} ± {:.5f}\n", row.name,
               row.distances.frechet.mean, row.distances.frechet.deviation, row.distances.kernel.mean,
               row.distances.kernel.deviation);
  }
  fmt::print("report: {}\n", (bank / "realism.html").string());
  return true;
}

}  // namespace ddpmts::app
