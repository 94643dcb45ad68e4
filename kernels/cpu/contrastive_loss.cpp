// The contrastive loss and its gradient (contract: kernels/contrastive_loss.h).
// Layout: threads share rows; sums in f32 lanes within a row, in f64 over the rows in order.
// Bytes moved: see the contract. A few hundred rows: everything stays in the second cache.
// Variants: none.
#include "kernels/contrastive_loss.h"

#include "kernels/cpu/vector_math.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kSmall = 1 << 15;  // elements below which one thread is faster than two

/// e^((s − 1)/τ); cosines that rounding has put above 1 count as 1.
DDPMTS_INLINE Floats exponential(Floats s, float inverse_temperature) {
  const Floats below = as_written(s - 1.0f);
  return exp_of_nonpositive((below > 0.0f ? splat(0.0f) : below) * inverse_temperature);
}

std::int64_t partner_of(std::int64_t i, std::int64_t n) { return i < n / 2 ? i + n / 2 : i - n / 2; }

void loss_forward(const ContrastiveLossArgs& args) {
  const std::int64_t n = args.n;
  const float inverse_temperature = 1.0f / args.temperature;
  const Scratch<double> losses(n);
  const Scratch<int> is_found(n);
#pragma omp parallel for schedule(static) if (n * n >= kSmall)
  for (std::int64_t i = 0; i < n; ++i) {
    const float* s = args.similarities + i * n;
    const float to_partner = s[partner_of(i, n)];
    Floats sums{};
    int as_similar = 0;
    const auto add_between = [&](std::int64_t begin, std::int64_t end) DDPMTS_INLINE_LAMBDA {
      for_each_vector(end - begin, [&](std::int64_t c, std::int64_t count) DDPMTS_INLINE_LAMBDA {
        const Floats e = exponential(load_upto(s + begin + c, count), inverse_temperature);
        if (count >= kLanes) {
          sums += e;
        } else {
          for (std::int64_t k = 0; k < count; ++k) sums[0] += e[k];
        }
      });
      for (std::int64_t j = begin; j < end; ++j) as_similar += s[j] >= to_partner ? 1 : 0;
    };
    add_between(0, i);  // left and right of the row's own similarity
    add_between(i + 1, n);
    const float sum = sum_lanes(sums);
    args.sums[i] = sum;
    is_found[i] = as_similar == 1 ? 1 : 0;  // the partner itself
    losses[i] = static_cast<double>(log_of_positive(splat(sum))[0]) +
                static_cast<double>((1.0f - to_partner) * inverse_temperature);
  }
  double loss = 0.0;
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    loss += losses[i];
    found += is_found[i];
  }
  *args.loss = static_cast<float>(loss / static_cast<double>(n));
  *args.accuracy = static_cast<float>(found) / static_cast<float>(n);
}

void loss_backward(const ContrastiveLossArgs& args) {
  const std::int64_t n = args.n;
  const float inverse_temperature = 1.0f / args.temperature;
  const float scale = *args.grad_loss * inverse_temperature / static_cast<float>(n);
  const Scratch<float> shares(n);
  for (std::int64_t i = 0; i < n; ++i) shares[i] = scale / args.sums[i];
#pragma omp parallel for schedule(static) if (n * n >= kSmall)
  for (std::int64_t i = 0; i < n; ++i) {
    const float* s = args.similarities + i * n;
    float* gradient = args.similarities_grad + i * n;
    for_each_vector(n, [&](std::int64_t c, std::int64_t count) DDPMTS_INLINE_LAMBDA {
      const Floats both = as_written(load_upto(shares.data() + c, count) + shares[i]);
      store_upto(gradient + c, exponential(load_upto(s + c, count), inverse_temperature) * both, count);
    });
    gradient[partner_of(i, n)] -= 2.0f * scale;
    gradient[i] = 0.0f;
  }
}

}  // namespace

void contrastive_loss_forward(const ContrastiveLossArgs& args) {
  check(args);
  loss_forward(args);
}

void contrastive_loss_backward(const ContrastiveLossArgs& args) {
  check(args);
  loss_backward(args);
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
