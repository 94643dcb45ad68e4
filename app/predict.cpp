// `ddpmts predict RUN FILES-OR-FOLDER -o OUT`: inspects pictures; writes overlays, 16-bit maps and predictions.json.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "app/commands.h"
#include "app/device_options.h"
#include "app/inspect_samples.h"
#include "app/interrupt.h"
#include "app/overlay.h"
#include "app/progress_line.h"
#include "app/report_skipped.h"
#include "app/run_folder.h"
#include "data/image_codec.h"
#include "engine/files/atomic_file.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;

struct PredictOptions {
  std::string run, output = "predictions", precision = "auto", device = "cpu";
  std::vector<std::string> inputs;
  double threshold = 0;
  bool has_threshold = false;
  bool overlays = true, maps = true;
  std::int64_t batch = 8;
};

// Files as named, folders as their pictures. A file that does not exist becomes an error row, like any bad file.
std::vector<Sample> gather(const std::vector<std::string>& inputs) {
  std::vector<Sample> samples;
  for (const std::string& input : inputs) {
    if (std::filesystem::is_directory(input)) {
      const PictureList list = scan_pictures(input);
      samples.insert(samples.end(), list.pictures.begin(), list.pictures.end());
      report_skipped(list.skipped);
    } else {
      samples.emplace_back().path = input;
    }
  }
  return samples;
}

// Output names come from file names; where two inputs share one, the later gets a number.
std::string unique_stem(const std::filesystem::path& path, std::set<std::string>& used) {
  const std::string stem = path.stem().string();
  std::string name = stem;
  for (int n = 2; !used.insert(name).second; ++n) name = fmt::format("{}_{}", stem, n);
  return name;
}

// The picture at its own size with the heat map on it. What is wrong with the file goes into the result's `error`.
std::optional<Image> overlay_of(eval::PictureResult& result, const FloatMap& map) {
  try {
    return heat_overlay(read_image(result.path), map);
  } catch (const std::bad_alloc&) {
    result.error =
        fmt::format("cannot draw over the picture {}: not enough memory; shrink it, or use --no-overlays",
                    in_quotes(result.path));
  } catch (const Error& error) {
    result.error = error.what();
  }
  return std::nullopt;
}

void run_predict(const PredictOptions& options) {
  watch_for_interrupt();
  Model model = open_model(options.run, options.precision, options.device);
  if (options.has_threshold) {
    std::fprintf(stderr, "threshold %g from the command line replaces the model's %g\n", options.threshold,
                 model.threshold.threshold);
    model.threshold.threshold = options.threshold;
    model.threshold.good_count = 0;  // set by hand
  }
  const std::vector<Sample> samples = gather(options.inputs);
  if (samples.empty())
    throw_error("no pictures in {}; PNG, JPEG and BMP are read", in_quotes(options.inputs.front()));
  const std::filesystem::path output = options.output;
  make_folder(output);

  const int size = static_cast<int>(model.detector->config().size);
  std::set<std::string> names;
  ordered_json pictures = ordered_json::array();
  int defective = 0, errors = 0;
  InspectOptions inspect;
  inspect.batch = options.batch;
  ProgressLine line;
  inspect_samples(inspector_of(model), samples, inspect, [&](InspectedPicture&& found) {
    eval::PictureResult& result = found.result;
    std::optional<Image> overlay;
    FloatMap map;
    if (result.error.empty()) {
      map = normalized_map(found.anomaly, size, size, model.threshold);
      if (options.overlays) overlay = overlay_of(result, map);
    }
    ordered_json row = eval::prediction_json(result, model.threshold);
    row["overlay"] = nullptr;
    row["map"] = nullptr;
    if (result.error.empty()) {
      const std::string name = unique_stem(found.sample->path, names);
      if (overlay) {
        row["overlay"] = name + "_overlay.png";
        write_png(output / (name + "_overlay.png"), *overlay);
      }
      if (options.maps) {
        row["map"] = name + "_map.png";
        write_png(output / (name + "_map.png"), to_grey16(map));
      }
      defective += result.verdict_defective ? 1 : 0;
    } else {
      ++errors;
      line.finish();
      std::fprintf(stderr, "%s\n", result.error.c_str());
    }
    pictures.push_back(std::move(row));
    if (samples.size() == 1 && result.error.empty()) {
      std::printf("%s: %s, score %.3f (0.5 = threshold), raw %.4g, %.1f ms\n", result.path.c_str(),
                  result.verdict_defective ? "defective" : "good", result.score,
                  static_cast<double>(result.raw_score), result.milliseconds);
    } else if (line.due()) {
      line.show(fmt::format("inspected {}/{}, {} defective", pictures.size(), samples.size(), defective));
    }
  });
  line.finish();
  const ordered_json document = {
      {"threshold",
       {{"raw", model.threshold.threshold},
        {"false_alarm_rate",
         options.has_threshold ? ordered_json() : ordered_json(model.threshold.false_alarm_rate)},
        {"meaning", model.threshold.describe()}}},
      {"map_size", size},
      {"pictures", std::move(pictures)}};
  const std::size_t done = document["pictures"].size();
  write_file_atomically(output / "predictions.json",
                        document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  std::printf("%zu pictures: %d defective, %zu good, %d not readable; see %s\n", done, defective,
              done - static_cast<std::size_t>(defective + errors), errors,
              (output / "predictions.json").c_str());
  if (done < samples.size())
    throw_error("interrupted: {} pictures were not inspected", samples.size() - done);
  if (errors == static_cast<int>(done)) throw_error("none of the pictures could be read");
}

}  // namespace

void add_predict(CLI::App& app) {
  const auto options = std::make_shared<PredictOptions>();
  CLI::App* command = app.add_subcommand("predict", "Inspect pictures: verdicts, boxes, heat maps.");
  command->add_option("run", options->run, "Run folder, or its model.safetensors")->required();
  command->add_option("inputs", options->inputs, "Pictures, or folders of pictures")->required();
  command->add_option("-o,--output", options->output, "Folder for predictions.json, overlays and maps");
  CLI::Option* threshold = command->add_option(
      "--threshold", options->threshold, "Raw score at which a part is defective, instead of the model's");
  threshold->default_str("the model's");
  command->add_flag("--overlays,!--no-overlays", options->overlays, "Write <name>_overlay.png; default: yes");
  command->add_flag("--maps,!--no-maps", options->maps,
                    "Write <name>_map.png, 16-bit grey, 32768 = threshold; default: yes");
  command->add_option("--batch", options->batch, "Pictures inspected at once")->check(CLI::PositiveNumber);
  command->add_option("--precision", options->precision, "auto, f32 or bf16")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}));
  add_device_options(command, options->device);
  command->callback([options, threshold] {
    options->has_threshold = threshold->count() > 0;
    run_predict(*options);
  });
}

}  // namespace ddpmts::app
