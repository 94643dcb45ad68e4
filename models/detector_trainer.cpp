#include "models/detector_trainer.h"

#include <algorithm>

#include "kernels/mask_downsample.h"

namespace ddpmts {
namespace {

constexpr std::size_t kSegmentationLosses = 3;  // total, focal, l1

}  // namespace

DetectorTrainer::DetectorTrainer(Detector& detector, Tensor pictures, Tensor folder_pictures,
                                 const DetectorTrainingConfig& config, PaintedDefects painted)
    : detector_(detector),
      pictures_(std::move(pictures)),
      folder_pictures_(std::move(folder_pictures)),
      painted_(std::move(painted)),
      config_(config),
      student_started_from_teacher_(config.start_student_from_teacher &&
                                    detector.teacher().depth() == TeacherDepth::resnet18) {
  if (config.batch < 2) {
    // The head's global pooling leaves one position a picture: of one picture alone there is no variance to normalise by.
    throw_error("training: a batch of {}; batch normalisation needs at least 2", config.batch);
  }
  const std::int64_t size = detector.config().size;
  const auto check = [size](const char* what, const Tensor& t) {
    if (t.shape().rank() != 4 || t.dim(0) < 1 || t.dim(1) != size || t.dim(2) != size || t.dim(3) != 3 ||
        t.type() != DType::u8) {
      throw_error<ShapeError>("training: {} must be u8 [count, {}, {}, 3], not {} {}", what, size, size,
                              name_of(t.type()), t.shape().text());
    }
  };
  check("pictures", pictures_);
  if (folder_pictures_) check("folder pictures", folder_pictures_);
  if (!painted_.bases.empty()) {
    check("painted pictures", painted_.pictures);
    const auto count = static_cast<std::int64_t>(painted_.bases.size());
    if (painted_.pictures.dim(0) != count || painted_.masks.shape() != Shape{count, size, size} ||
        painted_.masks.type() != DType::u8) {
      throw_error<ShapeError>("training: {} painted pictures with masks {} of {} defects",
                              painted_.pictures.dim(0), painted_.masks.shape().text(), count);
    }
  }
  recipes_ = ExchangeBlock(detector.device(),
                           static_cast<std::size_t>(config.batch) * sizeof(kernels::TripletRecipe));
  losses_ = ExchangeBlock(detector.device(), (1 + kSegmentationLosses) * sizeof(float));
  enter(stage_at(0.0));
  if (student_started_from_teacher_) {
    const std::int64_t count = std::min<std::int64_t>(pictures_.dim(0), 16);
    const Tensor sample = Tensor::empty({count, size, size, 3}, DType::u8, pictures_.device());
    copy_bytes(sample.raw(), sample.device(), pictures_.raw(), pictures_.device(), sample.bytes());
    detector.student().start_from_teacher(detector.teacher(), detector.normalize(sample));
  }
}

void DetectorTrainer::draw_recipes(std::int64_t step) {
  if (drawn_for_ == step) return;
  const std::int64_t size = detector_.config().size;
  drawn_.clear();
  for (std::int64_t i = 0; i < config_.batch; ++i) {
    const auto sample = static_cast<std::uint64_t>(step * config_.batch + i);
    drawn_.push_back(draw_recipe(config_.synthesis, config_.seed, sample, pictures_.dim(0),
                                 folder_pictures_ ? folder_pictures_.dim(0) : 0, size, size, painted_.bases));
  }
  drawn_for_ = step;
}

DetectorTrainer::Triplets DetectorTrainer::enqueue_triplets() const {
  const std::int64_t size = detector_.config().size;
  const Device device = detector_.device();
  Triplets triplets{Tensor::empty({config_.batch, size, size, 3}, detector_.type(), device),
                    Tensor::empty({config_.batch, size, size, 3}, detector_.type(), device),
                    Tensor::empty({config_.batch, size / 4, size / 4}, DType::u8, device)};
  const Tensor mask = Tensor::empty({config_.batch, size, size}, DType::u8, device);
  recipes_.send();
  kernels::TripletArgs args;
  args.type = detector_.type();
  args.n = config_.batch;
  args.h = args.w = size;
  args.pictures = pictures_.data<std::uint8_t>();
  args.folder_pictures = folder_pictures_ ? folder_pictures_.data<std::uint8_t>() : nullptr;
  args.recipes = recipes_.on_device<kernels::TripletRecipe>();
  args.painted_pictures = painted_.pictures ? painted_.pictures.data<std::uint8_t>() : nullptr;
  args.painted_masks = painted_.masks ? painted_.masks.data<std::uint8_t>() : nullptr;
  args.normal = triplets.normal.raw();
  args.defective = triplets.defective.raw();
  args.mask = mask.data<std::uint8_t>();
  DDPMTS_LAUNCH(device, triplet, args);

  kernels::MaskDownsampleArgs down;
  down.n = config_.batch;
  down.src_h = down.src_w = size;
  down.dst_h = down.dst_w = size / 4;
  down.src = mask.data<std::uint8_t>();
  down.dst = triplets.mask.data<std::uint8_t>();
  DDPMTS_LAUNCH(device, mask_downsample, down);
  return triplets;
}

DetectorTrainer::Stage DetectorTrainer::stage_at(double progress) const {
  if (config_.schedule == TrainingSchedule::joint) return Stage::joint;
  return progress < config_.first_stage ? Stage::student : Stage::head;
}

const char* DetectorTrainer::prefix_of(Stage stage) {
  return stage == Stage::student ? "student." : stage == Stage::head ? "head." : "";
}

void DetectorTrainer::enter(Stage stage) {
  stage_ = stage;
  ParameterList trained;
  for (const ParameterPtr& parameter : detector_.parameters()) {
    if (parameter->name().starts_with(prefix_of(stage))) trained.push_back(parameter);
  }
  graph_.emplace(detector_.device(), trained);  // the old one, which uses the old optimiser's memory, is gone
  optimizer_.emplace(trained, config_.optimizer);
  optimizer_->scale_lr("head.", config_.head_learning_rate_scale);
}

std::int64_t DetectorTrainer::version_of_frozen() const {
  std::int64_t versions = 0;
  for (const ParameterPtr& parameter : detector_.parameters()) {
    if (!parameter->name().starts_with(prefix_of(stage_))) versions += parameter->version();
  }
  return versions;
}

float DetectorTrainer::learning_rate_at(double progress) const {
  // Each stage of the two-stage schedule has a warm-up and a decay of its own.
  double share = progress;
  if (stage_ == Stage::student) share = progress / config_.first_stage;
  if (stage_ == Stage::head) share = (progress - config_.first_stage) / (1.0 - config_.first_stage);
  return config_.learning_rate * cosine_schedule(share, config_.warmup, config_.final_learning_rate);
}

TrainingStepReport DetectorTrainer::step(double progress) {
  if (const Stage stage = stage_at(progress); stage != stage_) enter(stage);
  TrainingStepReport report;
  report.learning_rate = learning_rate_at(progress);

  draw_recipes(steps_);
  std::ranges::copy(drawn_, recipes_.host<kernels::TripletRecipe>().begin());
  optimizer_->prepare(report.learning_rate);
  clear_tape();
  graph_->run({static_cast<std::int64_t>(stage_), version_of_frozen()}, [this] { enqueue_step(); });
  ++steps_;
  if (detector_.device().is_cuda()) draw_recipes(steps_);  // while the GPU is at work

  const StepReport optimized = optimizer_->finish();
  const std::span<const float> losses = losses_.host<float>();
  report.cosine = losses[0];
  if (stage_ != Stage::student) {
    report.focal = losses[2];
    report.l1 = losses[3];
  }
  report.grad_norm = optimized.grad_norm;
  report.finite = optimized.finite;
  return report;
}

void DetectorTrainer::enqueue_step() {
  const bool student_trains = stage_ != Stage::head;
  const bool head_trains = stage_ != Stage::student;
  const Device device = detector_.device();
  const Triplets triplets = enqueue_triplets();
  const ResNetTeacher& teacher = detector_.teacher();
  const std::vector<Tensor> normal_features = teacher.features(triplets.normal);
  std::vector<Tensor> student_features;
  if (student_trains) {
    student_features = detector_.student().features(triplets.defective, Mode::training);
  } else {
    const NoGrad frozen;
    student_features = detector_.student().features(triplets.defective, Mode::inference);
  }
  std::vector<LossTerm> terms;
  const Tensor cosine = cosine_loss({normal_features, student_features});
  copy_bytes(losses_.on_device<float>(), device, cosine.raw(), device, cosine.bytes());
  if (student_trains) terms.push_back({cosine, 1.0f});

  if (head_trains) {
    const FeaturePair pair{teacher.features(triplets.defective), student_features};
    Tensor product;
    if (config_.segmentation_trains_student) {
      product = feature_product(pair);
    } else {
      const NoGrad stop;
      product = feature_product(pair);
    }
    const Tensor logits = detector_.head().logits(product, Mode::training);
    const SegmentationLoss segmentation = segmentation_loss(logits, triplets.mask, config_.segmentation);
    copy_bytes(losses_.on_device<float>() + 1, device, segmentation.terms.raw(), device,
               segmentation.terms.bytes());
    terms.push_back({segmentation.total, config_.segmentation_weight});
  }
  losses_.fetch();
  backward(terms);
  optimizer_->enqueue();
}

void DetectorTrainer::restore(const Counters& counters,
                              const std::function<Tensor(const std::string&, const Shape&)>& find) {
  enter(counters.stage);
  optimizer_->restore(counters.optimizer_steps, find);
  steps_ = counters.steps;
}

}  // namespace ddpmts
