#include "kernels/resize_bilinear.h"

#include <algorithm>

#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Buffer;
using test::random_floats;

struct Shape {
  std::int64_t n, src_h, src_w, dst_h, dst_w, channels, dst_channels, dst_offset;

  std::string name() const {
    return std::to_string(n) + "x" + std::to_string(src_h) + "x" + std::to_string(src_w) + "x" +
           std::to_string(channels) + " to " + std::to_string(dst_h) + "x" + std::to_string(dst_w);
  }
  std::int64_t src_count() const { return n * src_h * src_w * channels; }
  std::int64_t dst_count() const { return n * dst_h * dst_w * dst_channels; }
};

const Shape kShapes[] = {
    {2, 1, 1, 8, 8, 64, 64, 0},      // broadcast
    {2, 1, 1, 5, 7, 3, 9, 4},        // broadcast into a slice
    {2, 1, 1, 64, 64, 24, 24, 0},    // broadcast into a large map
    {1, 8, 8, 16, 16, 64, 64, 0},    // doubling
    {2, 4, 4, 16, 16, 80, 144, 16},  // into a slice of a concatenation
    {1, 8, 8, 8, 8, 65, 70, 3},      // equal sizes, strided copy
    {3, 5, 3, 7, 11, 5, 5, 0},       // odd everything, up
    {2, 13, 9, 4, 3, 17, 20, 1},     // down: some source pixels are read by nobody
    {1, 6, 6, 1, 1, 33, 33, 0},      // down to one
    {1, 16, 16, 64, 64, 1, 1, 0},    // anomaly map
    {1, 16, 12, 61, 48, 2, 2, 0},    // two maps, uneven ratio
    {2, 1, 6, 4, 6, 7, 7, 0},        // one axis only
    {1, 3, 1, 3, 5, 21, 21, 0},      // the other axis only
};

/// weight[d][s] of one axis, straight from the definition.
std::vector<std::vector<double>> axis_weights(std::int64_t src, std::int64_t dst) {
  std::vector<std::vector<double>> weights(static_cast<std::size_t>(dst),
                                           std::vector<double>(static_cast<std::size_t>(src)));
  for (std::int64_t d = 0; d < dst; ++d) {
    const double place = std::max(
        0.0, (static_cast<double>(d) + 0.5) * static_cast<double>(src) / static_cast<double>(dst) - 0.5);
    const std::int64_t low = std::min(static_cast<std::int64_t>(std::floor(place)), src - 1);
    const std::int64_t high = std::min(low + 1, src - 1);
    const double fraction = place - static_cast<double>(low);
    std::vector<double>& row = weights[static_cast<std::size_t>(d)];
    row[static_cast<std::size_t>(low)] += high == low ? 1.0 : 1.0 - fraction;
    if (high != low) row[static_cast<std::size_t>(high)] += fraction;
  }
  return weights;
}

/// Calls visit(source index, destination index, weight) for every pair with weight ≠ 0.
template <class Visit>
void for_each_weight(const Shape& s, Visit visit) {
  const auto rows = axis_weights(s.src_h, s.dst_h);
  const auto columns = axis_weights(s.src_w, s.dst_w);
  for (std::int64_t n = 0; n < s.n; ++n) {
    for (std::int64_t dy = 0; dy < s.dst_h; ++dy) {
      for (std::int64_t dx = 0; dx < s.dst_w; ++dx) {
        for (std::int64_t sy = 0; sy < s.src_h; ++sy) {
          for (std::int64_t sx = 0; sx < s.src_w; ++sx) {
            const double weight = rows[static_cast<std::size_t>(dy)][static_cast<std::size_t>(sy)] *
                                  columns[static_cast<std::size_t>(dx)][static_cast<std::size_t>(sx)];
            if (weight == 0.0) continue;
            for (std::int64_t c = 0; c < s.channels; ++c) {
              visit(static_cast<std::size_t>(((n * s.src_h + sy) * s.src_w + sx) * s.channels + c),
                    static_cast<std::size_t>(((n * s.dst_h + dy) * s.dst_w + dx) * s.dst_channels +
                                             s.dst_offset + c),
                    weight);
            }
          }
        }
      }
    }
  }
}

ResizeBilinearArgs args_of(const Shape& s, DType type) {
  ResizeBilinearArgs args;
  args.type = type;
  args.n = s.n;
  args.src_h = s.src_h;
  args.src_w = s.src_w;
  args.dst_h = s.dst_h;
  args.dst_w = s.dst_w;
  args.channels = s.channels;
  args.dst_channels = s.dst_channels;
  args.dst_offset = s.dst_offset;
  return args;
}

Buffer run_forward(CpuIsa isa, const Shape& s, const Buffer& src) {
  Buffer dst(src.type(), std::vector<float>(static_cast<std::size_t>(s.dst_count()), 7.0f));
  ResizeBilinearArgs args = args_of(s, src.type());
  args.src = src.data();
  args.dst = dst.data();
  DDPMTS_RUN_KERNEL(isa, resize_bilinear_forward, args);
  return dst;
}

