#include "kernels/optimizer_step.h"

#include <algorithm>
#include <limits>

#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;
using test::random_floats;

/// Of update number `step`, where the kernel reads them.
Array<OptimizerRates> rates_of(const OptimizerStepArgs& args, std::int64_t step, float learning_rate = 1e-3f,
                               float average_decay = 0.9999f) {
  Array<OptimizerRates> rates(1, optimizer_rates(args, step));
  rates[0].learning_rate = learning_rate;
  rates[0].average_decay = average_decay;
  return rates;
}

/// Parameters of sizes that fill chunks, leave tails, or are tiny; some with a bf16 copy, some with an average.
struct Model {
  struct Parameter {
    Buffer value, grad, first, second, copy, average;
  };

  Model() {
    const std::int64_t counts[] = {1, 5, 16, 64, 1000, 16384, 16385, 40007, 3, 31};
    std::uint64_t step = 10;
    for (const std::int64_t count : counts) {
      Parameter p;
      p.value = Buffer(DType::f32, random_floats(count, step++));
      p.grad = Buffer(DType::f32, count);
      p.first = Buffer(DType::f32, count);
      p.second = Buffer(DType::f32, count);
      p.copy = Buffer(DType::bf16, count);
      p.average = p.value;
      parameters.push_back(p);
    }
  }
  void draw_gradients(std::uint64_t step) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      Buffer& grad = parameters[i].grad;
      grad = Buffer(DType::f32,
                    random_floats(static_cast<std::int64_t>(grad.count()), 1000 * step + i, -0.5f, 0.5f));
    }
  }
  bool has_copy(std::size_t i) const { return i % 2 == 0; }
  bool has_average(std::size_t i) const { return i % 3 != 0; }
  Array<ParameterSlot> slots(OptimizerKind kind) {
    Array<ParameterSlot> result;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      Parameter& p = parameters[i];
      ParameterSlot slot;
      slot.count = static_cast<std::int64_t>(p.value.count());
      slot.value = static_cast<float*>(p.value.data());
      slot.grad = static_cast<const float*>(p.grad.data());
      slot.first_moment = static_cast<float*>(p.first.data());
      slot.second_moment = kind == OptimizerKind::adamw ? static_cast<float*>(p.second.data()) : nullptr;
      slot.low_precision = has_copy(i) ? static_cast<bf16*>(p.copy.data()) : nullptr;
      slot.average = has_average(i) ? static_cast<float*>(p.average.data()) : nullptr;
      slot.lr_scale = i % 4 == 1 ? 0.1f : 1.0f;
      slot.weight_decay = i % 5 == 2 ? 0.0f : 0.05f;
      result.push_back(slot);
    }
    return result;
  }
  void expect_same_bits(const Model& other) const {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& a = parameters[i];
      const Parameter& b = other.parameters[i];
      EXPECT_EQ(a.value.bytes(), b.value.bytes()) << i;
      EXPECT_EQ(a.first.bytes(), b.first.bytes()) << i;
      EXPECT_EQ(a.second.bytes(), b.second.bytes()) << i;
      EXPECT_EQ(a.copy.bytes(), b.copy.bytes()) << i;
      EXPECT_EQ(a.average.bytes(), b.average.bytes()) << i;
    }
  }

  std::vector<Parameter> parameters;
};

/// torch.optim.SGD and torch.optim.AdamW for one element, in double, written from their documentation.
struct ReferenceElement {
  double p = 0, buffer = 0, m = 0, v = 0, average = 0;

  void sgd(double g, double lr, double momentum, double weight_decay, bool first) {
    g += weight_decay * p;
    buffer = first ? g : momentum * buffer + g;
    p -= lr * buffer;
  }
  void adamw(double g, double lr, double beta1, double beta2, double epsilon, double weight_decay,
             double step) {
    p -= lr * weight_decay * p;
    m = beta1 * m + (1.0 - beta1) * g;
    v = beta2 * v + (1.0 - beta2) * g * g;
    const double m_hat = m / (1.0 - std::pow(beta1, step));
    const double v_hat = v / (1.0 - std::pow(beta2, step));
    p -= lr * m_hat / (std::sqrt(v_hat) + epsilon);
  }
};

