// Trains a detector on good pictures and synthetic defects (arXiv 2604.19240 Sec. 3.3, arXiv 2211.11317 Sec. 3).
//
// One step: draw recipes → triplets (normal, defective, mask) → teacher on both, student on the defective picture →
// cosine loss against the normal picture's teacher features, pixel loss on the head's map → one backward pass → one
// optimiser pass. Everything random is keyed by (seed, step), so a resumed run continues bit for bit.
//
// On a GPU a step is one graph (engine/step_graph.h). What changes from step to step, and how it gets there:
//   recipes (pictures, places, all random numbers)          drawn on the host into recipes_, which a captured copy sends
//   learning rate, bias corrections, the average's decay    the optimiser's rates, sent likewise
//   whether a gradient was not finite, the gradients' norm  stay on the device, where the optimiser's kernel reads them
//   losses and norm, for the report                         fetched by captured copies, read when the step is over
//   stage, weights that are frozen in it                    a new graph
#pragma once

#include "data/defect_recipe.h"
#include "engine/exchange_block.h"
#include "engine/optimizer.h"
#include "engine/step_graph.h"
#include "kernels/triplet.h"
#include "models/detector.h"
#include "models/painted_defects.h"

namespace ddpmts {

/// joint: student and head together (arXiv 2604.19240, "multi-task"). two_stage: first the student alone, then the head
/// on a frozen student (arXiv 2211.11317).
enum class TrainingSchedule { joint, two_stage };

struct DetectorTrainingConfig {
  std::int64_t batch = 8;  ///< triplets a step, at least 2
  std::uint64_t seed = 0;
  TrainingSchedule schedule = TrainingSchedule::joint;
  double first_stage = 0.5;  ///< two_stage: share of the run that trains the student
  float learning_rate = 1e-3f;
  float head_learning_rate_scale = 1.0f;
  double warmup = 0.02;                     ///< share of the run
  double final_learning_rate = 0.0;         ///< share of learning_rate that the cosine ends at
  float segmentation_weight = 1.0f;         ///< λ in L = L_cos + λ(L_focal + L_L1)
  bool segmentation_trains_student = true;  ///< false: the pixel loss stops at the head
  bool start_student_from_teacher = true;   ///< where the teacher is a ResNet-18, as the student is
  OptimizerConfig optimizer;
  SegmentationLossOptions segmentation;
  SynthesisConfig synthesis;
};

struct TrainingStepReport {
  float cosine = 0, focal = 0, l1 = 0;
  float learning_rate = 0;
  float grad_norm = 0;
  bool finite = true;
};

class DetectorTrainer {
 public:
  /// pictures [count,size,size,3] u8 good parts; folder_pictures the same shape or empty; painted: on these
  /// pictures, of the same size, or none. All on the detector's device. Throws ShapeError, Error for a batch below 2.
  DetectorTrainer(Detector& detector, Tensor pictures, Tensor folder_pictures,
                  const DetectorTrainingConfig& config, PaintedDefects painted = {});

  /// One optimiser step at `progress` in [0, 1) of the run, which sets learning rate and stage.
  TrainingStepReport step(double progress);

  enum class Stage { joint, student, head };
  /// What a checkpoint keeps besides the tensors of the detector and of state().
  struct Counters {
    std::int64_t steps = 0;            ///< steps taken, skipped ones included
    std::int64_t optimizer_steps = 0;  ///< updates made in the current stage
    Stage stage = Stage::joint;
  };
  /// How often a step was replayed as a graph in the current stage.
  std::int64_t replays() const { return graph_->replays(); }
  Counters counters() const { return {steps_, optimizer_->steps(), stage_}; }
  /// Whether this run's student began where its teacher is, rather than at random.
  bool student_started_from_teacher() const { return student_started_from_teacher_; }
  /// Moments of the parameters that the current stage trains.
  std::vector<std::pair<std::string, Tensor>> state() const { return optimizer_->state(); }
  /// Goes on where these were taken; `find` gives a tensor of state() by name.
  void restore(const Counters& counters, const std::function<Tensor(const std::string&, const Shape&)>& find);

 private:
  struct Triplets {
    Tensor normal, defective;  // [batch,size,size,3], activations' type
    Tensor mask;               // [batch,size/4,size/4] u8
  };
  /// The recipes of a step into drawn_, unless they are there.
  void draw_recipes(std::int64_t step);
  Triplets enqueue_triplets() const;
  void enqueue_step();

  Stage stage_at(double progress) const;
  static const char* prefix_of(Stage stage);
  /// Sum of the versions of what the current stage leaves as it is.
  std::int64_t version_of_frozen() const;
  /// Each stage has an optimiser of its own, with moments that start at zero.
  void enter(Stage stage);
  float learning_rate_at(double progress) const;

  Detector& detector_;
  Tensor pictures_, folder_pictures_;
  PaintedDefects painted_;
  DetectorTrainingConfig config_;
  Stage stage_ = Stage::joint;
  std::optional<Optimizer> optimizer_;
  std::vector<kernels::TripletRecipe> drawn_;
  std::int64_t drawn_for_ = -1;  // the step that drawn_ is for
  ExchangeBlock recipes_;        // the same, where the step reads them
  ExchangeBlock losses_;         // cosine, then the segmentation loss's three
  std::optional<StepGraph> graph_;
  std::int64_t steps_ = 0;
  bool student_started_from_teacher_;
};

}  // namespace ddpmts