Buffer run_backward(CpuIsa isa, const Shape& s, const Buffer& d_dst) {
  Buffer d_src(d_dst.type(), std::vector<float>(static_cast<std::size_t>(s.src_count()), 7.0f));
  ResizeBilinearArgs args = args_of(s, d_dst.type());
  args.d_dst = d_dst.data();
  args.d_src = d_src.data();
  DDPMTS_RUN_KERNEL(isa, resize_bilinear_backward, args);
  return d_src;
}

TEST(ResizeBilinear, ForwardMatchesTheDefinitionAndTouchesOnlyItsSlice) {
  for (const Shape& s : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(s.name() + " " + name_of(type));
      const Buffer src(type, random_floats(s.src_count(), 1));
      std::vector<double> expected(static_cast<std::size_t>(s.dst_count()));
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const std::int64_t c = static_cast<std::int64_t>(i) % s.dst_channels;
        if (c < s.dst_offset || c >= s.dst_offset + s.channels) expected[i] = 7.0;
      }
      for_each_weight(s, [&](std::size_t from, std::size_t to, double weight) {
        expected[to] += weight * static_cast<double>(src[from]);
      });
      test::for_each_isa([&](CpuIsa isa) {
        const Buffer dst = run_forward(isa, s, src);
        test::expect_near(dst, expected, expected.size(), test::tolerance(type), "dst");
        EXPECT_TRUE(dst.guard_is_intact());
        for (std::size_t i = 0; i < expected.size(); ++i) {
          const std::int64_t c = static_cast<std::int64_t>(i) % s.dst_channels;
          if (c < s.dst_offset || c >= s.dst_offset + s.channels) {
            ASSERT_EQ(dst[i], 7.0f) << "outside the slice";
          }
        }
      });
    }
  }
}

TEST(ResizeBilinear, BackwardMatchesTheTransposedDefinition) {
  for (const Shape& s : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(s.name() + " " + name_of(type));
      const Buffer d_dst(type, random_floats(s.dst_count(), 2));
      std::vector<double> expected(static_cast<std::size_t>(s.src_count()));
      for_each_weight(s, [&](std::size_t from, std::size_t to, double weight) {
        expected[from] += weight * static_cast<double>(d_dst[to]);
      });
      test::for_each_isa([&](CpuIsa isa) {
        const Buffer d_src = run_backward(isa, s, d_dst);
        test::expect_near(d_src, expected, expected.size(), test::tolerance(type), "d_src");
        EXPECT_TRUE(d_src.guard_is_intact());
      });
    }
  }
}

TEST(ResizeBilinear, BackwardIsTheAdjointOfForward) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(s.name());
    const Buffer u(DType::f32, random_floats(s.src_count(), 3));
    const Buffer v(DType::f32, random_floats(s.dst_count(), 4));
    test::for_each_isa([&](CpuIsa isa) {
      const Buffer forward = run_forward(isa, s, u);
      const Buffer backward = run_backward(isa, s, v);
      double left = 0.0;
      double right = 0.0;
      for (std::size_t i = 0; i < forward.count(); ++i) {
        const std::int64_t c = static_cast<std::int64_t>(i) % s.dst_channels;
        if (c < s.dst_offset || c >= s.dst_offset + s.channels) continue;
        left += static_cast<double>(forward[i]) * static_cast<double>(v[i]);
      }
      for (std::size_t i = 0; i < u.count(); ++i)
        right += static_cast<double>(u[i]) * static_cast<double>(backward[i]);
      EXPECT_NEAR(left, right, 1e-5 * (1.0 + std::sqrt(static_cast<double>(s.dst_count()))));
    });
  }
}

TEST(ResizeBilinear, MatchesPyTorchOnASmallExample) {
  // torch.nn.functional.interpolate([[1, 2], [3, 4]], size=(4, 4), mode="bilinear", align_corners=False)
  const Shape s{1, 2, 2, 4, 4, 1, 1, 0};
  const Buffer src(DType::f32, std::vector<float>{1, 2, 3, 4});
  const std::vector<float> expected{1.0f, 1.25f, 1.75f, 2.0f, 1.5f, 1.75f, 2.25f, 2.5f,
                                    2.5f, 2.75f, 3.25f, 3.5f, 3.0f, 3.25f, 3.75f, 4.0f};
  test::for_each_isa([&](CpuIsa isa) { EXPECT_EQ(run_forward(isa, s, src).floats(), expected); });
}

#if DDPMTS_CPU_TESTS
TEST(ResizeBilinear, SameBitsInEveryRunAndThreadCount) {
  const int threads = omp_get_max_threads();
  const Shape s{3, 8, 8, 32, 32, 37, 40, 2};
  const Buffer src(DType::bf16, random_floats(s.src_count(), 5));
  const Buffer d_dst(DType::bf16, random_floats(s.dst_count(), 6));
  test::for_each_isa([&](CpuIsa isa) {
    std::vector<Buffer> forward, backward;
    for (const int count : {1, 2, 2, 3}) {
      omp_set_num_threads(count);
      forward.push_back(run_forward(isa, s, src));
      backward.push_back(run_backward(isa, s, d_dst));
    }
    omp_set_num_threads(threads);
    for (std::size_t i = 1; i < forward.size(); ++i) {
      EXPECT_EQ(forward[i].bytes(), forward[0].bytes());
      EXPECT_EQ(backward[i].bytes(), backward[0].bytes());
    }
  });
}
#endif

}  // namespace
}  // namespace ddpmts::kernels