void run_against_reference(CpuIsa isa, OptimizerKind kind, float max_norm) {
  Model model;
  std::vector<std::vector<ReferenceElement>> reference;
  for (const Model::Parameter& p : model.parameters) {
    std::vector<ReferenceElement> elements(p.value.count());
    for (std::size_t i = 0; i < elements.size(); ++i)
      elements[i].p = elements[i].average = static_cast<double>(p.value[i]);
    reference.push_back(elements);
  }
  for (std::int64_t step = 1; step <= 3; ++step) {
    model.draw_gradients(static_cast<std::uint64_t>(step));
    const Array<ParameterSlot> slots = model.slots(kind);
    Array<float> norm(2, -1.0f);
    const GradientNormArgs norm_args{slots.data(), static_cast<std::int64_t>(slots.size()), norm.data()};
    DDPMTS_RUN_KERNEL(isa, gradient_norm, norm_args);
    OptimizerStepArgs args;
    args.kind = kind;
    args.slots = slots.data();
    args.slot_count = static_cast<std::int64_t>(slots.size());
    const Array<OptimizerRates> rates = rates_of(args, step, 0.01f, 0.9f);
    args.rates = rates.data();
    args.norm = norm.data();
    args.max_norm = max_norm;
    DDPMTS_RUN_KERNEL(isa, optimizer_step, args);

    double squares = 0.0;
    for (const Model::Parameter& p : model.parameters) {
      for (std::size_t i = 0; i < p.grad.count(); ++i)
        squares += static_cast<double>(p.grad[i]) * static_cast<double>(p.grad[i]);
    }
    EXPECT_NEAR(static_cast<double>(norm[0]), std::sqrt(squares), 1e-5 * std::sqrt(squares));
    EXPECT_EQ(norm[1], 1.0f);
    const double scale =
        max_norm > 0.0f ? std::min(1.0, static_cast<double>(max_norm) / (std::sqrt(squares) + 1e-6)) : 1.0;

    for (std::size_t k = 0; k < slots.size(); ++k) {
      const Model::Parameter& p = model.parameters[k];
      const double lr = 0.01 * static_cast<double>(slots[k].lr_scale);
      const double decay = static_cast<double>(slots[k].weight_decay);
      std::vector<double> value, average;
      for (std::size_t i = 0; i < p.value.count(); ++i) {
        ReferenceElement& e = reference[k][i];
        const double g = scale * static_cast<double>(p.grad[i]);
        if (kind == OptimizerKind::sgd) {
          e.sgd(g, lr, 0.9, decay, step == 1);
        } else {
          e.adamw(g, lr, 0.9, 0.999, 1e-8, decay, static_cast<double>(step));
        }
        e.average = 0.9 * e.average + 0.1 * e.p;
        value.push_back(e.p);
        average.push_back(e.average);
      }
      SCOPED_TRACE("step " + std::to_string(step) + ", parameter " + std::to_string(k));
      test::expect_near(p.value, value, value.size(), 2e-6, "value");
      EXPECT_TRUE(p.value.guard_is_intact() && p.first.guard_is_intact() && p.second.guard_is_intact());
      EXPECT_TRUE(p.copy.guard_is_intact() && p.average.guard_is_intact());
      if (model.has_average(k)) test::expect_near(p.average, average, average.size(), 2e-6, "average");
      if (model.has_copy(k)) {
        EXPECT_EQ(p.copy.bytes(), Buffer(DType::bf16, p.value.floats()).bytes())
            << "the copy is the rounded value";
      }
    }
  }
}

TEST(OptimizerStep, AdamWMatchesPyTorchForThreeSteps) {
  test::for_each_isa([](CpuIsa isa) { run_against_reference(isa, OptimizerKind::adamw, 0.0f); });
}
TEST(OptimizerStep, SgdMatchesPyTorchForThreeSteps) {
  test::for_each_isa([](CpuIsa isa) { run_against_reference(isa, OptimizerKind::sgd, 0.0f); });
}
TEST(OptimizerStep, ClipsToTheLargestNorm) {
  test::for_each_isa([](CpuIsa isa) {
    run_against_reference(isa, OptimizerKind::sgd, 1.0f);
    run_against_reference(isa, OptimizerKind::adamw, 1.0f);
    run_against_reference(isa, OptimizerKind::sgd, 1e6f);  // above the norm: nothing is scaled
  });
}

