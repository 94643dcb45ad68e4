#include "kernels/contrastive_loss.h"

#include <stdexcept>

#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::random_floats;

struct Twin {
  double loss = 0.0, accuracy = 0.0;
};

Twin twin_of(std::size_t n, const std::vector<double>& s, double temperature) {
  Twin twin;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t partner = (i + n / 2) % n;
    double sum = 0.0, best = -2.0;
    for (std::size_t j = 0; j < n; ++j) {
      if (j == i) continue;
      sum += std::exp(s[i * n + j] / temperature);
      if (j != partner) best = std::max(best, s[i * n + j]);
    }
    twin.loss += (std::log(sum) - s[i * n + partner] / temperature) / static_cast<double>(n);
    twin.accuracy += (s[i * n + partner] > best ? 1.0 : 0.0) / static_cast<double>(n);
  }
  return twin;
}

/// Symmetric, ones on the diagonal; some partners are the most similar, some are not.
Array<float> cosines(std::int64_t n) {
  const Array<float> numbers = random_floats(n * n, 11, -0.9f, 0.9f);
  Array<float> s(numbers.size(), 1.0f);
  const auto size = static_cast<std::size_t>(n);
  for (std::size_t i = 0; i < size; ++i) {
    for (std::size_t j = 0; j < i; ++j) s[i * size + j] = s[j * size + i] = numbers[i * size + j];
    if (i % 3 == 0) s[i * size + (i + size / 2) % size] = s[(i + size / 2) % size * size + i] = 0.95f;
  }
  return s;
}

struct Call {
  explicit Call(std::int64_t n, float temperature = 0.1f)
      : similarities(cosines(n)),
        sums(static_cast<std::size_t>(n)),
        gradient(similarities.size() + 1, -77.0f) {
    args.n = n;
    args.temperature = temperature;
    args.similarities = similarities.data();
    args.sums = sums.data();
    args.loss = loss.data();
    args.accuracy = accuracy.data();
    args.grad_loss = grad_loss.data();
    args.similarities_grad = gradient.data();
  }
  Call(const Call&) = delete;
  Array<float> similarities, sums, gradient, loss{-1.0f}, accuracy{-1.0f}, grad_loss{0.7f};
  ContrastiveLossArgs args;
};

TEST(ContrastiveLoss, MatchesThePlainTwin) {
  for (const std::int64_t n : {4, 6, 16, 34, 66, 256}) {
    for (const float temperature : {0.025f, 0.1f, 1.0f}) {
      SCOPED_TRACE(::testing::Message() << n << " rows, temperature " << temperature);
      test::for_each_isa([&](CpuIsa isa) {
        Call call(n, temperature);
        DDPMTS_RUN_KERNEL(isa, contrastive_loss_forward, call.args);
        DDPMTS_RUN_KERNEL(isa, contrastive_loss_backward, call.args);
        const auto size = static_cast<std::size_t>(n);
        const std::vector<double> s(call.similarities.begin(), call.similarities.end());
        const Twin twin = twin_of(size, s, static_cast<double>(temperature));
        EXPECT_NEAR(call.loss[0], twin.loss, 1e-5 * (1.0 + twin.loss));
        EXPECT_NEAR(call.accuracy[0], twin.accuracy, 1e-6);
        EXPECT_GT(call.accuracy[0], 0.0f);
        EXPECT_LT(call.accuracy[0], 1.0f);
        // Both orders of a pair change together; along them the twin is differentiated numerically.
        const double step = 1e-3 * static_cast<double>(temperature);
        for (const auto& [i, j] : {std::pair<std::size_t, std::size_t>{0, 1},
                                   {2, 0},
                                   {size - 1, size - 2},
                                   {0, size / 2},
                                   {size - 1, size / 2 - 1}}) {
          std::vector<double> above = s, below = s;
          for (const std::size_t at : {i * size + j, j * size + i}) {
            above[at] += step;
            below[at] -= step;
          }
          const double slope = (twin_of(size, above, static_cast<double>(temperature)).loss -
                                twin_of(size, below, static_cast<double>(temperature)).loss) /
                               (2.0 * step);
          EXPECT_NEAR(call.gradient[i * size + j], double(0.7f) * slope, 1e-5 * (1.0 + std::abs(slope)))
              << i << ", " << j;
          EXPECT_EQ(call.gradient[i * size + j], call.gradient[j * size + i]);
        }
        for (std::size_t i = 0; i < size; ++i) EXPECT_EQ(call.gradient[i * size + i], 0.0f);
        EXPECT_EQ(call.gradient.back(), -77.0f);
      });
    }
  }
}

TEST(ContrastiveLoss, EqualRowsAreAsGoodAsGuessing) {
  Call call(8);
  std::fill(call.similarities.begin(), call.similarities.end(), 1.0f);
  DDPMTS_RUN_KERNEL(CpuIsa::baseline, contrastive_loss_forward, call.args);
  EXPECT_NEAR(call.loss[0], std::log(7.0), 1e-6);
  EXPECT_EQ(call.accuracy[0], 0.0f) << "what looks like everything else is not found";
}

#if DDPMTS_CPU_TESTS
TEST(ContrastiveLoss, SameBitsWhateverTheThreadCount) {
  const int threads = omp_get_max_threads();
  test::for_each_isa([&](CpuIsa isa) {
    Call first(256);
    DDPMTS_RUN_KERNEL(isa, contrastive_loss_forward, first.args);
    DDPMTS_RUN_KERNEL(isa, contrastive_loss_backward, first.args);
    for (const int count : {1, 3}) {
      omp_set_num_threads(count);
      Call call(256);
      DDPMTS_RUN_KERNEL(isa, contrastive_loss_forward, call.args);
      DDPMTS_RUN_KERNEL(isa, contrastive_loss_backward, call.args);
      EXPECT_EQ(call.loss[0], first.loss[0]);
      EXPECT_EQ(call.gradient, first.gradient);
    }
    omp_set_num_threads(threads);
  });
}
#endif

TEST(ContrastiveLoss, NanReachesTheLoss) {
  test::for_each_isa([](CpuIsa isa) {
    Call call(34);
    call.similarities[5] = call.similarities[5 * 34] = std::nanf("");
    DDPMTS_RUN_KERNEL(isa, contrastive_loss_forward, call.args);
    EXPECT_TRUE(std::isnan(call.loss[0]));
  });
}

TEST(ContrastiveLoss, RefusesWrongArguments) {
  for (int wrong = 0; wrong < 4; ++wrong) {
    Call call(6);
    if (wrong == 0) call.args.n = 2;
    if (wrong == 1) call.args.n = 5;
    if (wrong == 2) call.args.temperature = 0.02f;
    if (wrong == 3) call.args.temperature = std::nanf("");
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, contrastive_loss_forward, call.args),
                 std::invalid_argument)
        << wrong;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, contrastive_loss_backward, call.args),
                 std::invalid_argument)
        << wrong;
  }
}

}  // namespace
}  // namespace ddpmts::kernels
