#include "kernels/nearest_neighbour.h"

#include <limits>
#include <stdexcept>

#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;

constexpr std::int64_t kWidths[] = {1, 3, 15, 16, 17, 64, 65, 384};

/// On the CPU: how many threads run; 0: as many as there are processors.
void set_threads([[maybe_unused]] int count) {
#if DDPMTS_CPU_TESTS
  omp_set_num_threads(count > 0 ? count : omp_get_num_procs());
#endif
}

TEST(SquaredNorms, EqualThePlainSum) {
  for (const DType type : {DType::f32, DType::bf16}) {
    for (const std::int64_t channels : kWidths) {
      const std::int64_t rows = 5;
      const Buffer x(type, test::random_floats(rows * channels, 1));
      std::vector<double> expected(static_cast<std::size_t>(rows));
      for (std::size_t i = 0; i < x.count(); ++i)
        expected[i / static_cast<std::size_t>(channels)] += double(x[i]) * double(x[i]);
      test::for_each_isa([&](CpuIsa isa) {
        Buffer norms(DType::f32, rows);
        DDPMTS_RUN_KERNEL(
            isa, squared_norms,
            (SquaredNormsArgs{type, rows, channels, x.data(), static_cast<float*>(norms.data())}));
        test::expect_near(norms, expected, expected.size(), 2e-6 * double(channels), "norm");
        EXPECT_TRUE(norms.guard_is_intact());
      });
    }
  }
}

// Distances found chunk by chunk equal those of a plain search through the whole bank.
TEST(NearestUpdate, ChunksFindTheNearestVector) {
  const std::int64_t rows = 7, channels = 12;
  for (const std::int64_t bank : {1, 2, 17, 100}) {
    for (const std::int64_t chunk : {1, 5, 16, 33, 100}) {
      const Array<float> q = test::random_floats(rows * channels, 2);
      const Array<float> c = test::random_floats(bank * channels, 3);
      const auto at = [channels](const Array<float>& v, std::int64_t row, std::int64_t k) {
        return static_cast<double>(v[static_cast<std::size_t>(row * channels + k)]);
      };
      std::vector<double> expected;
      for (std::int64_t i = 0; i < rows; ++i) {
        double least = std::numeric_limits<double>::infinity();
        for (std::int64_t j = 0; j < bank; ++j) {
          double d = 0;
          for (std::int64_t k = 0; k < channels; ++k)
            d += (at(q, i, k) - at(c, j, k)) * (at(q, i, k) - at(c, j, k));
          least = std::min(least, d);
        }
        expected.push_back(std::sqrt(least));
      }
      test::for_each_isa([&](CpuIsa isa) {
        Array<float> row_norms, distance(static_cast<std::size_t>(rows), -5.0f);
        for (std::int64_t i = 0; i < rows; ++i) {
          double sum = 0;
          for (std::int64_t k = 0; k < channels; ++k) sum += at(q, i, k) * at(q, i, k);
          row_norms.push_back(static_cast<float>(sum));
        }
        for (std::int64_t begin = 0; begin < bank; begin += chunk) {
          const std::int64_t columns = std::min(chunk, bank - begin);
          Array<float> products, norms;
          for (std::int64_t i = 0; i < rows; ++i) {
            for (std::int64_t j = begin; j < begin + columns; ++j) {
              double sum = 0;
              for (std::int64_t k = 0; k < channels; ++k) sum += at(q, i, k) * at(c, j, k);
              products.push_back(static_cast<float>(sum));
            }
          }
          for (std::int64_t j = begin; j < begin + columns; ++j) {
            double sum = 0;
            for (std::int64_t k = 0; k < channels; ++k) sum += at(c, j, k) * at(c, j, k);
            norms.push_back(static_cast<float>(sum));
          }
          NearestUpdateArgs args{rows,
                                 columns,
                                 products.data(),
                                 norms.data(),
                                 row_norms.data(),
                                 begin == 0,
                                 begin + columns == bank,
                                 distance.data()};
          DDPMTS_RUN_KERNEL(isa, nearest_update, args);
        }
        test::expect_near(distance, expected, expected.size(), 2e-5, "distance");
      });
    }
  }
}

