// From end to end, as the program runs: training steps with everything that is drawn for them, inspection from u8 pictures
// or files to verdicts, a sampling step. FLOPs as in network.cpp; bytes are not counted.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "bench/cases/drawn_networks.h"
#include "bench/cases/tools.h"
#include "data/drawn_parts.h"
#include "data/image_codec.h"
#include "data/resize.h"
#include "models/detector_trainer.h"
#include "models/diffusion_trainer.h"
#include "models/sampler.h"

namespace ddpmts::bench {
namespace {

constexpr std::int64_t kMemoryVectors = 2048;
constexpr std::int64_t kTrainingPictures = 16;

// What a step in the other precision is held against; the same where the machine computes in one only.
DType other_type(DType type, Device device) {
  return type == DType::f32 && has_fast_bf16(device) ? DType::bf16 : DType::f32;
}

// --- training -------------------------------------------------------------------------------------------------------

struct DetectorTraining {
  std::unique_ptr<Detector> detector;
  std::unique_ptr<DetectorTrainer> trainer;

  DetectorTraining(const std::string& head, std::int64_t size, DType type, std::int64_t batch, Device device)
      : detector(make_detector(head, size, type, device, 0)) {
    DetectorTrainingConfig config;
    config.batch = batch;
    trainer = std::make_unique<DetectorTrainer>(*detector, drawn_pictures(kTrainingPictures, size, device),
                                                Tensor(), config);
  }
};

// Draws triplets, runs the teacher on both pictures, student, head, losses, backward, AdamW.
Prepared prepare_detector_training(Device device, const std::string& head, DType type, std::int64_t n,
                                   std::int64_t size) {
  const auto training = std::make_shared<DetectorTraining>(head, size, type, n, device);
  Prepared p;
  p.run = [=] { training->trainer->step(0.5); };
  p.check = [=] {
    const TrainingStepReport actual = training->trainer->step(0.5);
    const DType other = other_type(type, device);
    const TrainingStepReport expected = DetectorTraining(head, size, other, n, device).trainer->step(0.5);
    return compare_all(fmt::format("first step's losses against {}", name_of(other)),
                       {actual.cosine, actual.focal, actual.l1},
                       {expected.cosine, expected.focal, expected.l1}, 0.02);
  };
  p.flops = flops_of([&] { DetectorTraining(head, size, type, n, device).trainer->step(0.5); });
  return p;
}

struct DiffusionTraining {
  std::unique_ptr<UNet> network;
  std::unique_ptr<DiffusionTrainer> trainer;

