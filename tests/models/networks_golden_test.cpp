// Teacher, student, head, losses, gradients and joint training against PyTorch in float64 (golden/networks.json).
//
// Weights and inputs are drawn as the fixture's "about" says. Two cases: `initial` starts as training does and is held
// to its outputs, losses and running statistics; `conditioned` keeps ReLUs away from their kinks, so that gradients and
// ten updates can be held as well.
//
// Tolerance of a tensor: ten times what PyTorch's own float32 was off (the fixture's f32_error), at least 1e-5, relative
// to its L2 norm. f32_error is a root mean square over the tensor, so a single sample gets three times that, relative to
// the larger of the tensor's root mean square and the sample itself. Along ten updates rounding grows, on a path that
// depends on the processor's convolution kernels: thirty times the largest f32_error so far.
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/optimizer.h"
#include "generated/test_paths.h"
#include "models/model_file.h"
#include "tests/models/model_test.h"

namespace ddpmts::test {
namespace {

using kernels::RandomStream;
using nlohmann::json;

const json& golden() {
  static const json document = [] {
    std::ifstream file(DDPMTS_GOLDEN_DIR "/networks.json");
    if (!file) throw std::runtime_error("cannot open " DDPMTS_GOLDEN_DIR "/networks.json");
    return json::parse(file);
  }();
  return document;
}

std::vector<float> draw(std::uint64_t seed, RandomStream stream, std::uint64_t step, std::int64_t count,
                        float low, float high) {
  const std::vector<std::uint32_t> words = philox_words(seed, stream, step, count);
  std::vector<float> values(words.size());
  for (std::size_t i = 0; i < words.size(); ++i) values[i] = kernels::uniform(words[i], low, high);
  return values;
}

/// (2u − 1)·bound on the weights stream.
std::vector<float> draw_symmetric(std::uint64_t seed, std::uint64_t step, std::int64_t count, float bound) {
  std::vector<float> values = draw(seed, RandomStream::weights, step, count, -1.0f, 1.0f);
  for (float& value : values) value *= bound;
  return values;
}

float bound_of(std::int64_t fan) { return std::sqrt(6.0f / static_cast<float>(fan)); }

/// Where element `flat` of an OIHW tensor (or of a vector) lies in ours.
std::size_t position(std::size_t flat, const Shape& shape) {
  if (shape.rank() != 4) return flat;
  const auto taps = static_cast<std::size_t>(shape[1] * shape[2]), c = static_cast<std::size_t>(shape[3]);
  return (flat / (taps * c) * taps + flat % taps) * c + flat / taps % c;
}

double l2(const std::vector<float>& values) {
  double square = 0;
  for (const float value : values) square += static_cast<double>(value) * value;
  return std::sqrt(square);
}

constexpr double kOneStep = 10, kTenUpdates = 30;
double tolerance(double f32_error, double factor) { return std::max(1e-5, factor * f32_error); }

/// Holds L2 norm and samples against the fixture's; `shape` maps its indices to ours.
void expect_golden(const std::vector<float>& values, const json& expected, const Shape& shape,
                   double factor = kOneStep) {
  const std::string name = expected["network"].get<std::string>() + "." + expected["name"].get<std::string>();
  const double allowed = tolerance(expected["f32_error"], factor), norm = expected["l2"];
  EXPECT_NEAR(l2(values), norm, allowed * norm) << name << ", L2 norm";
  const double rms = norm / std::sqrt(static_cast<double>(values.size()));
  for (std::size_t k = 0; k < expected["indices"].size(); ++k) {
    const std::size_t index = expected["indices"][k];
    const double sample = expected["samples"][k];
    ASSERT_LT(position(index, shape), values.size()) << name;
    EXPECT_NEAR(values[position(index, shape)], sample, 3 * allowed * std::max(rms, std::abs(sample)))
        << name << "[" << index << "]";
  }
}

void expect_golden_map(const Tensor& map, const json& expected, double factor = kOneStep) {
  ASSERT_EQ(json(map.shape().extents()), expected["shape"]) << expected["name"];
  expect_golden(map.to_floats(), expected, Shape{map.count()}, factor);
}

/// What one training step computes.
struct Forward {
  std::vector<Tensor> normal, augmented, student;
  Tensor logits, cosine;
  SegmentationLoss segmentation;

