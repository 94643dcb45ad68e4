// Attention (contract: engine/primitives.h) from oneDNN's matrix products and our softmax, one head of one picture per
// task. Its queries, keys and values are gathered into dense arrays (64 KiB each for 1024 tokens of 32 channels), and the
// logits are made for a few rows at a time, so that nothing of size tokens² leaves the second cache or is kept for the
// backward pass, which makes the logits again.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <optional>

#include "engine/cpu/matmul.h"
#include "engine/cpu/primitives.h"
#include "kernels/elementwise.h"
#include "kernels/softmax.h"

namespace ddpmts::cpu {
namespace {

constexpr std::int64_t kLogits = 1 << 16;  // values of the logits that are made at a time
constexpr std::int64_t kFewestRows = 32;   // matrix products with fewer rows leave the units idle

// [tokens, width] among rows of `stride` values.
struct Slice {
  char* first;
  std::size_t row_bytes, stride_bytes;

  void gather(std::int64_t rows, void* dense) const {
    for (std::int64_t t = 0; t < rows; ++t) {
      std::memcpy(static_cast<char*>(dense) + static_cast<std::size_t>(t) * row_bytes,
                  first + static_cast<std::size_t>(t) * stride_bytes, row_bytes);
    }
  }
  void scatter(std::int64_t rows, const void* dense) const {
    for (std::int64_t t = 0; t < rows; ++t) {
      std::memcpy(first + static_cast<std::size_t>(t) * stride_bytes,
                  static_cast<const char*>(dense) + static_cast<std::size_t>(t) * row_bytes, row_bytes);
    }
  }
};

// Head `head` of picture `picture` in an array whose rows hold `parts`·channels values, from part `part`.
Slice head_of(const AttentionShape& s, const void* data, std::int64_t parts, std::int64_t part,
              std::int64_t picture, std::int64_t head) {
  const std::size_t size = size_of(s.type);
  const std::int64_t stride = parts * s.channels();
  const std::int64_t offset = picture * s.tokens * stride + part * s.channels() + head * s.head_channels;
  return {const_cast<char*>(static_cast<const char*>(data)) + static_cast<std::size_t>(offset) * size,
          static_cast<std::size_t>(s.head_channels) * size, static_cast<std::size_t>(stride) * size};
}

// A thread's scratch, and the products and passes on it.
class Workspace {
 public:
  explicit Workspace(const AttentionShape& shape)
      : s_(shape), rows_(std::clamp(kLogits / s_.tokens, std::min(kFewestRows, s_.tokens), s_.tokens)) {
    for (Buffer* dense : {&q, &k, &v, &out}) *dense = dense_buffer();
    logits = Buffer({}, static_cast<std::size_t>(rows_ * s_.tokens) * sizeof(float));
    probabilities = Buffer({}, static_cast<std::size_t>(rows_ * s_.tokens) * size_of(s_.type));
  }

  Buffer dense_buffer() const { return {{}, static_cast<std::size_t>(dense_count()) * size_of(s_.type)}; }
  std::int64_t dense_count() const { return s_.tokens * s_.head_channels; }
  std::int64_t block_rows() const { return rows_; }
  // Row `row` of a dense array.
  void* row(const Buffer& dense, std::int64_t row) const {
    return static_cast<char*>(dense.data()) +
           static_cast<std::size_t>(row * s_.head_channels) * size_of(s_.type);
  }

  void gather(const void* qkv, std::int64_t picture, std::int64_t head) const {
    const Buffer* parts[] = {&q, &k, &v};
    for (std::int64_t part = 0; part < 3; ++part) {
      head_of(s_, qkv, 3, part, picture, head).gather(s_.tokens, parts[part]->data());
    }
  }

  // Probabilities of `rows` queries from `first` on.
  void attend(std::int64_t first, std::int64_t rows) const {
    matmul({rows, s_.tokens, s_.head_channels, false, true, s_.type, DType::f32}, row(q, first), k.data(),
           nullptr, logits.data());
    kernels::SoftmaxArgs args = softmax_args(rows);
    args.x = static_cast<const float*>(logits.data());
    kernels::cpu::softmax_forward(args);
  }

  kernels::SoftmaxArgs softmax_args(std::int64_t rows) const {
    kernels::SoftmaxArgs args;
    args.type = s_.type;
    args.rows = rows;
    args.columns = s_.tokens;
    args.scale = 1.0f / std::sqrt(static_cast<float>(s_.head_channels));
    args.y = probabilities.data();
    return args;
  }

  Buffer q, k, v, out;   // [tokens, head_channels]; out: results, or their gradient in the backward pass
  Buffer logits;         // [block_rows, tokens] f32
  Buffer probabilities;  // [block_rows, tokens]

