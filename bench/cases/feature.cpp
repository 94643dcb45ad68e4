// What compares the student's features with the teacher's, and what resizes feature maps.
#include <cmath>

#include "bench/cases/tools.h"
#include "kernels/cosine_loss.h"
#include "kernels/feature_product.h"
#include "kernels/nearest_neighbour.h"
#include "kernels/resample_2x.h"
#include "kernels/resize_bilinear.h"

namespace ddpmts::bench {
namespace {

// Teacher and student at the detector's three levels, for pictures of `size` pixels.
struct Levels {
  kernels::FeatureLevels features;
  std::vector<Tensor> teacher, student, distance, grad;
  std::vector<Tensor> held;

  Levels(Device device, DType type, std::int64_t n, std::int64_t size) {
    features.type = type;
    features.n = n;
    for (const MapShape& map : std::span(kDetector256).first(3)) {
      const std::int64_t h = map.h * size / 256, w = map.w * size / 256;
      const Shape shape{n, h, w, map.c};
      const auto step = static_cast<std::uint64_t>(2 * features.count);
      teacher.push_back(random_tensor(shape, type, device, step + 1, 0.0f, 1.0f));
      student.push_back(random_tensor(shape, type, device, step + 2, 0.0f, 1.0f));
      distance.push_back(Tensor::empty({n, h, w}, DType::f32, device));
      grad.push_back(Tensor::empty(shape, type, device));
      features.level[features.count++] = {h,
                                          w,
                                          map.c,
                                          teacher.back().raw(),
                                          student.back().raw(),
                                          distance.back().data<float>(),
                                          grad.back().raw()};
    }
    for (const auto* tensors : {&teacher, &student, &distance, &grad}) {
      held.insert(held.end(), tensors->begin(), tensors->end());
    }
  }
  double feature_bytes() const {
    double bytes = 0.0;
    for (const Tensor& t : teacher) bytes += bytes_of({t});
    return bytes;
  }

