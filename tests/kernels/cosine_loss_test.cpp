#include "kernels/cosine_loss.h"

#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;

struct Shape {
  std::int64_t n, h, w, channels;
};

const std::vector<Shape> kShapes = {{1, 1, 1, 1}, {2, 3, 5, 3},     {1, 7, 13, 65},
                                    {3, 4, 4, 5}, {2, 16, 16, 256}, {1, 8, 8, 64}};

/// The plain twin: everything in double, one position after the other.
struct Twin {
  std::vector<double> distance;
  std::vector<double> gradient;  ///< of the loss with weight 1
  double loss = 0.0;
};

Twin twin_of(const Shape& s, const std::vector<float>& teacher, const std::vector<float>& student,
             double scale) {
  Twin twin;
  const std::size_t c = static_cast<std::size_t>(s.channels);
  const std::size_t positions = teacher.size() / c;
  const double weight = scale / static_cast<double>(s.h * s.w);
  twin.gradient.resize(teacher.size());
  for (std::size_t i = 0; i < positions; ++i) {
    double tt = 0.0, ss = 0.0, ts = 0.0;
    for (std::size_t j = i * c; j < (i + 1) * c; ++j) {
      tt += double(teacher[j]) * double(teacher[j]);
      ss += double(student[j]) * double(student[j]);
      ts += double(teacher[j]) * double(student[j]);
    }
    const double nt = std::sqrt(tt) + double(kNormEpsilon), ns = std::sqrt(ss) + double(kNormEpsilon);
    twin.distance.push_back(1.0 - ts / (nt * ns));
    twin.loss += weight * twin.distance.back();
    for (std::size_t j = i * c; j < (i + 1) * c && ss > 0.0; ++j) {
      twin.gradient[j] = -weight * (double(teacher[j]) / (nt * ns) -
                                    ts * double(student[j]) / (nt * ns * ns * std::sqrt(ss)));
    }
  }
  return twin;
}

/// One level with its memory.
struct Level {
  Level(DType type, const Shape& shape, std::uint64_t seed)
      : s(shape),
        count(s.n * s.h * s.w * s.channels),
        teacher(type, test::random_floats(count, seed)),
        student(type, test::random_floats(count, seed + 1)),
        student_grad(type, count),
        distance(static_cast<std::size_t>(s.n * s.h * s.w)) {}
  FeatureLevel view() {
    return FeatureLevel{
        s.h, s.w, s.channels, teacher.data(), student.data(), distance.data(), student_grad.data()};
  }
  Shape s;
  std::int64_t count;
  Buffer teacher, student, student_grad;
  Array<float> distance;
};

CosineLossArgs args_of(DType type, Level& level, float scale) {
  CosineLossArgs args;
  args.features.type = type;
  args.features.n = level.s.n;
  args.features.count = 1;
  args.features.level[0] = level.view();
  args.scale = scale;
  return args;
}

TEST(CosineLoss, MatchesThePlainTwin) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const Shape& shape : kShapes) {
        SCOPED_TRACE(::testing::Message()
                     << name_of(type) << " " << shape.h << "x" << shape.w << "x" << shape.channels);
        Level level(type, shape, 3);
        CosineLossArgs args = args_of(type, level, 0.7f);
        Array<float> loss(1, -1.0f);
        const Array<float> grad_loss(1, 3.0f);
        args.loss = loss.data();
        args.grad_loss = grad_loss.data();
        DDPMTS_RUN_KERNEL(isa, cosine_loss_forward, args);
        DDPMTS_RUN_KERNEL(isa, cosine_loss_backward, args);
        const Twin twin = twin_of(shape, level.teacher.floats(), level.student.floats(), double(0.7f));
        EXPECT_NEAR(loss[0], twin.loss, 2e-6 * (1.0 + twin.loss));
        test::expect_near(level.distance, twin.distance, twin.distance.size(), 2e-6, "distance");
        double largest = 0.0;
        for (const double g : twin.gradient) largest = std::max(largest, 3.0 * std::abs(g));
        for (std::size_t i = 0; i < twin.gradient.size(); ++i) {
          const double expected = 3.0 * twin.gradient[i];
          const double room = type == DType::bf16 ? std::abs(expected) * 0x1p-8 : 0.0;
          ASSERT_NEAR(level.student_grad[i], expected, room + 4e-6 * largest + 1e-7) << i;
        }
      }
    }
  });
}

TEST(CosineLoss, GradientMatchesFiniteDifferencesOfTheTwin) {
  const Shape shape{2, 3, 5, 5};
  Level level(DType::f32, shape, 11);
  CosineLossArgs args = args_of(DType::f32, level, 1.0f);
  const Array<float> grad_loss(1, 1.0f);
  args.grad_loss = grad_loss.data();
  test::for_each_isa([&](CpuIsa isa) { DDPMTS_RUN_KERNEL(isa, cosine_loss_backward, args); });
  const std::vector<float> teacher = level.teacher.floats();
  std::vector<float> student = level.student.floats();
  for (std::size_t i = 0; i < student.size(); ++i) {
    const float centre = student[i];
    student[i] = centre + 0x1p-10f;
    const double high = twin_of(shape, teacher, student, 1.0).loss;
    const double step_up = double(student[i]);
    student[i] = centre - 0x1p-10f;
    const double low = twin_of(shape, teacher, student, 1.0).loss;
    const double slope = (high - low) / (step_up - double(student[i]));
    student[i] = centre;
    ASSERT_NEAR(level.student_grad[i], slope, 2e-6) << i;
  }
}