/// SGD on a weight of 1 with a gradient of 0.5.
struct OneWeight {
  explicit OneWeight(float held) : buffer(1, held) {
    slots[0].count = 1;
    slots[0].value = value.data();
    slots[0].grad = grad.data();
    slots[0].first_moment = buffer.data();
    args.kind = OptimizerKind::sgd;
    args.slots = slots.data();
    args.slot_count = 1;
  }
  OneWeight(const OneWeight&) = delete;
  Array<float> value{1.0f}, grad{0.5f}, buffer;
  Array<ParameterSlot> slots = Array<ParameterSlot>(1);
  OptimizerStepArgs args;
};

TEST(OptimizerStep, FirstSgdStepIgnoresWhatTheBufferHeld) {
  test::for_each_isa([](CpuIsa isa) {
    OneWeight run(std::nanf(""));
    const Array<OptimizerRates> rates = rates_of(run.args, 1, 0.5f);
    run.args.rates = rates.data();
    DDPMTS_RUN_KERNEL(isa, optimizer_step, run.args);
    EXPECT_EQ(run.value[0], 0.75f);
    EXPECT_EQ(run.buffer[0], 0.5f);
  });
}

// What a captured step does: the arguments stay, what they point to changes.
TEST(OptimizerStep, ReadsItsRatesWhenItRuns) {
  test::for_each_isa([](CpuIsa isa) {
    OneWeight run(0.0f);
    run.args.momentum = 0.5f;
    Array<OptimizerRates> rates = rates_of(run.args, 1, 0.5f);
    run.args.rates = rates.data();
    DDPMTS_RUN_KERNEL(isa, optimizer_step, run.args);
    EXPECT_EQ(run.value[0], 0.75f);
    rates[0] = rates_of(run.args, 2, 0.25f)[0];
    DDPMTS_RUN_KERNEL(isa, optimizer_step, run.args);
    EXPECT_EQ(run.value[0], 0.75f - 0.25f * 0.75f);  // v = 0.5·0.5 + 0.5
  });
}

TEST(OptimizerStep, ChangesNothingWhenAGradientIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adamw}) {
      test::for_each_isa([&](CpuIsa isa) {
        Model model;
        model.draw_gradients(1);
        model.parameters[7].grad.set(40006, bad);  // the last element of a tail
        const Model before = model;
        const Array<ParameterSlot> slots = model.slots(kind);
        Array<float> norm(2);
        const GradientNormArgs norm_args{slots.data(), static_cast<std::int64_t>(slots.size()), norm.data()};
        DDPMTS_RUN_KERNEL(isa, gradient_norm, norm_args);
        EXPECT_EQ(norm[1], 0.0f);
        OptimizerStepArgs args;
        args.kind = kind;
        args.slots = slots.data();
        args.slot_count = static_cast<std::int64_t>(slots.size());
        const Array<OptimizerRates> rates = rates_of(args, 1);
        args.rates = rates.data();
        args.norm = norm.data();
        args.max_norm = 1.0f;
        DDPMTS_RUN_KERNEL(isa, optimizer_step, args);
        model.expect_same_bits(before);
      });
    }
  }
}

TEST(GradientNorm, HugeGradientsAreStillFinite) {
  Array<float> grad(100, 3e38f);
  Array<ParameterSlot> slots(1);
  slots[0].count = 100;
  slots[0].grad = grad.data();
  test::for_each_isa([&](CpuIsa isa) {
    Array<float> norm(2);
    const GradientNormArgs args{slots.data(), 1, norm.data()};
    DDPMTS_RUN_KERNEL(isa, gradient_norm, args);
    EXPECT_EQ(norm[1], 1.0f);
    EXPECT_TRUE(std::isinf(norm[0]));  // 3e39 has no place in a float; every gradient is finite all the same
  });
}

TEST(GradientNorm, NoSlotsIsZero) {
  test::for_each_isa([](CpuIsa isa) {
    Array<float> norm(2, 5.0f);
    const GradientNormArgs args{nullptr, 0, norm.data()};
    DDPMTS_RUN_KERNEL(isa, gradient_norm, args);
    EXPECT_EQ(norm[0], 0.0f);
    EXPECT_EQ(norm[1], 1.0f);
  });
}

