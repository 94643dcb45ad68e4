// Trains a trunk on made-up scenes (data/scene_recipe.h) until it is fit to be a teacher, by telling instances apart (SimCLR,
// arXiv 2002.05709): of all views of a batch it must find the one that shows the same scene. What layer2 and layer3 see is
// judged apart, each through a head of its own, so that both levels learn.
// Everything random is keyed by (seed, step). A run resumed on the same machine, with as many threads, therefore goes on bit for
// bit where its progress counts steps; where progress is time (`--minutes`), learning rate and size depend on how fast the machine
// was. On a GPU it also needs engine_settings().deterministic (`--deterministic`).
//
// On a GPU a step is one graph (engine/step_graph.h), captured anew when the views' size changes. Scenes, views and the
// optimiser's rates are sent by captured copies; losses, accuracies and the gradients' norm fetched likewise.
#pragma once

#include <functional>
#include <span>

#include "data/scene_recipe.h"
#include "engine/exchange_block.h"
#include "engine/optimizer.h"
#include "engine/step_graph.h"
#include "layers/conv.h"
#include "models/resnet_trunk.h"

namespace ddpmts {

struct PretrainingConfig {
  static constexpr std::int64_t kLeastBatch = kSceneFamily, kMostBatch = 4096;
  static constexpr std::int64_t kLeastSize = 32, kMostSize = 1024;
  static constexpr double kLeastTemperature = 0.025, kMostTemperature = 10.0;

  std::int64_t batch = 128;  ///< scenes of a step, each seen twice; a multiple of kSceneFamily
  std::int64_t size = 64;    ///< side of a view, pixels, a multiple of 32
  std::int64_t final_size =
      96;  ///< and in the last `final_share` of the run: closer to what a teacher is shown later
  double final_share = 0.3;  ///< in [0, 1]
  std::uint64_t seed = 0;
  DType type = DType::f32;  ///< of activations: f32 or bf16
  float temperature = 0.1f;
  float layer2_weight = 0.5f;         ///< of layer2's loss beside layer3's, not negative
  float learning_rate = 1e-3f;        ///< above 0
  double warmup = 0.02;               ///< share of the run, in [0, 1]
  double final_learning_rate = 0.01;  ///< share of learning_rate that the cosine ends at, in [0, 1]
  OptimizerConfig optimizer = default_optimizer();

  /// AdamW, weight decay 0.05, gradients clipped to norm 1.
  static OptimizerConfig default_optimizer();
};

/// Throws Error saying which setting is out of its range, and what the range is.
void check(const PretrainingConfig& config);

struct PretrainingStepReport {
  float loss = 0;                      ///< of both levels
  float accuracy2 = 0, accuracy3 = 0;  ///< share of views whose partner layer2, layer3 finds
  float learning_rate = 0;
  float grad_norm = 0;
  bool finite = true;  ///< false: the step was skipped
};

class Pretrainer {
 public:
  /// Of one run: its scenes' numbers stay far from overflowing.
  static constexpr std::int64_t kMostSteps = std::int64_t{1} << 32;

  /// Starting weights are drawn from the seed. Throws Error when the configuration does not fit.
  Pretrainer(const PretrainingConfig& config, Device device);

  /// One optimiser step at `progress` in [0, 1) of the run, which sets learning rate and size. A step whose gradients are not
  /// finite is skipped and counted.
  PretrainingStepReport step(double progress);

  struct Counters {
    std::int64_t steps = 0;            ///< taken, skipped ones included
    std::int64_t optimizer_steps = 0;  ///< updates made
    std::int64_t skipped_in_a_row = 0;
  };
  Counters counters() const { return {steps_, optimizer_.steps(), skipped_in_a_row_}; }
  /// Weights, running statistics and moments, for a checkpoint.
  std::vector<std::pair<std::string, Tensor>> state() const;
  /// Goes on where these were taken; `find` gives a tensor of state() by name. Throws Error for counters that no run has, and
  /// naming a tensor that is missing.
  void restore(const Counters& counters, const std::function<Tensor(const std::string&, const Shape&)>& find);

  const ResNetTrunk& trunk() const { return network_.trunk; }

  /// How often a step was captured as a graph.
  std::int64_t captures() const { return graph_.captures(); }

 private:
  struct Head {
    ConvNorm hidden;
    Conv out;
    Head(const ParameterScope& scope, std::int64_t in);
    /// [N,H,W,in] → [N,1,1,embedding].
    Tensor embed(const Tensor& level) const;
  };
  struct Network {
    ParameterList parameters;
    ResNetTrunk trunk;
    Head head2, head3;
    Network(std::uint64_t seed, Device device);
  };

  PretrainingConfig config_;
  Device device_;
  Network network_;
  void enqueue_step(std::int64_t size);

  Optimizer optimizer_;
  ExchangeBlock scenes_, views_;  // of the next step
  ExchangeBlock losses_;          // of layer2 and layer3: loss and accuracy
  StepGraph graph_;
  std::int64_t steps_ = 0, skipped_in_a_row_ = 0;
};

/// Throws Error for counters that no run has: a count that is negative, beyond kMostSteps, or more than there were steps.
void check(const Pretrainer::Counters& counters);

/// Views of scenes first … first + count − 1 of a seed, [2·count, size, size, 3] u8: one view of each, then the other.
Tensor draw_view_pairs(std::uint64_t seed, std::uint64_t first, std::int64_t count, std::int64_t size,
                       Device device);

}  // namespace ddpmts