  /// A map by the fixture's network and name.
  Tensor map(const std::string& name) const {
    const std::size_t level = static_cast<std::size_t>(name.back() - '1');
    if (name.starts_with("normal.layer")) return normal.at(level);
    if (name.starts_with("augmented.layer")) return augmented.at(level);
    return name == "logits" ? logits : student.at(level);
  }
  /// total, cosine, focal, l1.
  std::map<std::string, double> losses() const {
    const std::vector<float> terms = segmentation.terms.to_floats();
    return {{"total", cosine.item() + terms[0]},
            {"cosine", cosine.item()},
            {"focal", terms[1]},
            {"l1", terms[2]}};
  }
};

class Network {
 public:
  explicit Network(bool conditioned) {
    write_teacher();
    DetectorConfig config;
    config.size = golden()["size"];
    config.head = HeadSize::s;
    EXPECT_EQ(channels_of(config.head), golden()["head_width"].get<std::int64_t>());
    const SafetensorsFile file(teacher_path());
    detector_ = std::make_unique<Detector>(NamedTensors(file, WeightOrder::oihw), config, 0, Device{});
    draw_weights(conditioned);
    draw_inputs();
  }

  Detector& detector() { return *detector_; }
  std::filesystem::path teacher_path() const { return folder_ / "teacher.safetensors"; }
  const Tensor& input(const std::string& name) const {
    return name == "normal" ? normal_ : name == "augmented" ? augmented_ : mask_;
  }
  ParameterList trainable() const {
    ParameterList list;
    for (const ParameterPtr& p : detector_->parameters()) {
      if (p->trainable()) list.push_back(p);
    }
    return list;
  }
  ParameterPtr parameter(const json& named) const {
    const std::string name = named["network"].get<std::string>() + "." + named["name"].get<std::string>();
    for (const ParameterPtr& p : detector_->parameters()) {
      if (p->name() == name) return p;
    }
    throw std::runtime_error("the detector has no parameter " + name);
  }

  Forward forward(Mode mode, bool stop_gradient = false) {
    Forward f;
    f.normal = detector_->teacher().features(normal_);
    f.augmented = detector_->teacher().features(augmented_);
    f.student = detector_->student().features(augmented_, mode);
    f.cosine = cosine_loss({f.normal, f.student});
    Tensor product;
    if (stop_gradient) {
      const NoGrad stop;
      product = feature_product({f.augmented, f.student});
    } else {
      product = feature_product({f.augmented, f.student});
    }
    f.logits = detector_->head().logits(product, mode);
    f.segmentation = segmentation_loss(f.logits, mask_);
    return f;
  }
  static void differentiate(const Forward& f) {
    backward(std::vector<LossTerm>{{f.cosine, 1.0f}, {f.segmentation.total, 1.0f}});
  }

 private:
  void write_teacher() const {
    const std::uint64_t seed = golden()["teacher_seed"];
    std::uint64_t step = 0;
    NamedTensorList tensors;
    for (const TeacherConv& conv : teacher_convs()) {
      const Shape oihw{conv.shape[0], conv.shape[3], conv.shape[1], conv.shape[2]};
      const float bound = bound_of(oihw[1] * oihw[2] * oihw[3]);
      tensors.emplace_back(conv.name + ".weight",
                           Tensor::from_host<float>(oihw, draw_symmetric(seed, step++, oihw.count(), bound)));
      tensors.emplace_back(conv.name + ".bias",
                           Tensor::from_host<float>({oihw[0]}, draw_symmetric(seed, step++, oihw[0], 0.1f)));
    }
    write_tensors(teacher_path(), tensors, {});
  }

