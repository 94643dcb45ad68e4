#include "app/diffusion_session.h"

#include <cmath>
#include <cstdio>
#include <optional>

#include "app/interrupt.h"
#include "app/picture_grid.h"
#include "app/training_data.h"
#include "app/training_loop.h"
#include "engine/files/atomic_file.h"
#include "models/diffusion_file.h"
#include "models/model_file.h"
#include "models/sampler.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;

constexpr const char* kCheckpointFormat = "ddpmts-diffusion-checkpoint";
constexpr std::int64_t kGridPictures = 16;

// What the network learns from: u8 [views,size,size,3].
Tensor make_views(const Tensor& pictures, const DiffusionRunConfig& config, Device device) {
  const int side = static_cast<int>(config.picture_size), size = static_cast<int>(config.size);
  const std::vector<int> sides = view_sides(config.views, size, side);
  const std::int64_t count = config.views == ViewScales::whole ? pictures.dim(0) : config.view_count;
  const Tensor on_host = pictures.to(Device{});
  const std::int64_t picture_bytes = on_host.count() / on_host.dim(0),
                     view_bytes = config.size * config.size * 3;
  const Tensor views = Tensor::empty({count, config.size, config.size, 3}, DType::u8);
#pragma omp parallel for schedule(dynamic, 16)
  for (std::int64_t i = 0; i < count; ++i) {
    const View view = draw_view(config.training.seed, static_cast<std::uint64_t>(i), sides, side);
    const Image image =
        take_view(on_host.data<std::uint8_t>() + i % on_host.dim(0) * picture_bytes, side, view, size);
    std::copy(image.rgb.begin(), image.rgb.end(), views.data<std::uint8_t>() + i * view_bytes);
  }
  return views.to(device);
}

struct Checkpoint {
  DiffusionRunConfig config;
  TrainingPlan::State plan;
  DiffusionTrainer::Counters trainer;
  std::int64_t picture_count = 0;
};

Checkpoint read_checkpoint(const SafetensorsFile& file) {
  try {
    if (file.metadata().at("format") != kCheckpointFormat) throw std::out_of_range("format");
    const ordered_json training = ordered_json::parse(file.metadata().at("training"));
    Checkpoint checkpoint;
    checkpoint.config = diffusion_config_from_json(ordered_json::parse(file.metadata().at("config")));
    checkpoint.plan = {training.at("steps"), training.at("seconds")};
    checkpoint.trainer = {training.at("trainer_steps"), training.at("optimizer_steps"),
                          training.at("skipped"), training.at("skipped_in_a_row")};
    checkpoint.picture_count = training.at("picture_count");
    return checkpoint;
  } catch (const std::exception& e) {
    throw FileError(fmt::format("{} is no checkpoint of a diffusion model ({}); start over with --overwrite",
                                in_quotes(file.path()), e.what()),
                    file.path());
  }
}

void save_checkpoint(const RunFolder& run, const DiffusionRunConfig& config, const UNet& network,
                     const DiffusionTrainer& trainer, const TrainingPlan& plan, std::int64_t picture_count) {
  std::vector<std::pair<std::string, Tensor>> tensors = network.tensors();
  for (const auto& entry : trainer.state()) tensors.push_back(entry);
  const DiffusionTrainer::Counters counters = trainer.counters();
  const ordered_json training = {
      {"steps", plan.state().steps},     {"seconds", plan.state().seconds},
      {"trainer_steps", counters.steps}, {"optimizer_steps", counters.optimizer_steps},
      {"skipped", counters.skipped},     {"skipped_in_a_row", counters.skipped_in_a_row},
      {"picture_count", picture_count}};
  write_tensors(
      run.diffusion_checkpoint(), tensors,
      {{"format", kCheckpointFormat}, {"config", to_json(config).dump()}, {"training", training.dump()}});
}

ordered_json log_record(const DiffusionStepReport& report, TimestepLosses& losses) {
  ordered_json by_timestep = ordered_json::array();
  for (std::int64_t bucket = 0; bucket < TimestepLosses::kBuckets; ++bucket) {
    const double mean = losses.mean(bucket);
    by_timestep.push_back(std::isnan(mean) ? ordered_json() : ordered_json(mean));
  }
  return {{"loss", report.loss},
          {"learning_rate", report.learning_rate},
          {"grad_norm", report.grad_norm},
          {"finite", report.finite},
          {"loss_by_timestep", std::move(by_timestep)}};
}

// The mean over all timesteps since the start of the last stretch, and its two ends, as the progress line shows them.
std::string line_text(const ordered_json& r) {
  const auto bucket = [&](std::size_t i) {
    const ordered_json& mean = r["loss_by_timestep"][i];
    return mean.is_null() ? std::string("-") : fmt::format("{:.4f}", mean.get<double>());
  };
  return fmt::format("loss {:.4f} (early {}, late {})", r["loss"].get<double>(), bucket(0),
                     bucket(TimestepLosses::kBuckets - 1));
}

