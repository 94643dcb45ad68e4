#include "engine/nearest_neighbour.h"

#include <algorithm>

#include "engine/primitive_trace.h"
#include "engine/primitives.h"
#include "kernels/nearest_neighbour.h"

namespace ddpmts {
namespace {

// Products of one block of queries with one chunk of the bank: 2 MiB, so that they are read back from the cache.
constexpr std::int64_t kChunkVectors = 512;
constexpr std::int64_t kBlockRows = 1024;

void require_vectors(const char* what, const Tensor& x) {
  if (x.shape().rank() != 2 || x.dim(0) < 1 || x.dim(1) < 1 ||
      (x.type() != DType::f32 && x.type() != DType::bf16)) {
    throw_error<ShapeError>("{} must be [count, channels] in f32 or bf16, not {} {}", what, name_of(x.type()),
                            x.shape().text());
  }
}

Tensor squared_norms(const Tensor& x, std::int64_t channels) {
  Tensor norms = Tensor::empty({x.count() / channels}, DType::f32, x.device());
  const kernels::SquaredNormsArgs args{x.type(), norms.dim(0), channels, x.raw(), norms.data<float>()};
  DDPMTS_LAUNCH(x.device(), squared_norms, args);
  return norms;
}

const std::byte* row_of(const Tensor& x, std::int64_t row, std::int64_t channels) {
  return static_cast<const std::byte*>(x.raw()) +
         static_cast<std::size_t>(row * channels) * size_of(x.type());
}

}  // namespace

VectorBank::VectorBank(Tensor vectors) : vectors_(std::move(vectors)) {
  require_vectors("a bank", vectors_);
  if (!vectors_.device().is_cuda() && cpu::PackedBank::possible(vectors_.type(), vectors_.dim(1))) {
    const std::vector<float> norms = squared_norms(vectors_, vectors_.dim(1)).to_floats();
    packed_ = cpu::PackedBank(vectors_.data<bf16>(), norms, vectors_.dim(1));
    return;
  }
  for (std::int64_t begin = 0; begin < vectors_.dim(0); begin += kChunkVectors) {
    const std::int64_t count = std::min(kChunkVectors, vectors_.dim(0) - begin);
    Tensor chunk = vectors_.slice(begin, count);
    Tensor norms = squared_norms(chunk, chunk.dim(1));
    chunks_.push_back({std::move(chunk), std::move(norms)});
  }
}

Tensor VectorBank::distances(const Tensor& queries) const {
  const std::int64_t channels = vectors_.dim(1);
  const int rank = queries.shape().rank();
  if (rank < 1 || queries.dim(rank - 1) != channels || queries.type() != vectors_.type()) {
    throw_error<ShapeError>("queries {} {} do not fit a bank {} {}", name_of(queries.type()),
                            queries.shape().text(), name_of(vectors_.type()), vectors_.shape().text());
  }
  const Device device = queries.device();
  const std::int64_t rows = queries.count() / channels;
  const Tensor row_norms = squared_norms(queries, channels);
  Tensor distance = Tensor::empty({rows}, DType::f32, device);
  if (packed_) {
    PrimitiveTrace::note_flops(2.0 * static_cast<double>(rows * vectors_.count()));
    traced(device, "packed_bank_search", [&] {
      packed_.distances(rows, queries.data<bf16>(), row_norms.data<float>(), distance.data<float>());
    });
    return distance;
  }
  const std::int64_t widest = chunks_.front().vectors.dim(0);
  const Tensor products = Tensor::empty({std::min(kBlockRows, rows) * widest}, DType::f32, device);
  for (std::int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const std::int64_t count = std::min(kBlockRows, rows - begin);
    for (const Chunk& chunk : chunks_) {
      const std::int64_t columns = chunk.vectors.dim(0);
      matmul(device, {count, columns, channels, false, true, queries.type(), DType::f32},
             row_of(queries, begin, channels), chunk.vectors.raw(), nullptr, products.raw());
      kernels::NearestUpdateArgs args;
      args.rows = count;
      args.columns = columns;
      args.products = products.data<float>();
      args.column_norms = chunk.norms.data<float>();
      args.row_norms = row_norms.data<float>() + begin;
      args.first = &chunk == &chunks_.front();
      args.last = &chunk == &chunks_.back();
      args.distance = distance.data<float>() + begin;
      DDPMTS_LAUNCH(device, nearest_update, args);
    }
  }
  return distance;
}

std::vector<std::int32_t> farthest_points(const Tensor& points, std::int64_t wanted) {
  require_vectors("points", points);
  if (wanted < 1 || wanted > points.dim(0)) {
    throw_error<ShapeError>("cannot choose {} of {} points", wanted, points.dim(0));
  }
  // One more than wanted: the last step's answer has nowhere else to go.
  const Tensor chosen = Tensor::zeros({wanted + 1}, DType::i32, points.device());
  const Tensor distance = Tensor::empty({points.dim(0)}, DType::f32, points.device());
  for (std::int64_t i = 0; i < wanted; ++i) {
    kernels::FarthestPointArgs args;
    args.count = points.dim(0);
    args.channels = points.dim(1);
    args.points = points.data<float>();
    args.centre = chosen.data<std::int32_t>() + i;
    args.first = i == 0;
    args.squared_distance = distance.data<float>();
    args.farthest = chosen.data<std::int32_t>() + i + 1;
    DDPMTS_LAUNCH(points.device(), farthest_point, args);
  }
  std::vector<std::int32_t> indices = chosen.to_host<std::int32_t>();
  indices.pop_back();
  return indices;
}

}  // namespace ddpmts