  void draw_weights(bool conditioned) {
    const std::uint64_t seed = golden()["weight_seed"];
    std::uint64_t step = 0;
    for (const ParameterPtr& p : trainable()) {
      const Shape& shape = p->shape();
      const std::string& name = p->name();
      std::vector<float> values(static_cast<std::size_t>(shape.count()),
                                name.ends_with(".bias") ? 0.0f : 1.0f);
      if (shape.rank() == 4) {
        values = oihw_to_krsc(
            draw_symmetric(seed, step, shape.count(), bound_of(shape[0] * shape[1] * shape[2])), shape);
      } else if (conditioned && name != "head.classifier.conv2.bias") {
        const bool small = name.ends_with("bn2.weight") || name.ends_with("downsample.1.weight");
        const float low = name.ends_with("bias") ? 1.0f : small ? 0.125f : 0.5f;
        const float high = name.ends_with("bias") ? 2.0f : small ? 0.375f : 1.0f;
        values = draw(seed, RandomStream::weights, step, shape.count(), low, high);
      }
      if (conditioned && name == "head.classifier.conv2.weight") {
        for (float& value : values) value *= 0.125f;
      }
      set_values(*p, values);
      ++step;
    }
  }

  void draw_inputs() {
    const std::uint64_t seed = golden()["input_seed"];
    const std::int64_t n = golden()["batch"], size = golden()["size"], side = size / 4;
    const Shape shape{n, size, size, 3};
    normal_ =
        Tensor::from_host<float>(shape, draw(seed, RandomStream::drawing, 0, shape.count(), -2.0f, 2.0f));
    augmented_ =
        Tensor::from_host<float>(shape, draw(seed, RandomStream::drawing, 1, shape.count(), -2.0f, 2.0f));
    std::vector<std::uint8_t> mask;
    for (const float u : draw(seed, RandomStream::drawing, 2, n * side * side, 0.0f, 1.0f))
      mask.push_back(u < 0.1f);
    mask_ = Tensor::from_host<std::uint8_t>({n, side, side}, mask);
  }

  testing::ScratchFolder folder_;
  std::unique_ptr<Detector> detector_;
  Tensor normal_, augmented_, mask_;
};

class NetworksGolden : public ::testing::TestWithParam<const char*> {
 protected:
  NetworksGolden()
      : expected_(golden()["cases"][GetParam()]), network_(GetParam() == std::string("conditioned")) {
    clear_tape();
  }
  ~NetworksGolden() override { clear_tape(); }
  const json& expected_;
  Network network_;
};
const auto case_name = [](const auto& info) { return std::string(info.param); };
INSTANTIATE_TEST_SUITE_P(, NetworksGolden, ::testing::Values("initial", "conditioned"), case_name);

// The draws themselves: what to look at first when nothing else agrees.
TEST_P(NetworksGolden, FirstValues) {
  const SafetensorsFile teacher(network_.teacher_path());
  for (const json& entry : expected_["first_values"]) {
    const std::string network = entry["network"], name = entry["name"];
    std::vector<float> values;
    Shape shape;
    if (network == "input" && name == "mask") {
      for (const std::uint8_t value : network_.input(name).to_host<std::uint8_t>()) values.push_back(value);
    } else if (network == "input") {
      values = network_.input(name).to_floats();
    } else if (network == "teacher") {
      values = teacher.read_f32(name);
    } else {
      values = network_.parameter(entry)->value().to_floats();
      shape = network_.parameter(entry)->shape();
    }
    double sum = 0;
    for (const float value : values) sum += value;
    EXPECT_NEAR(sum, entry["sum"].get<double>(), 1e-9 * static_cast<double>(values.size()))
        << network << "." << name;
    for (std::size_t i = 0; i < entry["first"].size(); ++i) {
      EXPECT_EQ(values[position(i, shape)], entry["first"][i].get<float>())
          << network << "." << name << "[" << i << "]";
    }
  }
}

TEST_P(NetworksGolden, OutputsLossesAndRunningStatistics) {
  const Forward forward = network_.forward(Mode::training);
  ASSERT_EQ(expected_["outputs"].size(), 10u);
  for (const json& map : expected_["outputs"]) expect_golden_map(forward.map(map["name"]), map);
  for (const auto& [name, value] : forward.losses()) {
    const json& loss = expected_["losses"][name];
    const double truth = loss["value"];
    EXPECT_NEAR(value, truth, tolerance(loss["f32_error"], kOneStep) * truth) << name;
  }
  ASSERT_EQ(expected_["running_statistics"].size() + network_.trainable().size(),
            network_.detector().parameters().size());
  for (const json& statistic : expected_["running_statistics"]) {
    const double norm = statistic["l2"];
    EXPECT_NEAR(l2(network_.parameter(statistic)->value().to_floats()), norm,
                tolerance(statistic["f32_error"], kOneStep) * norm)
        << statistic["network"] << " " << statistic["name"];
  }
}

class NetworksGoldenTraining : public ::testing::Test {
 protected:
  NetworksGoldenTraining() : expected_(golden()["cases"]["conditioned"]), network_(true) { clear_tape(); }
  ~NetworksGoldenTraining() override { clear_tape(); }

