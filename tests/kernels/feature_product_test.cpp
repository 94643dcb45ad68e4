#include "kernels/feature_product.h"

#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Buffer;

struct Shape {
  std::int64_t h, w, channels;
};

struct Case {
  std::int64_t n, out_h, out_w;
  std::vector<Shape> levels;
};

const std::vector<Case> kCases = {
    {1, 1, 1, {{1, 1, 1}}},
    {2, 8, 8, {{8, 8, 64}, {4, 4, 128}, {2, 2, 5}}},
    {1, 7, 13, {{3, 5, 3}, {7, 13, 65}, {1, 1, 32}}},
    {2, 5, 3, {{7, 13, 33}}},                 // smaller than the level
    {1, 40, 44, {{2, 2, 3}, {5, 11, 1}}},     // many output pixels between two source pixels
    {1, 16, 16, {{16, 8, 40}, {4, 16, 31}}},  // one axis alone
};

/// One axis of the interpolation, as a dense matrix [out, source].
std::vector<std::vector<double>> axis_matrix(std::int64_t out, std::int64_t source) {
  std::vector<std::vector<double>> matrix(static_cast<std::size_t>(out),
                                          std::vector<double>(static_cast<std::size_t>(source)));
  for (std::int64_t i = 0; i < out; ++i) {
    const double centre = (double(i) + 0.5) * double(source) / double(out) - 0.5;
    const double position = std::max(0.0, centre);
    const std::int64_t first = std::min(static_cast<std::int64_t>(position), source - 1);
    const std::int64_t second = std::min(first + 1, source - 1);
    auto& row = matrix[static_cast<std::size_t>(i)];
    row[static_cast<std::size_t>(first)] += 1.0 - (position - double(first));
    row[static_cast<std::size_t>(second)] += position - double(first);
  }
  return matrix;
}

/// −T̂ ⊙ Ŝ of one level, in double.
std::vector<double> products_of(const std::vector<float>& teacher, const std::vector<double>& student,
                                std::size_t channels) {
  std::vector<double> products(teacher.size());
  for (std::size_t i = 0; i < teacher.size(); i += channels) {
    double tt = 0.0, ss = 0.0;
    for (std::size_t c = i; c < i + channels; ++c) {
      tt += double(teacher[c]) * double(teacher[c]);
      ss += student[c] * student[c];
    }
    const double norms = (std::sqrt(tt) + double(kNormEpsilon)) * (std::sqrt(ss) + double(kNormEpsilon));
    for (std::size_t c = i; c < i + channels; ++c) products[c] = -double(teacher[c]) * student[c] / norms;
  }
  return products;
}

/// A case with its memory, and its plain twin.
class Problem {
 public:
  Problem(DType type, const Case& shapes, std::uint64_t seed) : type_(type), case_(shapes) {
    std::int64_t channels = 0;
    for (const Shape& s : case_.levels) {
      const std::int64_t count = case_.n * s.h * s.w * s.channels;
      teacher.emplace_back(type, test::random_floats(count, ++seed));
      student.emplace_back(type, test::random_floats(count, ++seed));
      student_grad.emplace_back(type, count);
      channels += s.channels;
    }
    const std::int64_t count = case_.n * case_.out_h * case_.out_w * channels;
    out = Buffer(type, count);
    grad_out = Buffer(type, test::random_floats(count, ++seed));
    channels_ = static_cast<std::size_t>(channels);
  }

  FeatureProductArgs args() {
    FeatureProductArgs a;
    a.features.type = type_;
    a.features.n = case_.n;
    a.features.count = static_cast<int>(case_.levels.size());
    for (std::size_t k = 0; k < case_.levels.size(); ++k) {
      const Shape& s = case_.levels[k];
      a.features.level[k] = FeatureLevel{
          s.h, s.w, s.channels, teacher[k].data(), student[k].data(), nullptr, student_grad[k].data()};
    }
    a.out_h = case_.out_h;
    a.out_w = case_.out_w;
    a.out = out.data();
    a.grad_out = grad_out.data();
    workspace_.assign(static_cast<std::size_t>(feature_product_workspace(a.features)), std::nanf(""));
    a.workspace = workspace_.data();
    return a;
  }

