#include "app/defect_bank.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/interrupt.h"
#include "app/progress_line.h"
#include "app/run_folder.h"
#include "data/dataset_load.h"
#include "data/image_png.h"
#include "engine/files/atomic_file.h"
#include "engine/files/crc32.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;
using std::filesystem::path;

path settings_file(const path& folder) { return folder / "bank.json"; }
path list_file(const path& folder) { return folder / "bank.jsonl"; }

std::uint32_t checksum(const Tensor& tensor) {
  const Tensor on_host = tensor.to(Device{});
  return crc32({static_cast<const std::byte*>(on_host.raw()), on_host.bytes()});
}

// Tells a network's weights from any others.
std::uint32_t checksum(const UNet& network) {
  std::vector<std::uint32_t> sums;
  for (const auto& [name, tensor] : network.tensors()) sums.push_back(checksum(tensor));
  return crc32(std::as_bytes(std::span(sums)));
}

// The name of a good picture's copy, another one for each.
std::string base_name(const std::string& name) {
  return path(name).extension() == ".png" ? name : name + ".png";
}

ordered_json to_json(const PaintConfig& config, const DiffusionModel& model, const TrainingData& data) {
  const SamplerConfig& sampler = config.sampler;
  const SynthesisConfig& masks = config.masks;
  return {{"form", name_of(config.form)},
          {"seed", sampler.seed},
          {"sampler", name_of(sampler.step.kind)},
          {"steps", sampler.steps},
          {"s", {sampler.s_low, sampler.s_high}},
          {"delta", sampler.delta},
          {"start_timestep", sampler.start_timestep},
          {"opacity", {config.opacity.low, config.opacity.high}},
          {"least_change", config.least_change},
          {"tries", config.tries},
          {"foreground_only", config.foreground_only},
          {"views", name_of(config.views)},
          {"masks",
           {{"perlin", masks.perlin_weight},
            {"blob", masks.blob_weight},
            {"stroke", masks.stroke_weight},
            {"rectangle", masks.rectangle_weight},
            {"smooth_noise", masks.smooth_noise_weight}}},
          {"size", data.training.dim(1)},
          {"good_pictures", data.training.dim(0)},
          {"good_checksum", checksum(data.training)},
          {"model_checksum", checksum(*model.network)}};
}

struct Entry {
  std::string name, base;  // file names in bad/ and masks/, and in good/
};

// What is there, in order. A half-written last line, left by a killed process, counts for nothing.
std::vector<Entry> read_entries(const path& folder) {
  std::ifstream lines(list_file(folder));
  std::vector<Entry> entries;
  for (std::string line; std::getline(lines, line);) {
    const ordered_json entry = ordered_json::parse(line, nullptr, false);
    if (entry.is_discarded() || !entry.contains("name") || !entry.contains("base")) break;
    entries.push_back({entry["name"], entry["base"]});
  }
  return entries;
}

Image picture_of(const Tensor& pictures, std::int64_t i) {
  Image image(static_cast<int>(pictures.dim(2)), static_cast<int>(pictures.dim(1)));
  std::memcpy(image.rgb.data(),
              pictures.data<std::uint8_t>() + i * static_cast<std::int64_t>(image.rgb.size()),
              image.rgb.size());
  return image;
}

Mask mask_of(const Tensor& masks, std::int64_t i) {
  Mask mask(static_cast<int>(masks.dim(2)), static_cast<int>(masks.dim(1)));
  const auto pixels = static_cast<std::int64_t>(mask.value.size());
  const std::uint8_t* from = masks.data<std::uint8_t>() + i * pixels;
  for (std::int64_t p = 0; p < pixels; ++p) mask.value[static_cast<std::size_t>(p)] = from[p] != 0 ? 255 : 0;
  return mask;
}

// Makes the folder ready; returns how many paintings it holds already.
std::int64_t open_bank(const path& folder, const ordered_json& settings, bool overwrite) {
  if (overwrite && std::filesystem::exists(settings_file(folder))) {  // never a folder that is no bank
    for (const char* part :
         {"good", "bad", "masks", "realism.json", "realism.html", "bank.jsonl", "bank.json"}) {
      std::filesystem::remove_all(folder / part);
    }
  }
  if (std::filesystem::exists(settings_file(folder))) {
    std::ifstream stream(settings_file(folder));
    if (ordered_json::parse(stream, nullptr, false) != settings) {
      throw_error(
          "{} was painted with other settings, by another model or from other pictures; choose another "
          "folder, or --overwrite",
          in_quotes(folder));
    }
  } else if (std::filesystem::exists(folder) && !std::filesystem::is_empty(folder)) {
    throw_error("{} holds other files; choose an empty or new folder", in_quotes(folder));
  }
  for (const char* part : {"good", "bad", "masks"}) make_folder(folder / part);
  write_file_atomically(settings_file(folder), settings.dump(2) + "\n");
  const std::vector<Entry> entries = read_entries(folder);
  std::string kept;
  for (const Entry& entry : entries) {
    kept += ordered_json{{"name", entry.name}, {"base", entry.base}}.dump() + "\n";
  }
  write_file_atomically(list_file(folder), kept);
  return static_cast<std::int64_t>(entries.size());
}

}  // namespace