  // At position `at` of level k: the norms and the product of both vectors.
  struct Pair {
    double t = 0.0, s = 0.0, dot = 0.0;
    double cosine() const { return dot / (t * s); }
  };
  static Pair pair(const std::vector<float>& teacher, const std::vector<float>& student, std::size_t at,
                   std::size_t channels) {
    Pair pair;
    for (std::size_t c = at * channels; c < (at + 1) * channels; ++c) {
      pair.t += double(teacher[c]) * double(teacher[c]);
      pair.s += double(student[c]) * double(student[c]);
      pair.dot += double(teacher[c]) * double(student[c]);
    }
    pair.t = std::sqrt(pair.t);
    pair.s = std::sqrt(pair.s);
    return pair;
  }
};

// Bytes: forward reads all features once; backward too, and writes the student's gradient.
Prepared prepare_cosine(Device device, DType type, std::int64_t n, std::int64_t size, bool backward) {
  const Levels levels(device, type, n, size);
  const Tensor loss = Tensor::zeros({1}, DType::f32, device);
  const Tensor one = Tensor::from_host<float>({1}, std::vector<float>{1.0f}, device);
  kernels::CosineLossArgs args;
  args.features = levels.features;
  args.scale = 1.0f / static_cast<float>(n);
  args.loss = loss.data<float>();
  args.grad_loss = one.data<float>();
  Prepared p;
  p.held = levels.held;
  p.held.push_back(loss);
  p.held.push_back(one);
  p.bytes = (backward ? 3.0 : 2.0) * levels.feature_bytes();
  p.traffic = backward ? Traffic::copy : Traffic::read;
  if (backward) {
    p.run = [=] { DDPMTS_LAUNCH(device, cosine_loss_backward, args); };
  } else {
    p.run = [=] { DDPMTS_LAUNCH(device, cosine_loss_forward, args); };
  }
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> t = levels.teacher[1].to_floats(), s = levels.student[1].to_floats();
    const auto channels = static_cast<std::size_t>(levels.teacher[1].dim(3));
    if (!backward) {
      return compare_at("distance of level 2", levels.distance[1], 1e-4,
                        [&](std::size_t i) { return 1.0 - Levels::pair(t, s, i, channels).cosine(); });
    }
    const double positions = static_cast<double>(levels.distance[1].count());
    return compare_at("gradient of level 2", levels.grad[1], 2.0 * rounding(type), [&](std::size_t i) {
      const Levels::Pair v = Levels::pair(t, s, i / channels, channels);
      return -(double(t[i]) / (v.t * v.s) - v.cosine() * double(s[i]) / (v.s * v.s)) / positions;
    });
  };
  return p;
}

// Bytes: forward reads all features and writes 448 channels at the finest level; backward reads those and all features and
// writes the student's gradient. The workspace is not counted.
Prepared prepare_product(Device device, DType type, std::int64_t n, std::int64_t size, bool backward) {
  const Levels levels(device, type, n, size);
  const Shape shape{n, size / 4, size / 4, 64 + 128 + 256};
  const Tensor out = Tensor::empty(shape, type, device), grad_out = random_tensor(shape, type, device, 9);
  const Tensor workspace = Tensor::empty({feature_product_workspace(levels.features)}, DType::f32, device);
  kernels::FeatureProductArgs args;
  args.features = levels.features;
  args.out_h = args.out_w = size / 4;
  args.out = out.raw();
  args.grad_out = grad_out.raw();
  args.workspace = workspace.data<float>();
  Prepared p;
  p.held = levels.held;
  p.held.insert(p.held.end(), {out, grad_out, workspace});
  p.bytes = (backward ? 3.0 : 2.0) * levels.feature_bytes() + bytes_of({out});
  if (backward) {
    p.run = [=] { DDPMTS_LAUNCH(device, feature_product_backward, args); };
  } else {
    p.run = [=] { DDPMTS_LAUNCH(device, feature_product_forward, args); };
  }
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> t = levels.teacher[0].to_floats(), s = levels.student[0].to_floats();
    const std::size_t channels = 64, all = 448;
    const auto product = [&](std::size_t position,
                             std::size_t c) {  // of the finest level, which is not resized
      const Levels::Pair v = Levels::pair(t, s, position, channels);
      return -double(t[position * channels + c]) * double(s[position * channels + c]) / (v.t * v.s);
    };
    if (!backward) {
      const std::vector<float> y = out.to_floats();
      std::vector<float> actual;
      std::vector<double> expected;
      for (const std::size_t position : places(y.size() / all, 50)) {
        for (std::size_t c = 0; c < channels; ++c) {
          actual.push_back(y[position * all + c]);
          expected.push_back(product(position, c));
        }
      }
      return compare_all("channels of level 1", actual, expected, 2.0 * rounding(type));
    }
    // p_c = −t_c·s_c/(|t||s|): ds_c = −(g_c·t_c − s_c·Σ g·t·s/|s|²)/(|t||s|)
    const std::vector<float> g = grad_out.to_floats();
    return compare_at("gradient of level 1", levels.grad[0], 2.0 * rounding(type), [&](std::size_t i) {
      const std::size_t position = i / channels, c = i % channels;
      const Levels::Pair v = Levels::pair(t, s, position, channels);
      double sum = 0.0;
      for (std::size_t k = 0; k < channels; ++k) {
        sum += double(g[position * all + k]) * double(t[position * channels + k]) *
               double(s[position * channels + k]);
      }
      return -(double(g[position * all + c]) * double(t[i]) - double(s[i]) * sum / (v.s * v.s)) / (v.t * v.s);
    });
  };
  return p;
}

