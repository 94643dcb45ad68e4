#include "engine/cuda/conv_product.h"

#include <algorithm>

#include "engine/cuda/context.h"
#include "engine/cuda/device_kernels.h"
#include "engine/cuda/matmul.h"
#include "engine/memory.h"

namespace ddpmts::cuda {
namespace {

const std::byte* at(const void* data, std::int64_t elements, DType type) {
  return static_cast<const std::byte*>(data) + static_cast<std::size_t>(elements) * size_of(type);
}
std::byte* at(void* data, std::int64_t elements, DType type) {
  return static_cast<std::byte*>(data) + static_cast<std::size_t>(elements) * size_of(type);
}

// Images whose unfolded windows fit the workspace limit, at least one.
std::int64_t images_at_once(const ConvPlanKey& key, DType columns) {
  const ConvShape& s = key.shape;
  const std::int64_t bytes =
      s.out_h() * s.out_w() * s.r * s.s * s.c * static_cast<std::int64_t>(size_of(columns));
  return std::clamp(key.workspace_limit / std::max(bytes, std::int64_t{1}), std::int64_t{1}, s.n);
}

// f(first image, shape of this part): parts of at most images_at_once.
template <class F>
void for_each_part(const ConvPlanKey& key, DType columns, F&& f) {
  const std::int64_t most = images_at_once(key, columns);
  for (std::int64_t first = 0; first < key.shape.n; first += most) {
    ConvShape part = key.shape;
    part.n = std::min(most, key.shape.n - first);
    f(first, part);
  }
}

std::int64_t rows(const ConvShape& s) { return s.n * s.out_h() * s.out_w(); }
std::int64_t window(const ConvShape& s) { return s.r * s.s * s.c; }

Buffer columns_buffer(const ConvPlanKey& key, DType type) {
  const std::int64_t images = images_at_once(key, type);
  const std::int64_t elements = images * key.shape.out_h() * key.shape.out_w() * window(key.shape);
  return {{DeviceType::cuda, key.device}, static_cast<std::size_t>(elements) * size_of(type)};
}

}  // namespace

void conv_product_forward(const ConvPlanKey& key, const void* x, const void* w, float* sum) {
  const ConvShape& s = key.shape;
  const Buffer columns = columns_buffer(key, s.type);
  for_each_part(key, s.type, [&](std::int64_t first, const ConvShape& part) {
    unfold({part, at(x, first * s.h * s.w * s.c, s.type), columns.data()}, kernel_stream(key.device));
    const MatmulShape shape{rows(part), s.k, window(s), false, true, s.type, DType::f32};
    product(key.device, shape, columns.data(), w, nullptr, false,
            at(sum, first * s.out_h() * s.out_w() * s.k, DType::f32));
  });
}

void conv_product_backward_data(const ConvPlanKey& key, const void* dy, const void* w, void* dx) {
  const ConvShape& s = key.shape;
  const Buffer columns = columns_buffer(key, DType::f32);
  for_each_part(key, DType::f32, [&](std::int64_t first, const ConvShape& part) {
    const MatmulShape shape{rows(part), window(s), s.k, false, false, s.type, DType::f32};
    product(key.device, shape, at(dy, first * s.out_h() * s.out_w() * s.k, s.type), w, nullptr, false,
            columns.data());
    fold({part, static_cast<const float*>(columns.data()), at(dx, first * s.h * s.w * s.c, s.type)},
         kernel_stream(key.device));
  });
}

void conv_product_backward_weights(const ConvPlanKey& key, const void* x, const void* dy, float* dw) {
  const ConvShape& s = key.shape;
  const Buffer columns = columns_buffer(key, s.type);
  for_each_part(key, s.type, [&](std::int64_t first, const ConvShape& part) {
    unfold({part, at(x, first * s.h * s.w * s.c, s.type), columns.data()}, kernel_stream(key.device));
    const MatmulShape shape{s.k, window(s), rows(part), true, false, s.type, DType::f32};
    product(key.device, shape, at(dy, first * s.out_h() * s.out_w() * s.k, s.type), columns.data(), nullptr,
            first > 0, dw);
  });
}

}  // namespace ddpmts::cuda