TEST(NearestUpdate, TheVectorItselfIsAtZeroAndNanStays) {
  test::for_each_isa([&](CpuIsa isa) {
    const Array<float> products{4.0f, 1.0f, std::numeric_limits<float>::quiet_NaN(), 1.0f, 4.0000010f, 0.0f};
    const Array<float> column_norms{4.0f, 1.0f}, row_norms{4.0f, 4.0f, 4.0f};
    Array<float> distance(3);
    DDPMTS_RUN_KERNEL(isa, nearest_update,
                      (NearestUpdateArgs{3, 2, products.data(), column_norms.data(), row_norms.data(), true,
                                         true, distance.data()}));
    EXPECT_EQ(distance[0], 0.0f);
    EXPECT_TRUE(std::isnan(distance[1]));
    EXPECT_EQ(distance[2], 0.0f);  // rounding may take a square below zero
  });
}

TEST(FarthestPoint, GreedySelectionEqualsThePlainOne) {
  for (const auto& [count, channels] :
       {std::pair<std::int64_t, std::int64_t>{1, 3}, {2, 1}, {300, 64}, {129, 17}}) {
    const Array<float> points = test::random_floats(count * channels, 4);
    const int picks = static_cast<int>(std::min<std::int64_t>(count, 20));
    Array<std::int32_t> expected{0};
    std::vector<double> nearest(static_cast<std::size_t>(count), std::numeric_limits<double>::infinity());
    for (int pick = 1; pick < picks; ++pick) {
      std::size_t best = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        double d = 0;
        for (std::int64_t k = 0; k < channels; ++k) {
          const double difference = double(points[static_cast<std::size_t>(i * channels + k)]) -
                                    double(points[static_cast<std::size_t>(expected.back() * channels + k)]);
          d += difference * difference;
        }
        nearest[static_cast<std::size_t>(i)] = std::min(nearest[static_cast<std::size_t>(i)], d);
        if (nearest[static_cast<std::size_t>(i)] > nearest[best]) best = static_cast<std::size_t>(i);
      }
      expected.push_back(static_cast<std::int32_t>(best));
    }
    test::for_each_isa([&](CpuIsa isa) {
      for (const int threads : {1, 3}) {
        set_threads(threads);
        Array<std::int32_t> found(static_cast<std::size_t>(picks) + 1);
        Array<float> distance(static_cast<std::size_t>(count));
        for (int pick = 0; pick + 1 < picks; ++pick) {
          const auto at = static_cast<std::size_t>(pick);
          DDPMTS_RUN_KERNEL(isa, farthest_point,
                            (FarthestPointArgs{count, channels, points.data(), &found[at], pick == 0,
                                               distance.data(), &found[at + 1]}));
        }
        found.resize(static_cast<std::size_t>(picks));
        EXPECT_EQ(found, expected);
      }
      set_threads(0);
    });
  }
}

TEST(FarthestPoint, TheFirstOfEqualsWinsAndNanNever) {
  test::for_each_isa([](CpuIsa isa) {
    const std::int64_t count = 5000;
    Array<float> points(static_cast<std::size_t>(count), 1.0f), distance(points.size());
    for (const std::size_t i : {700u, 701u, 3000u, 4999u}) points[i] = -2.0f;
    points[100] = std::numeric_limits<float>::quiet_NaN();
    const Array<std::int32_t> centre{3};
    Array<std::int32_t> found{-1};
    FarthestPointArgs args{count, 1, points.data(), centre.data(), true, distance.data(), found.data()};
    DDPMTS_RUN_KERNEL(isa, farthest_point, args);
    EXPECT_EQ(found[0], 700);
    for (float& x : points) x = std::numeric_limits<float>::quiet_NaN();
    DDPMTS_RUN_KERNEL(isa, farthest_point, args);
    EXPECT_EQ(found[0], 0);
  });
}

TEST(FarthestPoint, NoPointsAreRefused) {
  test::for_each_isa([](CpuIsa isa) {
    EXPECT_THROW(DDPMTS_RUN_KERNEL(isa, farthest_point, FarthestPointArgs{}), std::invalid_argument);
  });
}

}  // namespace
}  // namespace ddpmts::kernels