// Sums of squares of vectors of 448 channels, one a position of layer2. Bytes: the vectors once.
Prepared prepare_norms(Device device, DType type, std::int64_t n, std::int64_t size) {
  const Tensor x = random_tensor({n * (size / 8) * (size / 8), 448}, type, device, 1);
  const Tensor norms = Tensor::empty({x.dim(0)}, DType::f32, device);
  const kernels::SquaredNormsArgs args{type, x.dim(0), x.dim(1), x.raw(), norms.data<float>()};
  Prepared p;
  p.held = {x, norms};
  p.bytes = bytes_of({x, norms});
  p.traffic = Traffic::read;
  p.run = [=] { DDPMTS_LAUNCH(device, squared_norms, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> in = x.to_floats();
    return compare_at("norms", norms, 1e-5, [&](std::size_t i) {
      double sum = 0.0;
      for (std::size_t c = i * 448; c < (i + 1) * 448; ++c) sum += double(in[c]) * double(in[c]);
      return sum;
    });
  };
  return p;
}

// One chunk of the memory's search: the nearest of 512 vectors from their products. Bytes: the products once.
Prepared prepare_nearest(Device device, DType, std::int64_t n, std::int64_t size) {
  const Shape shape{n * (size / 8) * (size / 8), 512};
  const Tensor products = random_tensor(shape, DType::f32, device, 1);
  const Tensor columns = random_tensor({shape[1]}, DType::f32, device, 2, 3.0f, 4.0f);
  const Tensor rows = random_tensor({shape[0]}, DType::f32, device, 3, 3.0f, 4.0f);
  const Tensor distance = Tensor::empty({shape[0]}, DType::f32, device);
  const kernels::NearestUpdateArgs args{
      shape[0], shape[1], products.data<float>(), columns.data<float>(), rows.data<float>(),
      true,     true,     distance.data<float>()};
  Prepared p;
  p.held = {products, columns, rows, distance};
  p.bytes = bytes_of({products, columns, rows, distance});
  p.traffic = Traffic::read;
  p.run = [=] { DDPMTS_LAUNCH(device, nearest_update, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> q = products.to_floats(), c = columns.to_floats(), r = rows.to_floats();
    return compare_at("distance", distance, 1e-5, [&](std::size_t i) {
      double least = HUGE_VAL;
      for (std::size_t j = 0; j < 512; ++j)
        least = std::min(least, double(c[j]) - 2.0 * double(q[i * 512 + j]));
      return std::sqrt(std::max(0.0, least + double(r[i])));
    });
  };
  return p;
}

// One choice of the memory's making, among n·5000 points of 64 channels. Bytes: points and distances once, distances again.
Prepared prepare_farthest(Device device, DType, std::int64_t n, std::int64_t) {
  const Tensor points = random_tensor({n * 5000, 64}, DType::f32, device, 1);
  const Tensor distance = Tensor::empty({points.dim(0)}, DType::f32, device);
  const Tensor centre = Tensor::zeros({1}, DType::i32, device), farthest = centre.clone();
  kernels::FarthestPointArgs args;
  args.count = points.dim(0);
  args.channels = points.dim(1);
  args.points = points.data<float>();
  args.centre = centre.data<std::int32_t>();
  args.squared_distance = distance.data<float>();
  args.farthest = farthest.data<std::int32_t>();
  Prepared p;
  p.held = {points, distance, centre, farthest};
  p.bytes = bytes_of({points, distance});
  p.traffic = Traffic::read;
  p.run = [=] { DDPMTS_LAUNCH(device, farthest_point, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> x = points.to_floats();
    return compare_at("squared distance", distance, 1e-5, [&](std::size_t i) {
      double sum = 0.0;
      for (std::size_t c = 0; c < 64; ++c) {
        sum += (double(x[i * 64 + c]) - double(x[c])) * (double(x[i * 64 + c]) - double(x[c]));
      }
      return sum;
    });
  };
  return p;
}

// Bilinear to twice the size, as between the decoder's stages. Bytes: the small map and the large one once.
Prepared prepare_resize(Device device, DType type, std::int64_t n, const MapShape& map, bool backward) {
  const Tensor small = random_tensor({n, map.h, map.w, map.c}, type, device, 1);
  const Tensor large = random_tensor({n, 2 * map.h, 2 * map.w, map.c}, type, device, 2);
  kernels::ResizeBilinearArgs args;
  args.type = type;
  args.n = n;
  args.src_h = map.h;
  args.src_w = map.w;
  args.dst_h = 2 * map.h;
  args.dst_w = 2 * map.w;
  args.channels = args.dst_channels = map.c;
  if (backward) {
    args.d_dst = large.raw();
    args.d_src = small.raw();
  } else {
    args.src = small.raw();
    args.dst = large.raw();
  }
  Prepared p;
  p.held = {small, large};
  p.bytes = bytes_of({small, large});
  if (backward) {
    p.run = [=] { DDPMTS_LAUNCH(device, resize_bilinear_backward, args); };
  } else {
    p.run = [=] { DDPMTS_LAUNCH(device, resize_bilinear_forward, args); };
  }
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> from = (backward ? large : small).to_floats();
    const auto channels = static_cast<std::size_t>(map.c);
    // Weight of small line j in large line i; doubling puts a quarter and three quarters on two neighbours.
    const auto weight = [](std::int64_t i, std::int64_t j, std::int64_t lines) {
      const double at =
          std::clamp((static_cast<double>(i) + 0.5) / 2.0 - 0.5, 0.0, static_cast<double>(lines - 1));
      return std::max(0.0, 1.0 - std::abs(at - static_cast<double>(j)));
    };
    return compare_at(
        backward ? "d_src" : "dst", backward ? small : large, rounding(type), [&](std::size_t at) {
          const auto position = static_cast<std::int64_t>(at / channels);
          const std::int64_t h = backward ? map.h : 2 * map.h, w = backward ? map.w : 2 * map.w;
          const std::int64_t x = position % w, y = position / w % h, picture = position / (w * h);
          const std::int64_t other_h = backward ? 2 * map.h : map.h, other_w = backward ? 2 * map.w : map.w;
          double sum = 0.0;
          for (std::int64_t i = 0; i < other_h; ++i) {
            const double wy = backward ? weight(i, y, map.h) : weight(y, i, map.h);
            for (std::int64_t j = 0; wy > 0.0 && j < other_w; ++j) {
              const double wx = backward ? weight(j, x, map.w) : weight(x, j, map.w);
              if (wx > 0.0)
                sum +=
                    wy * wx *
                    double(from[static_cast<std::size_t>((picture * other_h + i) * other_w + j) * channels +
                                at % channels]);
            }
          }
          return sum;
        });
  };
  return p;
}

// Nearest-neighbour doubling (spread) and 2×2 means (gather). Bytes: the small map and the large one once.
Prepared prepare_resample(Device device, DType type, std::int64_t n, const MapShape& map, bool gather) {
  const Tensor coarse = random_tensor({n, map.h, map.w, map.c}, type, device, 1);
  const Tensor fine = random_tensor({n, 2 * map.h, 2 * map.w, map.c}, type, device, 2);
  kernels::Resample2xArgs args{type,
                               n,
                               map.h,
                               map.w,
                               map.c,
                               gather ? 0.25f : 1.0f,
                               gather ? fine.raw() : coarse.raw(),
                               gather ? coarse.raw() : fine.raw()};
  Prepared p;
  p.held = {coarse, fine};
  p.bytes = bytes_of({coarse, fine});
  if (gather) {
    p.run = [=] { DDPMTS_LAUNCH(device, gather_2x, args); };
  } else {
    p.run = [=] { DDPMTS_LAUNCH(device, spread_2x, args); };
  }
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> from = (gather ? fine : coarse).to_floats();
    return compare_at(
        gather ? "coarse" : "fine", gather ? coarse : fine, rounding(type), [&](std::size_t at) {
          const auto c = static_cast<std::int64_t>(at) % map.c,
                     position = static_cast<std::int64_t>(at) / map.c;
          const std::int64_t w = gather ? map.w : 2 * map.w, h = gather ? map.h : 2 * map.h;
          const std::int64_t x = position % w, y = position / w % h, picture = position / (w * h);
          const auto value = [&](std::int64_t i, std::int64_t j, std::int64_t rows, std::int64_t columns) {
            return double(from[static_cast<std::size_t>(((picture * rows + i) * columns + j) * map.c + c)]);
          };
          if (!gather) return value(y / 2, x / 2, map.h, map.w);
          double sum = 0.0;
          for (int k = 0; k < 4; ++k) sum += value(2 * y + k / 2, 2 * x + k % 2, 2 * map.h, 2 * map.w);
          return sum / 4.0;
        });
  };
  return p;
}

}  // namespace

