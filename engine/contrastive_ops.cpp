#include "engine/contrastive_ops.h"

#include "engine/primitives.h"
#include "kernels/contrastive_loss.h"
#include "kernels/normalize_rows.h"

namespace ddpmts {

ContrastiveLoss contrastive_loss(const Tensor& embeddings, float temperature) {
  if (embeddings.type() != DType::f32 && embeddings.type() != DType::bf16) {
    throw_error<ShapeError>("contrastive_loss: takes f32 or bf16, not {}", name_of(embeddings.type()));
  }
  const std::int64_t rows = embeddings.shape().rank() > 1 ? embeddings.dim(0) : 0;
  if (rows < 4 || rows % 2 != 0 || embeddings.count() == 0) {
    throw_error<ShapeError>("contrastive_loss: {} does not hold two or more pairs of embeddings",
                            embeddings.shape().text());
  }
  if (!(temperature >= 0.025f)) {
    throw_error("contrastive_loss: the temperature is {}; it must be at least 0.025", temperature);
  }
  const Device device = embeddings.device();
  const std::int64_t columns = embeddings.count() / rows;
  const Tensor unit = Tensor::empty({rows, columns}, DType::f32, device);
  const Tensor inverse_norms = Tensor::empty({rows}, DType::f32, device);
  kernels::NormalizeRowsArgs normalize;
  normalize.type = embeddings.type();
  normalize.rows = rows;
  normalize.columns = columns;
  normalize.x = embeddings.raw();
  normalize.y = unit.data<float>();
  normalize.inverse_norms = inverse_norms.data<float>();
  DDPMTS_LAUNCH(device, normalize_rows_forward, normalize);

  const Tensor similarities = Tensor::empty({rows, rows}, DType::f32, device);
  matmul(device, {rows, rows, columns, false, true}, unit.raw(), unit.raw(), nullptr, similarities.raw());
  const Tensor sums = Tensor::empty({rows}, DType::f32, device);
  const ContrastiveLoss result{Tensor::empty({1}, DType::f32, device),
                               Tensor::empty({1}, DType::f32, device)};
  kernels::ContrastiveLossArgs args;
  args.n = rows;
  args.temperature = temperature;
  args.similarities = similarities.data<float>();
  args.sums = sums.data<float>();
  args.loss = result.total.data<float>();
  args.accuracy = result.accuracy.data<float>();
  DDPMTS_LAUNCH(device, contrastive_loss_forward, args);
  if (!grad_enabled() || !embeddings.needs_grad()) return result;

  record(result.total, [=](const Tensor& grad) {
    const Tensor dsimilarities = Tensor::empty({rows, rows}, DType::f32, device);
    kernels::ContrastiveLossArgs back = args;
    back.similarities = similarities.data<float>();  // holds what the pointers in `back` point to
    back.sums = sums.data<float>();
    back.loss = back.accuracy = nullptr;
    back.grad_loss = grad.data<float>();
    back.similarities_grad = dsimilarities.data<float>();
    DDPMTS_LAUNCH(device, contrastive_loss_backward, back);
    const Tensor dunit = Tensor::empty({rows, columns}, DType::f32, device);
    matmul(device, {rows, columns, rows}, dsimilarities.raw(), unit.raw(), nullptr, dunit.raw());
    Tensor dembeddings = Tensor::empty(embeddings.shape(), embeddings.type(), device);
    kernels::NormalizeRowsArgs back_to_rows = normalize;
    back_to_rows.x = nullptr;
    back_to_rows.inverse_norms = inverse_norms.data<float>();
    back_to_rows.dy = dunit.data<float>();
    back_to_rows.dx = dembeddings.raw();
    DDPMTS_LAUNCH(device, normalize_rows_backward, back_to_rows);
    add_grad(embeddings, std::move(dembeddings));
  });
  return result;
}

}  // namespace ddpmts