  void expect_gradients(const json& gradients) {
    for (const json& expected : gradients) {
      const ParameterPtr p = network_.parameter(expected);
      ASSERT_TRUE(p->has_grad()) << p->name();
      expect_golden(p->grad().to_floats(), expected, p->shape());
    }
  }

  void expect_training(const json& expected, const OptimizerConfig& config) {
    Optimizer optimizer(network_.detector().parameters(), config);
    const float learning_rate = expected["options"]["lr"];
    double largest_error = 0;
    for (std::size_t step = 0; step < expected["f32_error"].size(); ++step) {
      const Forward forward = network_.forward(Mode::training);
      largest_error = std::max(largest_error, expected["f32_error"][step].get<double>());
      const double allowed =
          tolerance(largest_error, kTenUpdates) * expected["losses"]["total"][step].get<double>();
      for (const auto& [name, value] : forward.losses()) {
        EXPECT_NEAR(value, expected["losses"][name][step].get<double>(), allowed)
            << name << " before update " << step + 1;
      }
      Network::differentiate(forward);
      ASSERT_TRUE(optimizer.step(learning_rate).finite);
    }
    const NoGrad looking;
    const Forward inspected = network_.forward(Mode::inference);
    for (const json& map : expected["eval_outputs"])
      expect_golden_map(inspected.map(map["name"]), map, kTenUpdates);
  }

  const json& expected_;
  Network network_;
};

TEST_F(NetworksGoldenTraining, JointGradients) {
  ASSERT_EQ(expected_["gradients"]["joint"].size(), network_.trainable().size());
  Network::differentiate(network_.forward(Mode::training));
  expect_gradients(expected_["gradients"]["joint"]);
}

TEST_F(NetworksGoldenTraining, StopGradient) {
  Network::differentiate(network_.forward(Mode::training, true));
  expect_gradients(expected_["gradients"]["stop_gradient"]);
  // The head's own gradients do not depend on what the student gets.
  for (const json& gradient : expected_["gradients"]["joint"]) {
    if (gradient["network"] == "head") expect_gradients(json::array({gradient}));
  }
}

OptimizerConfig as_pytorch(const json& options) {
  OptimizerConfig config;
  config.decay_all = true;
  config.weight_decay = options["weight_decay"];
  if (options.contains("momentum")) {
    config.kind = kernels::OptimizerKind::sgd;
    config.momentum = options["momentum"];
  } else {
    config.kind = kernels::OptimizerKind::adamw;
    config.beta1 = options["betas"][0];
    config.beta2 = options["betas"][1];
    config.epsilon = options["eps"];
  }
  return config;
}

TEST_F(NetworksGoldenTraining, TenUpdatesOfAdamW) {
  const json& run = expected_["training"]["adamw"];
  expect_training(run, as_pytorch(run["options"]));
}

TEST_F(NetworksGoldenTraining, TenUpdatesOfSgd) {
  const json& run = expected_["training"]["sgd"];
  expect_training(run, as_pytorch(run["options"]));
}

}  // namespace
}  // namespace ddpmts::test