bool paint_bank(const path& folder, const DiffusionModel& model, const TrainingData& data,
                const PaintConfig& config, DType type, const PaintBankOptions& options) {
  const DefectPainter painter(model, data.training, config,
                              type);  // refuses bad settings before anything is written
  std::int64_t done = open_bank(folder, to_json(config, model, data), options.overwrite);
  const std::int64_t first = done;
  JsonLines list(list_file(folder), true);
  const Tensor good = data.training.to(Device{});
  ProgressLine line;
  const double start = now_seconds();
  std::int64_t weak = 0;
  while (done < options.count && !interrupted()) {
    const std::int64_t n = std::min(options.batch, options.count - done);
    const PaintedDefects painted = painter.paint(static_cast<std::uint64_t>(done), n);
    for (std::int64_t i = 0; i < n; ++i) {
      const auto index = static_cast<std::size_t>(i);
      const std::string name = fmt::format("{:06d}.png", done + i);
      const auto base = static_cast<std::size_t>(painted.bases[index]);
      const std::string base_file_name = base_name(data.names[base]);
      const path base_file = folder / "good" / base_file_name;
      if (!std::filesystem::exists(base_file)) write_png(base_file, picture_of(good, painted.bases[index]));
      write_png(folder / "bad" / name, picture_of(painted.pictures, i));
      write_png(folder / "masks" / name, mask_of(painted.masks, i));
      list.write({{"name", name}, {"base", base_file_name}});
      weak += painted.changes[index] < config.least_change ? 1 : 0;
    }
    done += n;
    if (line.due() || done == options.count) {
      const double each = (now_seconds() - start) / static_cast<double>(done - first);
      line.show(fmt::format("painted {} of {}  {:.2f} s each  {} left", done, options.count, each,
                            clock_text(each * static_cast<double>(options.count - done))));
    }
  }
  line.finish();
  if (weak > 0) {
    fmt::print("{} of {} paintings change less than {} levels under their mask, after {} tries each\n", weak,
               done - first, config.least_change, config.tries);
  }
  return done >= options.count;
}

PaintedDefects load_bank(const path& folder, const TrainingData& data, Device device) {
  if (!std::filesystem::exists(settings_file(folder))) {
    throw_error("{} is no defect bank: it has no bank.json; make one with ddpmts paint", in_quotes(folder));
  }
  std::map<std::string, std::int64_t> index_of;
  for (std::size_t i = 0; i < data.names.size(); ++i) {
    index_of[base_name(data.names[i])] = static_cast<std::int64_t>(i);
  }
  const std::int64_t size = data.training.dim(1);
  std::vector<Sample> samples;
  PaintedDefects bank;
  const std::vector<Entry> entries = read_entries(folder);
  for (const Entry& entry : entries) {
    const auto base = index_of.find(entry.base);
    if (base == index_of.end()) continue;
    Sample& sample = samples.emplace_back();
    sample.path = folder / "bad" / entry.name;
    sample.mask = folder / "masks" / entry.name;
    sample.defective = true;
    bank.bases.push_back(base->second);
  }
  if (samples.empty()) {
    throw_error(
        "{} holds {} painted defects, none of them on a picture that this run learns from; paint anew",
        in_quotes(folder), entries.size());
  }
  if (samples.size() < entries.size()) {
    std::fprintf(stderr, "%s: %zu of %zu painted defects are on pictures that this run does not learn from\n",
                 folder.c_str(), entries.size() - samples.size(), entries.size());
  }
  const std::vector<LoadedPicture> loaded = load_pictures(samples, static_cast<int>(size));
  const auto count = static_cast<std::int64_t>(loaded.size());
  const Tensor pictures = Tensor::empty({count, size, size, 3}, DType::u8);
  const Tensor masks = Tensor::zeros({count, size, size}, DType::u8);
  for (std::int64_t i = 0; i < count; ++i) {
    const LoadedPicture& picture = loaded[static_cast<std::size_t>(i)];
    if (!picture.loaded()) throw_error("{}; paint the bank anew", picture.error);
    std::ranges::copy(picture.image.rgb, pictures.data<std::uint8_t>() + i * size * size * 3);
    std::ranges::copy(picture.mask.value, masks.data<std::uint8_t>() + i * size * size);
  }
  bank.pictures = pictures.to(device);
  bank.masks = masks.to(device);
  return bank;
}

}  // namespace ddpmts::app
