// `ddpmts_bench`: how fast this machine trains and inspects. Google Benchmark's flags apply (--benchmark_filter=…).
// It needs no data and no weights: pictures are drawn, networks start from random numbers.
#include <benchmark/benchmark.h>

#include <filesystem>

#include "data/drawn_parts.h"
#include "kernels/triplet.h"
#include "models/detector_trainer.h"
#include "models/diffusion_trainer.h"
#include "models/random_teacher.h"
#include "models/sampler.h"

namespace {

using namespace ddpmts;

constexpr std::int64_t kSize = 256;

// A teacher file in a temporary place, for as long as the program runs.
const SafetensorsFile& teacher_file() {
  static const SafetensorsFile* file = [] {
    const auto path = std::filesystem::temp_directory_path() / "ddpmts_bench_teacher.safetensors";
    write_random_teacher(path, 1);
    auto* opened = new SafetensorsFile(path);
    std::filesystem::remove(path);
    return opened;
  }();
  return *file;
}

Tensor drawn_pictures(std::int64_t count, std::int64_t size = kSize) {
  std::vector<std::uint8_t> pixels;
  for (std::int64_t i = 0; i < count; ++i) {
    const DrawnPart part = draw_part(PartKind::flange, DefectKind::none, 1, static_cast<std::uint64_t>(i),
                                     static_cast<int>(size));
    pixels.insert(pixels.end(), part.image.rgb.begin(), part.image.rgb.end());
  }
  return Tensor::from_host<std::uint8_t>({count, size, size, 3}, pixels);
}

Detector make_detector(HeadSize head, Precision precision) {
  DetectorConfig config;
  config.size = kSize;
  config.head = head;
  config.precision = precision;
  return {NamedTensors(teacher_file(), WeightOrder::oihw), config, 1, Device{}};
}

void report(benchmark::State& state, std::int64_t batch) {
  state.counters["img/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * batch), benchmark::Counter::kIsRate);
  state.counters["peak_MiB"] = static_cast<double>(memory_stats({}).peak) / 1048576.0;
}

// One training step, synthesis included: triplets, teacher twice, student, head, losses, backward, optimiser.
void training_step(benchmark::State& state, HeadSize head, Precision precision) {
  const std::int64_t batch = state.range(0);
  Detector detector = make_detector(head, precision);
  DetectorTrainingConfig config;
  config.batch = batch;
  DetectorTrainer trainer(detector, drawn_pictures(16), {}, config);
  for (int i = 0; i < 3; ++i) trainer.step(0.1);
  reset_peak_memory({});
  for (auto _ : state) trainer.step(0.5);
  report(state, batch);
}

// From u8 pictures to maps and scores.
void inspection(benchmark::State& state, HeadSize head, Precision precision) {
  const std::int64_t batch = state.range(0);
  Detector detector = make_detector(head, precision);
  detector.remember(drawn_pictures(8), {}, 1, 8);
  const Tensor pictures = drawn_pictures(batch);
  for (int i = 0; i < 3; ++i) benchmark::DoNotOptimize(detector.inspect(pictures).scores);
  reset_peak_memory({});
  for (auto _ : state) benchmark::DoNotOptimize(detector.inspect(pictures).scores);
  report(state, batch);
}

// One training step of a diffusion model: pictures, noise, UNet, loss, backward, optimiser and moving average.
void diffusion_training_step(benchmark::State& state, UNetPreset kind, std::int64_t size, DType type) {
  const std::int64_t batch = state.range(0);
  UNet network(preset(kind, size), 1, Device{});
  DiffusionTrainingConfig config;
  config.batch = batch;
  config.type = type;
  DiffusionTrainer trainer(network, NoiseSchedule(), drawn_pictures(16, size), config);
  for (int i = 0; i < 2; ++i) trainer.step(0.1);
  reset_peak_memory({});
  for (auto _ : state) trainer.step(0.5);
  report(state, batch);
}

// One reverse step of a batch, the last of a chain, with its start.
void diffusion_sampling_step(benchmark::State& state, UNetPreset kind, std::int64_t size, DType type) {
  const std::int64_t batch = state.range(0);
  const UNet network(preset(kind, size), 1, Device{});
  SamplerConfig config;
  config.start_timestep = 0;
  const Sampler sampler(network, NoiseSchedule(), config, type);
  SampleBatch pictures;
  for (std::int64_t i = 0; i < batch; ++i) pictures.indices.push_back(static_cast<std::uint64_t>(i));
  pictures.pictures = drawn_pictures(batch, size);
  for (int i = 0; i < 2; ++i) benchmark::DoNotOptimize(sampler.sample(pictures));
  reset_peak_memory({});
  for (auto _ : state) benchmark::DoNotOptimize(sampler.sample(pictures));
  report(state, batch);
}

// A batch of (normal, defective, mask) from u8 pictures.
void triplet_synthesis(benchmark::State& state) {
  const std::int64_t batch = state.range(0);
  const Tensor pictures = drawn_pictures(16);
  const Tensor normal = Tensor::empty({batch, kSize, kSize, 3}, DType::bf16);
  const Tensor defective = Tensor::empty({batch, kSize, kSize, 3}, DType::bf16);
  const Tensor mask = Tensor::empty({batch, kSize, kSize}, DType::u8);
  std::uint64_t sample = 0;
  std::vector<kernels::TripletRecipe> recipes(static_cast<std::size_t>(batch));
  for (auto _ : state) {
    for (auto& recipe : recipes) recipe = draw_recipe({}, 1, sample++, pictures.dim(0), 0, kSize, kSize);
    kernels::TripletArgs args;
    args.type = DType::bf16;
    args.n = batch;
    args.h = args.w = kSize;
    args.pictures = pictures.data<std::uint8_t>();
    args.recipes = recipes.data();
    args.normal = normal.raw();
    args.defective = defective.raw();
    args.mask = mask.data<std::uint8_t>();
    kernels::cpu::triplet(args);
  }
  report(state, batch);
}

}  // namespace

int main(int argc, char** argv) {
  const bool bf16 = has_fast_bf16(Device{});
  benchmark::AddCustomContext("cpu", describe(Device{}));
  for (const HeadSize head : {HeadSize::s, HeadSize::m, HeadSize::l}) {
    for (const Precision precision : {Precision::bf16, Precision::f32}) {
      if (precision == Precision::bf16 && !bf16) continue;
      const std::string name = std::string("head_") + name_of(head) + "/" + name_of(precision);
      benchmark::RegisterBenchmark(("training_step/" + name).c_str(), training_step, head, precision)
          ->Arg(8)
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
      benchmark::RegisterBenchmark(("inspection/" + name).c_str(), inspection, head, precision)
          ->Arg(1)
          ->Arg(8)
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
  for (const auto& [kind, size] : {std::pair{UNetPreset::s, 64}, std::pair{UNetPreset::xs, 128}}) {
    for (const DType type : {DType::bf16, DType::f32}) {
      if (type == DType::bf16 && !bf16) continue;
      const std::string name = fmt::format("{}/{}/{}", name_of(kind), size, name_of(type));
      benchmark::RegisterBenchmark(("diffusion_training_step/" + name).c_str(), diffusion_training_step, kind,
                                   size, type)
          ->Arg(8)
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
      benchmark::RegisterBenchmark(("diffusion_sampling_step/" + name).c_str(), diffusion_sampling_step, kind,
                                   size, type)
          ->Arg(8)
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
  benchmark::RegisterBenchmark("triplet_synthesis", triplet_synthesis)
      ->Arg(8)
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