TEST(CosineLoss, LevelsAddUp) {
  test::for_each_isa([](CpuIsa isa) {
    Level first(DType::bf16, {2, 7, 13, 65}, 21), second(DType::bf16, {2, 3, 5, 5}, 31);
    CosineLossArgs args = args_of(DType::bf16, first, 0.5f);
    args.features.count = 2;
    args.features.level[1] = second.view();
    Array<float> loss(1);
    args.loss = loss.data();
    DDPMTS_RUN_KERNEL(isa, cosine_loss_forward, args);
    const double expected = twin_of(first.s, first.teacher.floats(), first.student.floats(), 0.5).loss +
                            twin_of(second.s, second.teacher.floats(), second.student.floats(), 0.5).loss;
    EXPECT_NEAR(loss[0], expected, 1e-5);
  });
}

TEST(CosineLoss, TheLossNeedsNoDistancesAndNoPictures) {
  test::for_each_isa([](CpuIsa isa) {
    Level level(DType::f32, {2, 3, 5, 8}, 35);
    CosineLossArgs args = args_of(DType::f32, level, 0.5f);
    args.features.level[0].distance = nullptr;
    Array<float> loss(1, -1.0f);
    args.loss = loss.data();
    DDPMTS_RUN_KERNEL(isa, cosine_loss_forward, args);
    EXPECT_NEAR(loss[0], twin_of(level.s, level.teacher.floats(), level.student.floats(), 0.5).loss, 1e-5);
    args.features.n = 0;
    DDPMTS_RUN_KERNEL(isa, cosine_loss_forward, args);
    EXPECT_EQ(loss[0], 0.0f);
  });
}

TEST(CosineLoss, ZeroVectorsGiveCosineZeroAndAFiniteGradient) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      Level level(type, {1, 2, 2, 65}, 41);
      for (std::size_t c = 0; c < 65; ++c) {
        level.student.set(c, 0.0f);        // position 0: no student
        level.teacher.set(65 + c, 0.0f);   // position 1: no teacher
        level.student.set(130 + c, 0.0f);  // position 2: neither
        level.teacher.set(130 + c, 0.0f);
      }
      CosineLossArgs args = args_of(type, level, 1.0f);
      const Array<float> grad_loss(1, 1.0f);
      args.grad_loss = grad_loss.data();
      DDPMTS_RUN_KERNEL(isa, cosine_loss_forward, args);
      DDPMTS_RUN_KERNEL(isa, cosine_loss_backward, args);
      for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(level.distance[i], 1.0f);
      for (std::size_t i = 0; i < 195; ++i) ASSERT_EQ(level.student_grad[i], 0.0f) << i;
      for (std::size_t i = 195; i < 260; ++i) ASSERT_TRUE(std::isfinite(level.student_grad[i])) << i;
    }
  });
}

TEST(CosineLoss, NanReachesLossDistanceAndGradient) {
  test::for_each_isa([](CpuIsa isa) {
    Level level(DType::bf16, {1, 2, 2, 64}, 51);
    level.student.set(70, std::nanf(""));
    CosineLossArgs args = args_of(DType::bf16, level, 1.0f);
    Array<float> loss(1);
    const Array<float> grad_loss(1, 1.0f);
    args.loss = loss.data();
    args.grad_loss = grad_loss.data();
    DDPMTS_RUN_KERNEL(isa, cosine_loss_forward, args);
    DDPMTS_RUN_KERNEL(isa, cosine_loss_backward, args);
    EXPECT_TRUE(std::isnan(loss[0]));
    EXPECT_TRUE(std::isnan(level.distance[1]));
    EXPECT_FALSE(std::isnan(level.distance[0]));
    EXPECT_TRUE(std::isnan(level.student_grad[64]));
    EXPECT_FALSE(std::isnan(level.student_grad[63]));
  });
}

#if DDPMTS_CPU_TESTS
TEST(CosineLoss, SameBitsWhateverTheThreadCount) {
  Level level(DType::bf16, {2, 16, 16, 64}, 61);
  CosineLossArgs args = args_of(DType::bf16, level, 1.0f);
  std::vector<float> losses;
  const int threads = omp_get_max_threads();
  for (const int count : {1, 2, 3, 7}) {
    omp_set_num_threads(count);
    losses.push_back(0.0f);
    args.loss = &losses.back();
    cpu::cosine_loss_forward(args);
  }
  omp_set_num_threads(threads);
  for (const float loss : losses) EXPECT_EQ(loss, losses[0]);
}
#endif

}  // namespace
}  // namespace ddpmts::kernels