  DiffusionTraining(const std::string& unet, std::int64_t size, DType type, std::int64_t batch, Device device)
      : network(make_unet(unet, size, device)) {
    DiffusionTrainingConfig config;
    config.batch = batch;
    config.type = type;
    trainer = std::make_unique<DiffusionTrainer>(*network, NoiseSchedule(),
                                                 drawn_pictures(kTrainingPictures, size, device), config);
  }
};

// Pictures, noise, UNet, loss, backward, clipping, AdamW and the moving average.
Prepared prepare_diffusion_training(Device device, const std::string& unet, DType type, std::int64_t n,
                                    std::int64_t size) {
  const auto training = std::make_shared<DiffusionTraining>(unet, size, type, n, device);
  Prepared p;
  p.run = [=] { training->trainer->step(0.5); };
  p.check = [=] {
    const DiffusionStepReport actual = training->trainer->step(0.5);
    const DType other = other_type(type, device);
    const DiffusionStepReport expected = DiffusionTraining(unet, size, other, n, device).trainer->step(0.5);
    return compare_all(fmt::format("first step's loss and gradient norm against {}", name_of(other)),
                       {actual.loss, actual.grad_norm}, {expected.loss, expected.grad_norm}, 0.05);
  };
  p.flops = flops_of([&] { DiffusionTraining(unet, size, type, n, device).trainer->step(0.5); });
  return p;
}

// --- inspection -----------------------------------------------------------------------------------------------------

Check check_scores(const std::string& what, const std::vector<float>& actual,
                   const std::vector<float>& expected, double allowed) {
  return compare_all(what, actual, {expected.begin(), expected.end()}, allowed);
}

// From u8 pictures to maps and scores, with a memory of 2048 vectors.
Prepared prepare_inspection(Device device, const std::string& head, DType type, std::int64_t n,
                            std::int64_t size) {
  const std::shared_ptr<Detector> detector = make_detector(head, size, type, device, kMemoryVectors);
  const Tensor pictures = drawn_pictures(n, size, device);
  Prepared p;
  p.held = {pictures};
  p.run = [=] { detector->inspect(pictures); };
  p.check = [=] {
    const std::int64_t few = std::min<std::int64_t>(n, 2);
    std::vector<float> actual = detector->inspect(pictures).scores;
    actual.resize(static_cast<std::size_t>(few));
    const DType other = other_type(type, device);
    if (other == type) {
      std::vector<float> alone;
      for (std::int64_t i = 0; i < few; ++i)
        alone.push_back(detector->inspect(pictures.slice(i, 1)).scores[0]);
      return check_scores("scores against pictures alone", actual, alone, 1e-4);
    }
    const auto twin = make_detector(head, size, other, device, kMemoryVectors);
    return check_scores(fmt::format("scores against {}", name_of(other)), actual,
                        twin->inspect(pictures.slice(0, few)).scores, 0.02);
  };
  p.flops = flops_of(p.run);
  return p;
}

// Files of drawn parts, twice the inspected size, for as long as the case lives.
class PictureFolder {
 public:
  PictureFolder(std::int64_t count, std::int64_t size)
      : path_(std::filesystem::temp_directory_path() / fmt::format("ddpmts_bench_{}", getpid())) {
    std::filesystem::create_directories(path_);
    for (std::int64_t i = 0; i < count; ++i) {
      files_.push_back(path_ / fmt::format("{}.png", i));
      write_png(files_.back(), draw_part(PartKind::flange, DefectKind::none, 1, static_cast<std::uint64_t>(i),
                                         static_cast<int>(2 * size))
                                   .image);
    }
  }
  ~PictureFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  PictureFolder(const PictureFolder&) = delete;
  PictureFolder& operator=(const PictureFolder&) = delete;
  const std::vector<std::filesystem::path>& files() const { return files_; }

 private:
  std::filesystem::path path_;
  std::vector<std::filesystem::path> files_;
};

Tensor read_pictures(const std::vector<std::filesystem::path>& files, std::int64_t size, Device device) {
  const auto count = static_cast<std::int64_t>(files.size());
  const auto bytes = static_cast<std::size_t>(size * size * 3);
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count) * bytes);
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t i = 0; i < count; ++i) {
    const Image image = resize_antialiased(read_image(files[static_cast<std::size_t>(i)]),
                                           static_cast<int>(size), static_cast<int>(size));
    std::copy(image.rgb.begin(), image.rgb.end(),
              pixels.begin() + static_cast<std::ptrdiff_t>(i) * static_cast<std::ptrdiff_t>(bytes));
  }
  return Tensor::from_host<std::uint8_t>({count, size, size, 3}, pixels, device);
}