// Arrays that start off a 16-byte boundary take another way through the kernels.
TEST(OptimizerStep, AnyAlignmentGivesTheSameBits) {
  const std::int64_t count = 5001;
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adamw}) {
    test::for_each_isa([&](CpuIsa isa) {
      std::vector<Array<float>> results;
      for (const std::size_t shift : {0, 1}) {
        Array<float> values[5];  // value, grad, first, second, average
        for (std::size_t a = 0; a < 5; ++a) {
          values[a] = random_floats(count + 1, a, a == 3 ? 0.0f : -1.0f);
          if (shift == 1) std::rotate(values[a].begin(), values[a].end() - 1, values[a].end());
        }
        Array<bf16> copy(static_cast<std::size_t>(count) + 1);
        Array<ParameterSlot> slots(1);
        slots[0].count = count;
        slots[0].value = values[0].data() + shift;
        slots[0].grad = values[1].data() + shift;
        slots[0].first_moment = values[2].data() + shift;
        slots[0].second_moment = values[3].data() + shift;
        slots[0].average = values[4].data() + shift;
        slots[0].low_precision = copy.data() + shift;
        Array<float> norm(2);
        const GradientNormArgs norm_args{slots.data(), 1, norm.data()};
        DDPMTS_RUN_KERNEL(isa, gradient_norm, norm_args);
        OptimizerStepArgs args;
        args.kind = kind;
        args.slots = slots.data();
        args.slot_count = 1;
        const Array<OptimizerRates> rates = rates_of(args, 2);
        args.rates = rates.data();
        args.norm = norm.data();
        args.max_norm = 1.0f;
        DDPMTS_RUN_KERNEL(isa, optimizer_step, args);
        Array<float> all = norm;
        for (const std::size_t a : {0, 2, 3, 4}) {
          const auto begin = values[a].begin() + static_cast<std::ptrdiff_t>(shift);
          all.insert(all.end(), begin, begin + static_cast<std::ptrdiff_t>(count));
        }
        for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
          all.push_back(to_float(copy[i + shift]));
        results.push_back(all);
      }
      EXPECT_EQ(results[0], results[1]);
    });
  }
}

#if DDPMTS_CPU_TESTS
TEST(OptimizerStep, SameBitsInEveryRunAndThreadCount) {
  const int threads = omp_get_max_threads();
  test::for_each_isa([&](CpuIsa isa) {
    std::vector<Model> runs;
    std::vector<float> norms;
    for (const int count : {1, 2, 2, 3}) {
      omp_set_num_threads(count);
      Model model;
      model.draw_gradients(1);
      const Array<ParameterSlot> slots = model.slots(OptimizerKind::adamw);
      Array<float> norm(2);
      const GradientNormArgs norm_args{slots.data(), static_cast<std::int64_t>(slots.size()), norm.data()};
      DDPMTS_RUN_KERNEL(isa, gradient_norm, norm_args);
      OptimizerStepArgs args;
      args.slots = slots.data();
      args.slot_count = static_cast<std::int64_t>(slots.size());
      const Array<OptimizerRates> rates = rates_of(args, 1);
      args.rates = rates.data();
      args.norm = norm.data();
      args.max_norm = 1.0f;
      DDPMTS_RUN_KERNEL(isa, optimizer_step, args);
      runs.push_back(model);
      norms.push_back(norm[0]);
    }
    omp_set_num_threads(threads);
    for (std::size_t i = 1; i < runs.size(); ++i) {
      runs[i].expect_same_bits(runs[0]);
      EXPECT_EQ(norms[i], norms[0]);
    }
  });
}

TEST(OptimizerStep, LeavesTheFloatingPointModeAsItWas) {
  test::for_each_isa([](CpuIsa isa) {
    Model model;
    model.draw_gradients(1);
    const Array<ParameterSlot> slots = model.slots(OptimizerKind::adamw);
    OptimizerStepArgs args;
    args.slots = slots.data();
    args.slot_count = static_cast<std::int64_t>(slots.size());
    const Array<OptimizerRates> rates = rates_of(args, 1);
    args.rates = rates.data();
    DDPMTS_RUN_KERNEL(isa, optimizer_step, args);
    volatile float small = std::numeric_limits<float>::min();
    EXPECT_GT(small * 0.5f, 0.0f);  // subnormals still exist
  });
}
#endif

}  // namespace
}  // namespace ddpmts::kernels
