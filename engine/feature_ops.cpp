// The operations that compare a student's features with a teacher's, and the losses (engine/ops.h).
#include "engine/ops.h"
#include "kernels/cosine_loss.h"
#include "kernels/feature_product.h"
#include "kernels/segmentation_loss.h"

namespace ddpmts {
namespace {

void require_float(const char* operation, const Tensor& x) {
  if (x.type() != DType::f32 && x.type() != DType::bf16) {
    throw_error<ShapeError>("{}: takes f32 or bf16, not {}", operation, name_of(x.type()));
  }
}

kernels::FeatureLevels feature_levels(const FeaturePair& features) {
  if (features.teacher.size() != features.student.size() || features.teacher.empty() ||
      features.teacher.size() > kernels::kMaxFeatureLevels) {
    throw_error<ShapeError>("features: {} teacher and {} student levels", features.teacher.size(),
                            features.student.size());
  }
  kernels::FeatureLevels levels;
  levels.count = static_cast<int>(features.teacher.size());
  levels.type = features.teacher[0].type();
  levels.n = features.teacher[0].dim(0);
  for (std::size_t k = 0; k < features.teacher.size(); ++k) {
    const Tensor& t = features.teacher[k];
    const Tensor& s = features.student[k];
    require_float("features", t);
    if (t.shape().rank() != 4 || t.shape() != s.shape() || t.type() != levels.type ||
        s.type() != levels.type || t.dim(0) != levels.n) {
      throw_error<ShapeError>("features: level {} is {} {} at the teacher and {} {} at the student", k,
                              name_of(t.type()), t.shape().text(), name_of(s.type()), s.shape().text());
    }
    levels.level[k] = {t.dim(1), t.dim(2), t.dim(3), t.raw(), s.raw(), nullptr, nullptr};
  }
  return levels;
}

bool student_needs_grad(const FeaturePair& features) {
  if (!grad_enabled()) return false;
  for (const Tensor& s : features.student) {
    if (s.needs_grad()) return true;
  }
  return false;
}

// Student gradients at all levels, ready for a backward kernel to write.
std::vector<Tensor> make_student_grads(const FeaturePair& features, kernels::FeatureLevels& levels) {
  std::vector<Tensor> grads;
  for (std::size_t k = 0; k < features.student.size(); ++k) {
    const Tensor& s = features.student[k];
    grads.push_back(Tensor::empty(s.shape(), s.type(), s.device()));
    levels.level[k].student_grad = grads.back().raw();
  }
  return grads;
}

}  // namespace

Tensor cosine_loss(const FeaturePair& features) {
  kernels::CosineLossArgs args;
  args.features = feature_levels(features);
  const Device device = features.student[0].device();
  args.scale = 1.0f / static_cast<float>(args.features.n);
  Tensor loss = Tensor::empty({1}, DType::f32, device);
  args.loss = loss.data<float>();
  DDPMTS_LAUNCH(device, cosine_loss_forward, args);
  if (!student_needs_grad(features)) return loss;
  record(loss, [features, args, device](const Tensor& grad) {
    kernels::CosineLossArgs back = args;
    back.loss = nullptr;
    back.grad_loss = grad.data<float>();
    std::vector<Tensor> grads = make_student_grads(features, back.features);
    DDPMTS_LAUNCH(device, cosine_loss_backward, back);
    for (std::size_t k = 0; k < grads.size(); ++k) add_grad(features.student[k], std::move(grads[k]));
  });
  return loss;
}

std::vector<Tensor> cosine_distances(const FeaturePair& features) {
  kernels::CosineLossArgs args;
  args.features = feature_levels(features);
  const Device device = features.student[0].device();
  std::vector<Tensor> distances;
  for (int k = 0; k < args.features.count; ++k) {
    kernels::FeatureLevel& level = args.features.level[k];
    distances.push_back(Tensor::empty({args.features.n, level.h, level.w}, DType::f32, device));
    level.distance = distances.back().data<float>();
  }
  DDPMTS_LAUNCH(device, cosine_loss_forward, args);
  return distances;
}

Tensor feature_product(const FeaturePair& features) {
  kernels::FeatureProductArgs args;
  args.features = feature_levels(features);
  const Device device = features.student[0].device();
  args.out_h = args.features.level[0].h;
  args.out_w = args.features.level[0].w;
  std::int64_t channels = 0;
  for (const Tensor& t : features.teacher) channels += t.dim(3);
  Tensor out = Tensor::empty({args.features.n, args.out_h, args.out_w, channels}, args.features.type, device);
  args.out = out.raw();
  {
    const Tensor workspace = Tensor::empty({feature_product_workspace(args.features)}, DType::f32, device);
    args.workspace = workspace.data<float>();
    DDPMTS_LAUNCH(device, feature_product_forward, args);
  }
  if (!student_needs_grad(features)) return out;
  record(out, [features, args, device](const Tensor& grad) {
    kernels::FeatureProductArgs back = args;
    back.out = nullptr;
    back.grad_out = grad.raw();
    const Tensor workspace = Tensor::empty({feature_product_workspace(args.features)}, DType::f32, device);
    back.workspace = workspace.data<float>();
    std::vector<Tensor> grads = make_student_grads(features, back.features);
    DDPMTS_LAUNCH(device, feature_product_backward, back);
    for (std::size_t k = 0; k < grads.size(); ++k) add_grad(features.student[k], std::move(grads[k]));
  });
  return out;
}

SegmentationLoss segmentation_loss(const Tensor& logits, const Tensor& mask,
                                   const SegmentationLossOptions& options) {
  require_float("segmentation_loss", logits);
  if (logits.shape() != Shape{mask.dim(0), mask.dim(1), mask.dim(2), 1} || mask.shape().rank() != 3 ||
      mask.type() != DType::u8) {
    throw_error<ShapeError>("segmentation_loss: logits {} and a {} mask {}", logits.shape().text(),
                            name_of(mask.type()), mask.shape().text());
  }
  const Device device = logits.device();
  SegmentationLoss result{Tensor::empty({1}, DType::f32, device), Tensor::empty({3}, DType::f32, device)};
  kernels::SegmentationLossArgs args;
  args.type = logits.type();
  args.count = logits.count();
  args.logits = logits.raw();
  args.mask = mask.data<std::uint8_t>();
  args.gamma = options.gamma;
  args.focal_weight = options.focal_weight;
  args.l1_weight = options.l1_weight;
  args.loss = result.terms.data<float>();
  DDPMTS_LAUNCH(device, segmentation_loss_forward, args);
  copy_bytes(result.total.raw(), device, result.terms.raw(), device, sizeof(float));
  if (!grad_enabled() || !logits.needs_grad()) return result;
  record(result.total, [logits, mask, args, device](const Tensor& grad) {
    kernels::SegmentationLossArgs back = args;
    back.loss = nullptr;
    back.grad_loss = grad.data<float>();
    Tensor grad_logits = Tensor::empty(logits.shape(), logits.type(), device);
    back.grad_logits = grad_logits.raw();
    DDPMTS_LAUNCH(device, segmentation_loss_backward, back);
    add_grad(logits, std::move(grad_logits));
  });
  return result;
}

}  // namespace ddpmts