  /// Σ_k over levels, by the dense matrices: f(level, source element, output element, weight).
  template <class F>
  void for_each_weight(F f) const {
    std::size_t offset = 0;
    for (std::size_t k = 0; k < case_.levels.size(); ++k) {
      const Shape& s = case_.levels[k];
      const auto rows = axis_matrix(case_.out_h, s.h), columns = axis_matrix(case_.out_w, s.w);
      const std::size_t h = rows[0].size(), w = columns[0].size(), c = static_cast<std::size_t>(s.channels);
      for (std::size_t n = 0; n < static_cast<std::size_t>(case_.n); ++n) {
        for (std::size_t oy = 0; oy < rows.size(); ++oy) {
          for (std::size_t ox = 0; ox < columns.size(); ++ox) {
            for (std::size_t y = 0; y < h; ++y) {
              for (std::size_t x = 0; x < w; ++x) {
                const double weight = rows[oy][y] * columns[ox][x];
                if (weight == 0.0) continue;
                const std::size_t output =
                    ((n * rows.size() + oy) * columns.size() + ox) * channels_ + offset;
                for (std::size_t i = 0; i < c; ++i) f(k, ((n * h + y) * w + x) * c + i, output + i, weight);
              }
            }
          }
        }
      }
      offset += c;
    }
  }

  std::vector<double> twin_out() const {
    std::vector<std::vector<double>> products;
    for (std::size_t k = 0; k < student.size(); ++k)
      products.push_back(level_products(k, doubles(student[k])));
    std::vector<double> result(out.count());
    for_each_weight([&](std::size_t k, std::size_t source, std::size_t output, double weight) {
      result[output] += weight * products[k][source];
    });
    return result;
  }

  /// dL/dproduct of every level, for L = Σ out·grad_out.
  std::vector<std::vector<double>> twin_product_grad() const {
    std::vector<std::vector<double>> result;
    for (const Buffer& b : student) result.emplace_back(b.count());
    for_each_weight([&](std::size_t k, std::size_t source, std::size_t output, double weight) {
      result[k][source] += weight * double(grad_out[output]);
    });
    return result;
  }

  std::vector<double> level_products(std::size_t k, const std::vector<double>& values) const {
    return products_of(teacher[k].floats(), values, static_cast<std::size_t>(case_.levels[k].channels));
  }
  static std::vector<double> doubles(const Buffer& b) {
    const std::vector<float> f = b.floats();
    return std::vector<double>(f.begin(), f.end());
  }

  std::vector<Buffer> teacher, student, student_grad;
  Buffer out, grad_out;

 private:
  DType type_;
  Case case_;
  std::size_t channels_ = 0;
  test::Array<float> workspace_;
};

TEST(FeatureProduct, ForwardMatchesThePlainTwin) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (std::size_t i = 0; i < kCases.size(); ++i) {
        SCOPED_TRACE(::testing::Message() << name_of(type) << " case " << i);
        Problem run(type, kCases[i], 100 * i);
        const FeatureProductArgs args = run.args();
        DDPMTS_RUN_KERNEL(isa, feature_product_forward, args);
        const std::vector<double> expected = run.twin_out();
        for (std::size_t j = 0; j < expected.size(); ++j) {
          const double room = type == DType::bf16 ? 0x1p-8 * std::abs(expected[j]) : 0.0;
          ASSERT_NEAR(run.out[j], expected[j], room + 4e-6) << j;
        }
      }
    }
  });
}