 private:
  AttentionShape s_;
  std::int64_t rows_;
};

void cast(std::int64_t count, const float* from, DType type, void* to) {
  kernels::CastArgs args;
  args.count = count;
  args.src = from;
  args.dst = to;
  args.dst_type = type;
  kernels::cpu::cast(args);
}

void forward_head(const AttentionShape& s, const Workspace& w, const void* qkv, void* out,
                  std::int64_t picture, std::int64_t head) {
  w.gather(qkv, picture, head);
  for (std::int64_t first = 0; first < s.tokens; first += w.block_rows()) {
    const std::int64_t rows = std::min(w.block_rows(), s.tokens - first);
    w.attend(first, rows);
    matmul({rows, s.head_channels, s.tokens, false, false, s.type, s.type}, w.probabilities.data(),
           w.v.data(), nullptr, w.row(w.out, first));
  }
  head_of(s, out, 1, 0, picture, head).scatter(s.tokens, w.out.data());
}

// What the backward pass needs besides.
struct BackwardWorkspace : Workspace {
  explicit BackwardWorkspace(const AttentionShape& shape)
      : Workspace(shape),
        dq(dense_buffer()),
        dk({}, static_cast<std::size_t>(dense_count()) * sizeof(float)),
        dv({}, static_cast<std::size_t>(dense_count()) * sizeof(float)),
        dprobabilities({}, probabilities.bytes()) {}

  Buffer dq;              // [tokens, head_channels]
  Buffer dk, dv;          // the same in f32: sums over the blocks of rows
  Buffer dprobabilities;  // [block_rows, tokens], then the gradient of the logits, rounded
};

void backward_head(const AttentionShape& s, const BackwardWorkspace& w, const void* qkv, const void* dout,
                   void* dqkv, std::int64_t picture, std::int64_t head) {
  w.gather(qkv, picture, head);
  head_of(s, dout, 1, 0, picture, head).gather(s.tokens, w.out.data());
  float* dk = static_cast<float*>(w.dk.data());
  float* dv = static_cast<float*>(w.dv.data());
  float* dlogits = static_cast<float*>(w.logits.data());  // the logits themselves are not needed any more
  for (std::int64_t first = 0; first < s.tokens; first += w.block_rows()) {
    const std::int64_t rows = std::min(w.block_rows(), s.tokens - first);
    w.attend(first, rows);
    const MatmulShape sum_over_rows{s.tokens, s.head_channels, rows, true, false, s.type, DType::f32};
    const auto add_product = [&](const void* a, const void* b, float* sum) {
      first == 0 ? matmul(sum_over_rows, a, b, nullptr, sum) : matmul_accumulate(sum_over_rows, a, b, sum);
    };
    add_product(w.probabilities.data(), w.row(w.out, first), dv);
    matmul({rows, s.tokens, s.head_channels, false, true, s.type, s.type}, w.row(w.out, first), w.v.data(),
           nullptr, w.dprobabilities.data());
    kernels::SoftmaxArgs args = w.softmax_args(rows);
    args.dy = w.dprobabilities.data();
    args.dx = dlogits;
    kernels::cpu::softmax_backward(args);
    cast(rows * s.tokens, dlogits, s.type, w.dprobabilities.data());
    matmul({rows, s.head_channels, s.tokens, false, false, s.type, s.type}, w.dprobabilities.data(),
           w.k.data(), nullptr, w.row(w.dq, first));
    add_product(w.dprobabilities.data(), w.row(w.q, first), dk);
  }
  head_of(s, dqkv, 3, 0, picture, head).scatter(s.tokens, w.dq.data());
  cast(w.dense_count(), dk, s.type, w.k.data());
  head_of(s, dqkv, 3, 1, picture, head).scatter(s.tokens, w.k.data());
  cast(w.dense_count(), dv, s.type, w.v.data());
  head_of(s, dqkv, 3, 2, picture, head).scatter(s.tokens, w.v.data());
}

// Calls f(workspace, picture, head) for every head of every picture, on all threads.
template <class Scratch, class F>
void for_each_head(const AttentionShape& s, F f) {
  std::exception_ptr failure;
#pragma omp parallel if (s.n * s.heads > 1)
  {
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);  // what is called from here runs on this thread alone, and is planned for that
    std::optional<Scratch> scratch;
#pragma omp for schedule(static)
    for (std::int64_t task = 0; task < s.n * s.heads; ++task) {
      try {
        if (!scratch) scratch.emplace(s);
        f(*scratch, task / s.heads, task % s.heads);
      } catch (...) {
#pragma omp critical
        failure = std::current_exception();
      }
    }
    omp_set_num_threads(threads);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

std::size_t attention_saved_bytes(const AttentionShape&) { return 0; }

void attention_forward(const AttentionShape& s, const void* qkv, void* out, void*) {
  for_each_head<Workspace>(s, [&](const Workspace& w, std::int64_t picture, std::int64_t head) {
    forward_head(s, w, qkv, out, picture, head);
  });
}

void attention_backward(const AttentionShape& s, const void* qkv, const void*, const void*, const void* dout,
                        void* dqkv) {
  for_each_head<BackwardWorkspace>(s,
                                   [&](const BackwardWorkspace& w, std::int64_t picture, std::int64_t head) {
                                     backward_head(s, w, qkv, dout, dqkv, picture, head);
                                   });
}

}  // namespace ddpmts::cpu
