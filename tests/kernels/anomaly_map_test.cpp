#include "kernels/anomaly_map.h"

#include <functional>
#include <optional>

#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;

struct Size {
  std::int64_t h, w;
};

struct Case {
  std::int64_t n, h, w;
  std::vector<Size> levels;
  Size logits;
};

const std::vector<Case> kCases = {
    {1, 1, 1, {{1, 1}}, {1, 1}},
    {2, 3, 5, {{1, 2}, {7, 13}}, {3, 5}},
    {1, 37, 300, {{9, 75}, {5, 38}, {3, 19}}, {9, 75}},  // more than one tile and one band
    {2, 64, 64, {{16, 16}, {8, 8}, {4, 4}}, {16, 16}},
    {1, 7, 13, {{7, 13}, {14, 40}, {1, 1}, {2, 3}}, {28, 9}},
};

/// One map element of an upsampled [h, w] picture, in double; f is applied to what is read.
double sample(const std::function<double(std::size_t)>& source, Size from, std::int64_t y, std::int64_t x,
              Size to) {
  const auto place = [](std::int64_t i, std::int64_t out, std::int64_t in, std::int64_t& first,
                        std::int64_t& second) {
    const double position = std::max(0.0, (double(i) + 0.5) * double(in) / double(out) - 0.5);
    first = std::min(static_cast<std::int64_t>(position), in - 1);
    second = std::min(first + 1, in - 1);
    return position - double(first);
  };
  std::int64_t y0, y1, x0, x1;
  const double fy = place(y, to.h, from.h, y0, y1), fx = place(x, to.w, from.w, x0, x1);
  const auto at = [&](std::int64_t row, std::int64_t column) {
    return source(static_cast<std::size_t>(row * from.w + column));
  };
  return (1 - fy) * ((1 - fx) * at(y0, x0) + fx * at(y0, x1)) +
         fy * ((1 - fx) * at(y1, x0) + fx * at(y1, x1));
}

double logistic(double z) { return 1.0 / (1.0 + std::exp(-z)); }

double term_twin(double m, const MapTerm& t) {
  return t.scale == 0.0f ? 0.0 : double(t.scale) * m + double(t.offset);
}

/// A case with its memory.
struct Problem {
  Problem(const Case& shapes, DType logits_type) : c(shapes), pixels(c.n * c.h * c.w) {
    std::uint64_t seed = 300;
    for (const Size& s : c.levels) levels.push_back(test::random_floats(c.n * s.h * s.w, ++seed, 0.0f, 2.0f));
    logits = Buffer(logits_type, test::random_floats(c.n * c.logits.h * c.logits.w, ++seed, -6.0f, 6.0f));
    memory_size = Size{c.levels.back().h + 1, c.levels.back().w + 2};
    remembered = test::random_floats(c.n * memory_size.h * memory_size.w, ++seed, 0.0f, 9.0f);
    for (auto* map : {&distance, &segmentation, &memory, &combined})
      map->assign(static_cast<std::size_t>(pixels), -99.0f);
  }
  AnomalyMapArgs args() {
    AnomalyMapArgs a;
    a.n = c.n;
    a.h = c.h;
    a.w = c.w;
    a.level_count = static_cast<int>(c.levels.size());
    for (std::size_t k = 0; k < c.levels.size(); ++k) {
      a.level[k] = DistanceLevel{c.levels[k].h, c.levels[k].w, levels[k].data()};
    }
    a.logits_type = logits.type();
    a.logits_h = c.logits.h;
    a.logits_w = c.logits.w;
    a.logits = logits.data();
    a.distance_map = distance.data();
    a.memory = DistanceLevel{memory_size.h, memory_size.w, remembered.data()};
    a.segmentation_map = segmentation.data();
    a.memory_map = memory.data();
    a.combined_map = combined.data();
    return a;
  }
  void check(const AnomalyMapArgs& a) const {
    const Size to{c.h, c.w};
    for (std::size_t i = 0; i < static_cast<std::size_t>(pixels); ++i) {
      const std::size_t pixel = i % static_cast<std::size_t>(c.h * c.w),
                        n = i / static_cast<std::size_t>(c.h * c.w);
      const std::int64_t y = static_cast<std::int64_t>(pixel) / c.w,
                         x = static_cast<std::int64_t>(pixel) % c.w;
      double d = 1.0;
      for (std::size_t k = 0; k < levels.size(); ++k) {
        const std::size_t first = n * static_cast<std::size_t>(c.levels[k].h * c.levels[k].w);
        d *= sample([&](std::size_t j) { return double(levels[k][first + j]); }, c.levels[k], y, x, to);
      }
      const std::size_t first = n * static_cast<std::size_t>(c.logits.h * c.logits.w);
      const double s =
          sample([&](std::size_t j) { return logistic(double(logits[first + j])); }, c.logits, y, x, to);
      if (a.distance_map != nullptr) {
        ASSERT_NEAR(a.distance_map[i], d, 3e-5) << "distance " << i;
      }
      if (a.segmentation_map != nullptr) {
        ASSERT_NEAR(a.segmentation_map[i], s, 2e-5) << "segmentation " << i;
      }
      const std::size_t first_memory = n * static_cast<std::size_t>(memory_size.h * memory_size.w);
      const double r =
          sample([&](std::size_t j) { return double(remembered[first_memory + j]); }, memory_size, y, x, to);
      if (a.memory_map != nullptr) {
        ASSERT_NEAR(a.memory_map[i], r, 3e-5) << "memory " << i;
      }
      if (a.combined_map != nullptr) {
        const double all =
            term_twin(d, a.distance_term) + term_twin(s, a.segmentation_term) + term_twin(r, a.memory_term);
        ASSERT_NEAR(a.combined_map[i], all, 2e-4 * (1.0 + std::abs(all))) << "combined " << i;
      }
    }
  }
  Case c;
  std::int64_t pixels;
  std::vector<Array<float>> levels;
  Buffer logits;
  Size memory_size{};
  Array<float> remembered;
  Array<float> distance, segmentation, memory, combined;
};