// The twin's gradient is a central difference, in double, of Σ product·(dL/dproduct) at one position.
TEST(FeatureProduct, BackwardMatchesFiniteDifferencesOfTheTwin) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (std::size_t i = 0; i < kCases.size(); ++i) {
        Problem run(type, kCases[i], 100 * i + 50);
        const FeatureProductArgs args = run.args();
        DDPMTS_RUN_KERNEL(isa, feature_product_backward, args);
        const std::vector<std::vector<double>> product_grad = run.twin_product_grad();
        for (std::size_t k = 0; k < run.student.size(); ++k) {
          SCOPED_TRACE(::testing::Message() << name_of(type) << " case " << i << " level " << k);
          const std::size_t c = static_cast<std::size_t>(kCases[i].levels[k].channels);
          const std::vector<float> teacher = run.teacher[k].floats();
          std::vector<double> student = Problem::doubles(run.student[k]);
          for (std::size_t j = 0; j < student.size(); ++j) {
            const std::size_t begin = j / c * c;
            const std::vector<float> t(teacher.begin() + static_cast<std::ptrdiff_t>(begin),
                                       teacher.begin() + static_cast<std::ptrdiff_t>(begin + c));
            std::vector<double> s(student.begin() + static_cast<std::ptrdiff_t>(begin),
                                  student.begin() + static_cast<std::ptrdiff_t>(begin + c));
            double size = 0.0;
            for (const double x : s) size += x * x;
            const double step = 1e-5 * std::sqrt(size);
            double loss[2] = {0.0, 0.0};
            for (const int side : {0, 1}) {
              s[j - begin] = student[j] + (side == 0 ? -step : step);
              const std::vector<double> p = products_of(t, s, c);
              for (std::size_t q = 0; q < c; ++q) loss[side] += p[q] * product_grad[k][begin + q];
            }
            const double slope = (loss[1] - loss[0]) / (2.0 * step);
            const double room = type == DType::bf16 ? 0x1p-8 * std::abs(slope) : 0.0;
            // A one-channel product is ±1 whatever the size: its gradient is a difference of equal numbers.
            double grad_size = 0.0;
            for (std::size_t q = 0; q < c; ++q) grad_size += std::abs(product_grad[k][begin + q]);
            ASSERT_NEAR(run.student_grad[k][j], slope, room + 2e-6 * (1.0 + grad_size / std::sqrt(size)))
                << j;
          }
        }
      }
    }
  });
}

TEST(FeatureProduct, ZeroVectorsGiveZerosAndAFiniteGradient) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      Problem run(type, {1, 4, 4, {{2, 2, 65}, {4, 4, 65}}}, 7);
      for (std::size_t k = 0; k < 2; ++k) {
        for (std::size_t c = 0; c < run.student[k].count(); ++c) run.student[k].set(c, 0.0f);
      }
      for (std::size_t c = 0; c < 65; ++c) run.teacher[0].set(c, 0.0f);
      const FeatureProductArgs args = run.args();
      DDPMTS_RUN_KERNEL(isa, feature_product_forward, args);
      DDPMTS_RUN_KERNEL(isa, feature_product_backward, args);
      for (std::size_t j = 0; j < run.out.count(); ++j) ASSERT_EQ(run.out[j], 0.0f) << j;
      for (std::size_t k = 0; k < 2; ++k) {
        for (std::size_t j = 0; j < run.student_grad[k].count(); ++j)
          ASSERT_EQ(run.student_grad[k][j], 0.0f) << j;
      }
    }
  });
}

#if DDPMTS_CPU_TESTS
TEST(FeatureProduct, SameBitsWhateverTheThreadCount) {
  const int threads = omp_get_max_threads();
  std::vector<Problem> runs;
  for (const int count : {1, 2, 5}) {
    omp_set_num_threads(count);
    runs.emplace_back(DType::bf16, kCases[1], 9);
    const FeatureProductArgs args = runs.back().args();
    cpu::feature_product_forward(args);
    cpu::feature_product_backward(args);
  }
  omp_set_num_threads(threads);
  for (const Problem& run : runs) {
    EXPECT_EQ(run.out.bytes(), runs[0].out.bytes());
    for (std::size_t k = 0; k < run.student_grad.size(); ++k) {
      EXPECT_EQ(run.student_grad[k].bytes(), runs[0].student_grad[k].bytes());
    }
  }
}
#endif

}  // namespace
}  // namespace ddpmts::kernels