void write_samples(const RunFolder& run, const DiffusionRunConfig& config, const UNet& averaged,
                   const NoiseSchedule& schedule, std::int64_t step) {
  SamplerConfig options;
  options.seed = config.training.seed;
  options.prediction = config.training.prediction;
  SampleBatch batch;
  for (std::uint64_t i = 0; i < kGridPictures; ++i) batch.indices.push_back(i);
  const Sampler sampler(averaged, schedule, options, config.training.type);
  const Tensor pictures = sampler.sample(batch);
  make_folder(run.samples());
  write_picture_grid(run.samples() / fmt::format("step_{:06d}.png", step), {&pictures, 1}, 8);
}

}  // namespace

SessionEnd run_diffusion_training(DiffusionRunConfig config, const RunFolder& run,
                                  const SessionOptions& options) {
  watch_for_interrupt();
  const bool exists =
      std::filesystem::exists(run.diffusion_checkpoint()) || std::filesystem::exists(run.diffusion_model());
  if (exists && !options.resume && !options.overwrite) {
    throw_error(
        "{} already holds a diffusion model; continue it with --resume, replace it with --overwrite, or "
        "choose another -o",
        in_quotes(run.root));
  }
  const Device device = parse_device(options.device);
  std::optional<SafetensorsFile> checkpoint_file;
  Checkpoint checkpoint;
  if (options.resume) {
    checkpoint_file.emplace(run.diffusion_checkpoint());
    checkpoint = read_checkpoint(*checkpoint_file);
    const std::string data = config.data;
    config = checkpoint.config;
    config.data = data;
  }
  config.training.type = type_of(config.precision);

  const TrainingData data = load_training_data(scan_dataset(config.data), config.picture_size,
                                               config.held_out, config.training.seed, device);
  if (options.resume && checkpoint.picture_count != data.count()) {
    throw_error(
        "{} now has {} good pictures, the run was started with {}: put them back, or start over with "
        "--overwrite",
        in_quotes(config.data), data.count(), checkpoint.picture_count);
  }
  const Tensor views = make_views(data.training, config, device);
  make_folder(run.root);
  write_file_atomically(run.diffusion_config(), to_json(config).dump(2) + "\n");

  const NoiseSchedule schedule(config.schedule, config.timesteps);
  const UNetConfig shape = preset(config.preset, config.size);
  UNet network(shape, config.training.seed, device);
  UNet averaged(shape, config.training.seed, device);
  TrainingPlan plan(config.steps, config.minutes);
  DiffusionTrainer trainer(network, schedule, views, config.training);
  if (options.resume) {
    NamedTensors(*checkpoint_file, WeightOrder::krsc).load_into(network.parameters());
    trainer.restore(checkpoint.trainer, [&](const std::string& name, const Shape& extents) {
      return Tensor::from_host<float>(extents, checkpoint_file->read_f32(name, extents.extents()));
    });
    plan.restore(checkpoint.plan);
    checkpoint_file.reset();
  }
  fmt::print(
      "diffusion model {}: {:.1f} M parameters, {} views of {} good pictures at {}x{}; {}; {}, batch {}\n",
      name_of(config.preset), static_cast<double>(network.parameter_count()) / 1e6, views.dim(0),
      data.training.dim(0), config.size, config.size, describe(device), name_of(config.precision),
      config.training.batch);
  std::fflush(stdout);

  TrainingLoop loop;
  loop.pictures_per_step = config.training.batch * config.training.accumulation;
  loop.checkpoint_minutes = options.checkpoint_minutes;
  loop.log = run.diffusion_log();
  loop.log_every = options.log_every;
  loop.append = options.resume;
  loop.step = [&](double progress) { return log_record(trainer.step(progress), trainer.losses()); };
  loop.text = line_text;
  loop.save = [&] {
    save_checkpoint(run, config, network, trainer, plan, data.count());
    if (interrupted()) return;  // samples take their time
    trainer.copy_average_to(averaged);
    write_samples(run, config, averaged, schedule, plan.state().steps);
    trainer.losses().reset();
  };
  loop.peak_memory = [&] { return static_cast<std::size_t>(memory_stats(device).peak); };
  if (!loop.run(plan)) {
    std::printf("interrupted after %lld steps; continue with: ddpmts train-diffusion %s -o %s --resume\n",
                static_cast<long long>(plan.state().steps), config.data.c_str(), run.root.c_str());
    return SessionEnd::interrupted;
  }
  save_diffusion_model(run.diffusion_model(), shape, schedule, config.training.prediction,
                       trainer.averaged_tensors(), to_json(config).dump());
  std::printf("diffusion model: %s\n", run.diffusion_model().c_str());
  return SessionEnd::finished;
}

}  // namespace ddpmts::app