void add_feature_cases(const CasePlan& plan, Cases& cases) {
  // A picture's features at all levels are 7 values a pixel.
  for (const bool backward : {false, true}) {
    const std::string pass = backward ? "backward" : "forward";
    add_sized(plan, cases, "cosine_loss_" + pass, 90.0, true,
              [=](Device d, DType t, std::int64_t n, std::int64_t size) {
                return prepare_cosine(d, t, n, size, backward);
              });
    add_sized(plan, cases, "feature_product_" + pass, 350.0, true,
              [=](Device d, DType t, std::int64_t n, std::int64_t size) {
                return prepare_product(d, t, n, size, backward);
              });
    add_map_shaped(plan, cases, "resize_bilinear_" + pass, {"detector256"}, arrays(5.0),
                   [=](Device d, DType t, std::int64_t n, const MapShape& map) {
                     return prepare_resize(d, t, n, map, backward);
                   });
    add_map_shaped(plan, cases, backward ? "gather_2x" : "spread_2x", {"unet64"}, arrays(5.0),
                   [=](Device d, DType t, std::int64_t n, const MapShape& map) {
                     return prepare_resample(d, t, n, map, backward);
                   });
  }
  add_sized(plan, cases, "squared_norms", 30.0, true, prepare_norms);
  add_sized(plan, cases, "nearest_update", 40.0, false, prepare_nearest);
  add_sized(plan, cases, "farthest_point", 80.0, false, prepare_farthest);
}

}  // namespace ddpmts::bench
