// Whole networks: a forward pass as inspection and sampling run it, and a training step (forward, loss, backward, AdamW).
// FLOPs: those of the convolutions, matrix products and attention that one run makes, counted while it runs.
#include <fmt/format.h>

#include "bench/cases/drawn_networks.h"
#include "bench/cases/tools.h"
#include "bench/cases/training_check.h"
#include "engine/optimizer.h"
#include "layers/initialize.h"
#include "models/diffusion.h"

namespace ddpmts::bench {
namespace {

// x → the network's outputs, one after the other.
using Forward = std::function<std::vector<Tensor>(const Tensor&)>;

std::vector<float> values_of(const std::vector<Tensor>& outputs) {
  std::vector<float> values;
  for (const Tensor& t : outputs) {
    const std::vector<float> more = t.to_floats();
    values.insert(values.end(), more.begin(), more.end());
  }
  return values;
}

// f32: the last picture alone gives what it gives among the others (with itself, where it is alone). bf16: within a
// twentieth of f32 in the norm, which is what some twenty layers of rounding add up to.
Prepared prepare_forward(const Tensor& x, const Forward& forward, const Forward& f32) {
  Prepared p;
  p.held = {x};
  p.run = [=] {
    const NoGrad looking;
    forward(x);
  };
  p.check = [=] {
    const NoGrad looking;
    const std::int64_t last = x.dim(0) - 1;
    const Tensor one = x.slice(last, 1);
    std::vector<Tensor> outputs;
    if (x.type() == DType::bf16) {
      return compare_norms("against f32", values_of(forward(one)), values_of(f32(one.cast(DType::f32))),
                           0.05);
    }
    Tensor batch = x;
    if (last == 0) {
      std::vector<float> twice = x.to_floats();
      twice.insert(twice.end(), twice.begin(), twice.begin() + x.count());
      batch = Tensor::from_host<float>({2, x.dim(1), x.dim(2), x.dim(3)}, twice, x.device());
    }
    for (const Tensor& t : forward(batch)) outputs.push_back(t.slice(batch.dim(0) - 1, 1));
    return compare_norms("in a batch against alone", values_of(outputs), values_of(forward(one)), 1e-4);
  };
  p.flops = flops_of(p.run);
  return p;
}

// `make` gives the subject in a type; the same weights each time.
Prepared prepare_training(DType type, const std::function<TrainingSubject(DType)>& make) {
  const TrainingSubject subject = make(type);
  const auto optimizer = std::make_shared<Optimizer>(subject.parameters, OptimizerConfig{});
  Prepared p;
  p.run = [=] {
    backward(subject.loss());
    optimizer->step(1e-5f);
  };
  p.check = [=] {
    return type == DType::f32 ? check_gradient(subject) : check_against(subject, make(DType::f32));
  };
  p.flops = flops_of(p.run);
  return p;
}

Tensor normalised_pictures(std::int64_t n, std::int64_t size, DType type, Device device) {
  return random_tensor({n, size, size, 3}, type, device, 1, -2.0f, 2.0f);
}

// --- the detector's three -------------------------------------------------------------------------------------------

Prepared prepare_teacher(Device device, DType type, std::int64_t n, std::int64_t size) {
  const auto teacher = std::make_shared<ResNetTeacher>(make_teacher(type, device));
  const Forward f32 = [device](const Tensor& x) { return make_teacher(DType::f32, device).features(x); };
  return prepare_forward(
      normalised_pictures(n, size, type, device), [teacher](const Tensor& x) { return teacher->features(x); },
      f32);
}

struct OwnedStudent {
  ParameterList parameters;
  Student network;
  explicit OwnedStudent(Device device) : network(ParameterScope(parameters, device)) {
    initialize_convolutions(parameters, 1);
  }
};

Prepared prepare_student(Device device, DType type, std::int64_t n, std::int64_t size) {
  const auto student = std::make_shared<OwnedStudent>(device);
  const Forward forward = [student](const Tensor& x) {
    return student->network.features(x, Mode::inference);
  };
  return prepare_forward(normalised_pictures(n, size, type, device), forward, forward);
}

Prepared prepare_student_training(Device device, DType type, std::int64_t n, std::int64_t size) {
  return prepare_training(type, [=](DType of) {
    const auto student = std::make_shared<OwnedStudent>(device);
    const Tensor x = normalised_pictures(n, size, of, device);
    const NoGrad looking;
    const std::vector<Tensor> target = make_teacher(of, device).features(x);
    return TrainingSubject{student->parameters, [=] {
                             return cosine_loss({target, student->network.features(x, Mode::training)});
                           }};
  });
}

struct OwnedHead {
  ParameterList parameters;
  SegmentationHead network;
  OwnedHead(const std::string& size, Device device)
      : network(ParameterScope(parameters, device), parse_head_size(size)) {
    initialize_convolutions(parameters, 1);
    network.start_output_small();
  }
};

// What feature_product gives: small values of either sign.
Tensor product_of_features(std::int64_t n, std::int64_t size, DType type, Device device) {
  return random_tensor({n, size / 4, size / 4, SegmentationHead::kInputChannels}, type, device, 2, -0.2f,
                       0.2f);
}

Prepared prepare_head(Device device, const std::string& which, DType type, std::int64_t n,
                      std::int64_t size) {
  const auto head = std::make_shared<OwnedHead>(which, device);
  const Forward forward = [head](const Tensor& x) {
    return std::vector{head->network.logits(x, Mode::inference)};
  };
  return prepare_forward(product_of_features(n, size, type, device), forward, forward);
}

Prepared prepare_head_training(Device device, const std::string& which, DType type, std::int64_t n,
                               std::int64_t size) {
  return prepare_training(type, [=](DType of) {
    const auto head = std::make_shared<OwnedHead>(which, device);
    const Tensor x = product_of_features(n, size, of, device);
    const Tensor mask = random_mask({n, size / 4, size / 4}, device, 3, 0.1f);
    return TrainingSubject{head->parameters, [=] {
                             return segmentation_loss(head->network.logits(x, Mode::training), mask).total;
                           }};
  });
}

// --- the UNet -------------------------------------------------------------------------------------------------------

Tensor some_timesteps(std::int64_t n, Device device) {
  std::vector<std::int32_t> t(static_cast<std::size_t>(n), 500);
  return Tensor::from_host<std::int32_t>({n}, t, device);
}

Prepared prepare_unet(Device device, const std::string& which, DType type, std::int64_t n,
                      std::int64_t size) {
  const std::shared_ptr<UNet> unet = make_unet(which, size, device);
  const Forward forward = [=](const Tensor& x) {
    return std::vector{unet->predict(x, some_timesteps(x.dim(0), device))};
  };
  return prepare_forward(random_tensor({n, size, size, 3}, type, device, 1), forward, forward);
}

Prepared prepare_unet_training(Device device, const std::string& which, DType type, std::int64_t n,
                               std::int64_t size) {
  return prepare_training(type, [=](DType of) {
    const std::shared_ptr<UNet> unet = make_unet(which, size, device);
    const Tensor x = random_tensor({n, size, size, 3}, of, device, 1);
    const Tensor noise = random_tensor(x.shape(), DType::f32, device, 2, -1.7f, 1.7f);
    return TrainingSubject{unet->parameters(), [=] {
                             return noise_loss(unet->predict(x, some_timesteps(n, device)), noise).total;
                           }};
  });
}

// Memory of a step, about: activations of every layer kept, and for each parameter weight, copy, gradient and two moments.
double memory_of(double parameters, double values_a_pixel, std::int64_t n, std::int64_t size, bool training) {
  return parameters * (training ? 18.0 : 10.0) +
         values_a_pixel * (training ? 8.0 : 4.0) * static_cast<double>(n * size * size);
}

}  // namespace

void add_network_cases(const CasePlan& plan, Cases& cases) {
  const Device device = plan.device();
  using Make = std::function<Prepared(DType, std::int64_t, std::int64_t)>;
  const auto add = [&](const std::string& what, std::int64_t size, bool training, double parameters,
                       double values, const std::map<std::string, std::string>& axes, bool quick,
                       const Make& make) {
    for (const DType type : plan.precisions()) {
      for (const std::int64_t n :
           plan.batches(training ? std::vector<std::int64_t>{8} : std::vector<std::int64_t>{1, 8})) {
        Case c = make_case(plan, "networks",
                           fmt::format("{}_{}/{}", what, training ? "training" : "forward", size), type, n);
        c.axes.insert(axes.begin(), axes.end());
        c.axes["size"] = std::to_string(size);
        c.quick = quick && n <= 8;
        add_case(cases, std::move(c), memory_of(parameters, values, n, size, training), n,
                 [=] { return make(type, n, size); });
      }
    }
  };
  for (const std::int64_t size : plan.sizes({256})) {
    add("teacher", size, false, 3e6, 60, {}, true,
        [=](DType t, std::int64_t n, std::int64_t s) { return prepare_teacher(device, t, n, s); });
    add("student", size, false, 25e6, 90, {}, true,
        [=](DType t, std::int64_t n, std::int64_t s) { return prepare_student(device, t, n, s); });
    add("student", size, true, 25e6, 90, {}, true,
        [=](DType t, std::int64_t n, std::int64_t s) { return prepare_student_training(device, t, n, s); });
    for (const std::string& head : plan.heads({"s", "m", "l"})) {
      const double values = 60.0 * static_cast<double>(channels_of(parse_head_size(head))) / 64.0 + 28.0;
      add("head_" + head, size, false, 8e6, values, {{"head", head}}, head == "s",
          [=](DType t, std::int64_t n, std::int64_t s) { return prepare_head(device, head, t, n, s); });
      add("head_" + head, size, true, 8e6, values, {{"head", head}}, head == "s",
          [=](DType t, std::int64_t n, std::int64_t s) {
            return prepare_head_training(device, head, t, n, s);
          });
    }
  }
  for (const std::string& unet : plan.unets({"xs", "s"})) {
    for (const std::int64_t size : plan.sizes({64})) {
      if (size != 64 && size != 128 && size != 256) continue;  // what the presets are made for
      add("unet_" + unet, size, false, 114e6, 3000, {{"unet", unet}}, unet == "s",
          [=](DType t, std::int64_t n, std::int64_t s) { return prepare_unet(device, unet, t, n, s); });
      add("unet_" + unet, size, true, 114e6, 3000, {{"unet", unet}}, unet == "s",
          [=](DType t, std::int64_t n, std::int64_t s) {
            return prepare_unet_training(device, unet, t, n, s);
          });
    }
  }
}

}  // namespace ddpmts::bench