// PNG files of twice the size: read, decoded, resized, inspected, held against a threshold.
Prepared prepare_file_to_verdict(Device device, const std::string& head, DType type, std::int64_t n,
                                 std::int64_t size) {
  const std::shared_ptr<Detector> detector = make_detector(head, size, type, device, kMemoryVectors);
  const auto folder = std::make_shared<PictureFolder>(n, size);
  const auto verdicts = std::make_shared<std::vector<bool>>();
  const float threshold = detector->inspect(read_pictures(folder->files(), size, device)).scores[0];
  Prepared p;
  p.run = [=] {
    verdicts->clear();
    const Tensor pictures = read_pictures(folder->files(), size, device);
    for (const float score : detector->inspect(pictures).scores) verdicts->push_back(score >= threshold);
  };
  p.check = [=, run = p.run] {
    run();
    // The same parts, drawn again and resized without going through a file.
    std::vector<std::uint8_t> pixels;
    for (std::int64_t i = 0; i < n; ++i) {
      const Image image = draw_part(PartKind::flange, DefectKind::none, 1, static_cast<std::uint64_t>(i),
                                    static_cast<int>(2 * size))
                              .image;
      const Image small = resize_antialiased(image, static_cast<int>(size), static_cast<int>(size));
      pixels.insert(pixels.end(), small.rgb.begin(), small.rgb.end());
    }
    const Tensor pictures = Tensor::from_host<std::uint8_t>({n, size, size, 3}, pixels, device);
    std::vector<bool> expected;
    for (const float score : detector->inspect(pictures).scores) expected.push_back(score >= threshold);
    return Check{*verdicts == expected, "verdicts against pictures that were never files"};
  };
  p.flops = flops_of(p.run);
  return p;
}

// --- painting -------------------------------------------------------------------------------------------------------

// One reverse step of a batch, the last of a chain of 20, with its start.
Prepared prepare_sampling(Device device, const std::string& unet, DType type, std::int64_t n,
                          std::int64_t size) {
  const std::shared_ptr<UNet> network = make_unet(unet, size, device);
  SampleBatch batch;
  for (std::int64_t i = 0; i < n; ++i) batch.indices.push_back(static_cast<std::uint64_t>(i));
  batch.pictures = drawn_pictures(n, size, device);
  SamplerConfig config;
  config.start_timestep = 0;
  const auto sampler = std::make_shared<Sampler>(*network, NoiseSchedule(), config, type);
  Prepared p;
  p.run = [=] { sampler->sample(batch); };
  p.check = [=] {
    const DType other = other_type(type, device);
    const auto levels = [](const Tensor& pictures) {
      const std::vector<std::uint8_t> host = pictures.to_host<std::uint8_t>();
      return std::vector<float>(host.begin(), host.end());
    };
    return compare_norms(fmt::format("pictures against {}", name_of(other)), levels(sampler->sample(batch)),
                         levels(Sampler(*network, NoiseSchedule(), config, other).sample(batch)), 0.02);
  };
  p.flops = flops_of(p.run);
  return p;
}

// Recipes and pixels of a batch of (normal, defective, mask).
Prepared prepare_triplets(Device device, DType type, std::int64_t n, std::int64_t size) {
  const Tensor pictures = drawn_pictures(kTrainingPictures, size, device);
  const Tensor normal = Tensor::empty({n, size, size, 3}, type, device), defective = normal.clone();
  const Tensor mask = Tensor::empty({n, size, size}, DType::u8, device);
  const auto next = std::make_shared<std::uint64_t>(0);
  Prepared p;
  p.held = {pictures, normal, defective, mask};
  p.run = [=] {
    std::vector<kernels::TripletRecipe> recipes;
    for (std::int64_t i = 0; i < n; ++i) {
      recipes.push_back(draw_recipe({}, 1, (*next)++, pictures.dim(0), 0, size, size));
    }
    const Buffer on_device = upload<kernels::TripletRecipe>(recipes, device);
    kernels::TripletArgs args;
    args.type = type;
    args.n = n;
    args.h = args.w = size;
    args.pictures = pictures.data<std::uint8_t>();
    args.recipes = static_cast<const kernels::TripletRecipe*>(on_device.data());
    args.normal = normal.raw();
    args.defective = defective.raw();
    args.mask = mask.data<std::uint8_t>();
    DDPMTS_LAUNCH(device, triplet, args);
  };
  p.check = [=, run = p.run] {
    std::size_t painted = 0, outside = 0;
    for (int batch = 0; batch < 20 && painted == 0; ++batch) {  // half of the samples stay as they are
      run();
      const std::vector<float> good = normal.to_floats(), bad = defective.to_floats();
      const std::vector<std::uint8_t> where = mask.to_host<std::uint8_t>();
      for (std::size_t i = 0; i < good.size(); ++i) {
        painted += where[i / 3];
        outside += where[i / 3] == 0 && good[i] != bad[i] ? 1 : 0;
      }
    }
    return Check{painted > 0 && outside == 0,
                 fmt::format("{} values painted, {} of them outside of masks", painted, outside)};
  };
  return p;
}

}  // namespace

