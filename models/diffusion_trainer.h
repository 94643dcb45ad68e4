// Trains a diffusion model on good pictures (DDPM, arXiv 2006.11239 Alg. 1): augmented pictures → timesteps → forward
// diffusion → prediction → mean squared error → one backward pass per micro-batch → clipping, AdamW and the moving
// average of the weights in one optimiser pass. Everything random is keyed by (seed, step), so a resumed run continues bit
// for bit.
//
// On a GPU a step, with all its micro-batches, is one graph (engine/step_graph.h). What changes from step to step, and how it
// gets there:
//   pictures and their places, timesteps               drawn on the host, sent by captured copies
//   which random numbers are the noise, the dropout    offsets that the drawing kernels read, sent likewise
//   learning rate, bias corrections, average's decay   the optimiser's rates, sent likewise
//   whether a gradient was not finite, their norm      stay on the device, where the optimiser's kernel reads them
//   losses and norm, for the report                    fetched by captured copies, read when the step is over
#pragma once

#include "data/defect_recipe.h"
#include "engine/exchange_block.h"
#include "engine/optimizer.h"
#include "engine/step_graph.h"
#include "models/diffusion.h"
#include "models/unet.h"

namespace ddpmts {

struct DiffusionTrainingConfig {
  std::int64_t batch = 8;         ///< pictures of a micro-batch
  std::int64_t accumulation = 1;  ///< micro-batches of a step
  std::uint64_t seed = 0;
  DType type = DType::f32;  ///< of activations: f32 or bf16
  Prediction prediction = Prediction::noise;
  float learning_rate = 1e-4f;
  double warmup = 0.01;  ///< share of the run
  double final_learning_rate =
      1.0;  ///< share of learning_rate that a cosine ends at; 1: constant after the warm-up
  OptimizerConfig optimizer = default_optimizer();
  SynthesisConfig
      synthesis;  ///< of which augmentation, flips, border and lighting count: no defects are painted

  /// AdamW without weight decay, gradients clipped to norm 1, average with decay 0.9999 after a warm-up.
  static OptimizerConfig default_optimizer();
};

/// Loss per range of timesteps, for display: the mean hides that early timesteps are hard and late ones easy.
class TimestepLosses {
 public:
  static constexpr std::int64_t kBuckets = 10;
  explicit TimestepLosses(std::int64_t steps) : steps_(steps) {}

  void add(std::int64_t timestep, float loss);
  /// Mean of the losses that fell in a bucket's range since reset; NaN when none did.
  double mean(std::int64_t bucket) const;
  void reset() { *this = TimestepLosses(steps_); }

 private:
  std::int64_t steps_;
  double sums_[kBuckets] = {};
  std::int64_t counts_[kBuckets] = {};
};

struct DiffusionStepReport {
  float loss = 0;
  float learning_rate = 0;
  float grad_norm = 0;
  bool finite = true;  ///< false: the step was skipped
};

/// Ten steps in a row met values that are not finite. The message names the first layer that did.
struct DivergedError : Error {
  using Error::Error;
};

class DiffusionTrainer {
 public:
  static constexpr std::int64_t kMostFailures = 10;

  /// pictures [count,size,size,3] u8 good parts on the network's device. Keeps a reference to the network. Throws
  /// ShapeError or Error when they or the configuration do not fit.
  DiffusionTrainer(UNet& network, const NoiseSchedule& schedule, Tensor pictures,
                   const DiffusionTrainingConfig& config);

  /// One optimiser step at `progress` in [0, 1) of the run, which sets the learning rate. A step whose gradients are not
  /// finite changes nothing and is counted; the tenth in a row throws DivergedError.
  DiffusionStepReport step(double progress);

  struct Counters {
    std::int64_t steps = 0;            ///< taken, skipped ones included
    std::int64_t optimizer_steps = 0;  ///< updates made
    std::int64_t skipped = 0;
    std::int64_t skipped_in_a_row = 0;
  };
  Counters counters() const;
  /// Moments and averages, for a checkpoint beside the network's tensors.
  std::vector<std::pair<std::string, Tensor>> state() const { return optimizer_.state(); }
  /// Goes on where these were taken; `find` gives a tensor of state() by name.
  void restore(const Counters& counters, const std::function<Tensor(const std::string&, const Shape&)>& find);

  /// The network's tensors by name with the moving average in place of each weight: what samples. Without an average
  /// (decay 0) the weights themselves.
  std::vector<std::pair<std::string, Tensor>> averaged_tensors() const;
  /// Writes them into a network of the same configuration.
  void copy_average_to(UNet& target) const;

  TimestepLosses& losses() { return losses_; }
  /// How often a step was replayed as a graph.
  std::int64_t replays() const { return graph_.replays(); }

 private:
  struct Batch {
    Tensor x_t, target, timesteps;
  };
  /// Added, on the device, to what a captured step draws by.
  struct Offsets {
    std::uint64_t samples = 0, dropout = 0;
  };
  /// Writes what the step that comes next draws and sends.
  void prepare_draws();
  void send_draws() const;
  void enqueue_step();
  Batch enqueue_batch(std::int64_t micro) const;
  Tensor predict(const Batch& batch, std::int64_t micro, const UNetObserver& observe = {}) const;
  /// Runs the failed step again and says where the first value that is not finite appears.
  std::string first_failure() const;

  UNet& network_;
  NoiseSchedule schedule_;
  DiffusionTables tables_;
  Tensor pictures_;
  DiffusionTrainingConfig config_;
  Optimizer optimizer_;
  TimestepLosses losses_;
  ExchangeBlock offsets_, recipes_, timesteps_;  // the latter two for all pictures of a step
  ExchangeBlock picture_losses_, batch_losses_;  // of a step's pictures, of its micro-batches
  StepGraph graph_;
  std::int64_t steps_ = 0, skipped_ = 0, skipped_in_a_row_ = 0;
};

}  // namespace ddpmts