TEST(AnomalyMap, MatchesThePlainTwin) {
  test::for_each_isa([](CpuIsa isa) {
    for (std::size_t i = 0; i < kCases.size(); ++i) {
      for (const DType type : {DType::f32, DType::bf16}) {
        SCOPED_TRACE(::testing::Message() << "case " << i << " " << name_of(type));
        Problem run(kCases[i], type);
        AnomalyMapArgs args = run.args();
        args.distance_term = {1.5f, -0.375f};
        args.segmentation_term = {0.75f, 0.03125f};
        args.memory_term = {0.25f, 0.5f};
        DDPMTS_RUN_KERNEL(isa, anomaly_map, args);
        run.check(args);
        args.segmentation_term = {0.0f, 7.0f};  // left out, offset and all
        DDPMTS_RUN_KERNEL(isa, anomaly_map, args);
        run.check(args);
      }
    }
  });
}

TEST(AnomalyMap, OnlyWhatIsWantedIsReadAndWritten) {
  test::for_each_isa([](CpuIsa isa) {
    Problem run(kCases[1], DType::f32);
    AnomalyMapArgs distance_only = run.args();
    distance_only.logits = nullptr;
    distance_only.segmentation_map = nullptr;
    distance_only.memory = DistanceLevel{};
    distance_only.memory_map = nullptr;
    distance_only.distance_term.scale = 1.0f;
    DDPMTS_RUN_KERNEL(isa, anomaly_map, distance_only);
    run.check(distance_only);
    for (std::size_t i = 0; i < run.distance.size(); ++i) EXPECT_EQ(run.combined[i], run.distance[i]);

    AnomalyMapArgs segmentation_only = run.args();
    segmentation_only.level_count = 0;
    for (DistanceLevel& level : segmentation_only.level) level = DistanceLevel{};
    segmentation_only.distance_map = nullptr;
    segmentation_only.combined_map = nullptr;
    segmentation_only.memory = DistanceLevel{};
    segmentation_only.memory_map = nullptr;
    DDPMTS_RUN_KERNEL(isa, anomaly_map, segmentation_only);
    run.check(segmentation_only);

    AnomalyMapArgs memory_only = run.args();
    memory_only.level_count = 0;
    memory_only.distance_map = memory_only.segmentation_map = nullptr;
    memory_only.logits = nullptr;
    memory_only.memory_term.scale = 1.0f;
    DDPMTS_RUN_KERNEL(isa, anomaly_map, memory_only);
    for (std::size_t i = 0; i < run.memory.size(); ++i) EXPECT_EQ(run.combined[i], run.memory[i]);
  });
}

TEST(AnomalyMap, NanStaysWhereItIsRead) {
  test::for_each_isa([](CpuIsa isa) {
    Problem run({1, 4, 4, {{4, 4}}, {4, 4}}, DType::f32);
    run.levels[0][5] = std::nanf("");
    run.logits.set(9, std::nanf(""));
    AnomalyMapArgs args = run.args();
    args.distance_term.scale = args.segmentation_term.scale = 1.0f;
    DDPMTS_RUN_KERNEL(isa, anomaly_map, args);
    EXPECT_TRUE(std::isnan(run.distance[5]));
    EXPECT_TRUE(std::isnan(run.combined[5]));
    EXPECT_TRUE(std::isnan(run.segmentation[9]));
    EXPECT_TRUE(std::isnan(run.combined[9]));
    EXPECT_FALSE(std::isnan(run.combined[15]));
  });
}

#if DDPMTS_CPU_TESTS
TEST(AnomalyMap, SameBitsWhateverTheThreadCount) {
  const int threads = omp_get_max_threads();
  std::optional<Problem> first;
  for (const int count : {1, 2, 5}) {
    omp_set_num_threads(count);
    Problem run(kCases[2], DType::bf16);
    AnomalyMapArgs args = run.args();
    args.distance_term.scale = args.segmentation_term.scale = 0.5f;
    cpu::anomaly_map(args);
    if (!first) first = run;
    EXPECT_EQ(run.distance, first->distance);
    EXPECT_EQ(run.segmentation, first->segmentation);
    EXPECT_EQ(run.combined, first->combined);
  }
  omp_set_num_threads(threads);
}
#endif

}  // namespace
}  // namespace ddpmts::kernels