void add_pipeline_cases(const CasePlan& plan, Cases& cases) {
  const Device device = plan.device();
  using Make = std::function<Prepared(DType, std::int64_t, std::int64_t)>;
  const auto add = [&](const std::string& what, std::int64_t size, std::vector<std::int64_t> batches,
                       double memory, const std::map<std::string, std::string>& axes, bool quick,
                       const Make& make, bool graph = true) {
    for (const DType type : plan.precisions()) {
      for (const std::int64_t n : plan.batches(batches)) {
        Case c = make_case(plan, "pipelines", fmt::format("{}/{}{}", what, size, graph ? "" : "/no_graph"),
                           type, n);
        c.axes.insert(axes.begin(), axes.end());
        c.axes["size"] = std::to_string(size);
        c.quick = quick && n <= 8;
        c.graph = graph;
        add_case(cases, std::move(c), memory + 1500.0 * static_cast<double>(n * size * size), n,
                 [=] { return make(type, n, size); });
      }
    }
  };
  // What the program captures as a graph.
  const auto add_captured = [&](const std::string& what, std::int64_t size, std::vector<std::int64_t> batches,
                                double memory, std::map<std::string, std::string> axes, bool quick,
                                const Make& make) {
    for (const bool graph : plan.graphs()) {
      if (device.is_cuda()) axes["graph"] = graph ? "on" : "off";
      add(what, size, batches, memory, axes, quick, make, graph);
    }
  };
  for (const std::int64_t size : plan.sizes({256})) {
    add("triplet_synthesis", size, {8}, 0.0, {}, true,
        [=](DType t, std::int64_t n, std::int64_t s) { return prepare_triplets(device, t, n, s); });
    for (const std::string& head : plan.heads({"s", "l"})) {
      add_captured("detector_training_step/head_" + head, size, {8}, 1e9, {{"head", head}}, head == "s",
                   [=](DType t, std::int64_t n, std::int64_t s) {
                     return prepare_detector_training(device, head, t, n, s);
                   });
      add_captured(
          "inspection/head_" + head, size, {1, 8, 32}, 4e8, {{"head", head}}, head == "s",
          [=](DType t, std::int64_t n, std::int64_t s) { return prepare_inspection(device, head, t, n, s); });
      add_captured("file_to_verdict/head_" + head, size, {1, 8}, 4e8, {{"head", head}}, head == "s",
                   [=](DType t, std::int64_t n, std::int64_t s) {
                     return prepare_file_to_verdict(device, head, t, n, s);
                   });
    }
  }
  for (const std::string& unet : plan.unets({"xs", "s"})) {
    for (const std::int64_t size : plan.sizes({unet == "xs" ? 128 : 64})) {
      if (size != 64 && size != 128 && size != 256) continue;  // what the presets are made for
      add_captured("diffusion_training_step/unet_" + unet, size, {8}, 2e9, {{"unet", unet}}, unet == "s",
                   [=](DType t, std::int64_t n, std::int64_t s) {
                     return prepare_diffusion_training(device, unet, t, n, s);
                   });
      add_captured(
          "diffusion_sampling_step/unet_" + unet, size, {1, 8}, 1e9, {{"unet", unet}}, unet == "s",
          [=](DType t, std::int64_t n, std::int64_t s) { return prepare_sampling(device, unet, t, n, s); });
    }
  }
}

}  // namespace ddpmts::bench
