// What turns features and logits into maps and scores, and the head's loss.
#include <algorithm>
#include <cmath>

#include "bench/cases/tools.h"
#include "kernels/anomaly_map.h"
#include "kernels/gaussian_blur.h"
#include "kernels/mask_downsample.h"
#include "kernels/segmentation_loss.h"
#include "kernels/top_k_mean.h"

namespace ddpmts::bench {
namespace {

double logistic(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// map [n, h, w] at place (y, x) of an H×W picture, half-pixel centres.
double bilinear_at(const std::vector<float>& map, std::int64_t picture, std::int64_t side, std::int64_t y,
                   std::int64_t x, std::int64_t size) {
  const double scale = static_cast<double>(side) / static_cast<double>(size);
  const auto place = [&](std::int64_t at) {
    return std::clamp((static_cast<double>(at) + 0.5) * scale - 0.5, 0.0, static_cast<double>(side - 1));
  };
  const double py = place(y), px = place(x);
  const auto y0 = static_cast<std::int64_t>(py), x0 = static_cast<std::int64_t>(px);
  const auto value = [&](std::int64_t i, std::int64_t j) {
    const std::int64_t at = (picture * side + std::min(i, side - 1)) * side + std::min(j, side - 1);
    return double(map[static_cast<std::size_t>(at)]);
  };
  const double fy = py - static_cast<double>(y0), fx = px - static_cast<double>(x0);
  return (1 - fy) * ((1 - fx) * value(y0, x0) + fx * value(y0, x0 + 1)) +
         fy * ((1 - fx) * value(y0 + 1, x0) + fx * value(y0 + 1, x0 + 1));
}

// Everything that an inspection shows. Bytes: four f32 maps written; the small inputs come from the cache.
Prepared prepare_anomaly_map(Device device, DType type, std::int64_t n, std::int64_t size) {
  std::vector<Tensor> distances;
  kernels::AnomalyMapArgs args;
  args.n = n;
  args.h = args.w = size;
  for (const std::int64_t part : {4, 8, 16}) {
    const std::int64_t side = size / part;
    distances.push_back(
        random_tensor({n, side, side}, DType::f32, device, static_cast<std::uint64_t>(part), 0.0f, 2.0f));
    args.level[args.level_count++] = {side, side, distances.back().data<float>()};
  }
  const Tensor logits = random_tensor({n, size / 4, size / 4}, type, device, 1, -4.0f, 4.0f);
  const Tensor memory = random_tensor({n, size / 8, size / 8}, DType::f32, device, 2, 0.0f, 3.0f);
  args.logits_type = type;
  args.logits_h = args.logits_w = size / 4;
  args.logits = logits.raw();
  args.memory = {size / 8, size / 8, memory.data<float>()};
  args.distance_term.scale = args.segmentation_term.scale = args.memory_term.scale = 1.0f;
  Tensor maps[4];
  for (Tensor& map : maps) map = Tensor::empty({n, size, size}, DType::f32, device);
  args.distance_map = maps[0].data<float>();
  args.segmentation_map = maps[1].data<float>();
  args.memory_map = maps[2].data<float>();
  args.combined_map = maps[3].data<float>();
  Prepared p;
  p.held = {logits, memory, maps[0], maps[1], maps[2], maps[3]};
  p.held.insert(p.held.end(), distances.begin(), distances.end());
  p.bytes = 4.0 * bytes_of({maps[0]});
  p.run = [=] { DDPMTS_LAUNCH(device, anomaly_map, args); };
  p.check = [=, run = p.run, combined = maps[3]] {
    run();
    std::vector<std::vector<float>> levels;
    for (const Tensor& d : distances) levels.push_back(d.to_floats());
    const std::vector<float> r = memory.to_floats();
    std::vector<float> s = logits.to_floats();
    std::ranges::transform(s, s.begin(), [](float z) { return static_cast<float>(logistic(double(z))); });
    return compare_at("combined map", combined, 1e-4, [&](std::size_t at) {
      const auto position = static_cast<std::int64_t>(at);
      const std::int64_t x = position % size, y = position / size % size, picture = position / (size * size);
      double distance = 1.0;
      for (std::size_t k = 0; k < levels.size(); ++k) {
        distance *= bilinear_at(levels[k], picture, args.level[k].h, y, x, size);
      }
      return distance + bilinear_at(s, picture, size / 4, y, x, size) +
             bilinear_at(r, picture, size / 8, y, x, size);
    });
  };
  return p;
}

// Bytes: the map once; the selection reads it a few times over.
Prepared prepare_top_k(Device device, DType, std::int64_t n, std::int64_t size) {
  const Tensor map = random_tensor({n, size * size}, DType::f32, device, 1);
  const Tensor score = Tensor::empty({n}, DType::f32, device);
  const kernels::TopKMeanArgs args{n, size * size, size * size / 200, map.data<float>(), score.data<float>()};
  Prepared p;
  p.held = {map, score};
  p.bytes = bytes_of({map});
  p.traffic = Traffic::read;
  p.run = [=] { DDPMTS_LAUNCH(device, top_k_mean, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> values = map.to_floats();
    return compare_at("score", score, 1e-5, [&](std::size_t i) {
      const auto pixels = static_cast<std::ptrdiff_t>(args.pixels);
      std::vector<float> picture(values.begin() + static_cast<std::ptrdiff_t>(i) * pixels,
                                 values.begin() + static_cast<std::ptrdiff_t>(i + 1) * pixels);
      std::ranges::sort(picture, std::greater<>());
      double sum = 0.0;
      for (std::int64_t k = 0; k < args.k; ++k) sum += double(picture[static_cast<std::size_t>(k)]);
      return sum / static_cast<double>(args.k);
    });
  };
  return p;
}

// σ = 4 as PatchCore smooths its maps. Bytes: the map once in, once out. The check blurs along both axes in doubles, edges
// mirrored (the edge pixel twice), as SciPy's gaussian_filter.
Prepared prepare_blur(Device device, DType, std::int64_t n, std::int64_t size) {
  const Tensor src = random_tensor({n, size, size}, DType::f32, device, 1),
               dst = Tensor::empty(src.shape(), DType::f32, device);
  const kernels::GaussianBlurArgs args{n, size, size, 4.0f, src.data<float>(), dst.data<float>()};
  const int radius = kernels::gaussian_blur_radius(args.sigma);
  Prepared p;
  p.held = {src, dst};
  p.bytes = bytes_of({src, dst});
  p.flops = 2.0 * 2.0 * (2.0 * radius + 1.0) * static_cast<double>(src.count());
  p.run = [=] { DDPMTS_LAUNCH(device, gaussian_blur, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> in = src.to_floats(), out = dst.to_floats();
    const auto mirrored = [&](std::int64_t i) {
      const std::int64_t period = 2 * size, at = (i % period + period) % period;
      return at < size ? at : period - 1 - at;
    };
    std::vector<float> actual;
    std::vector<double> expected;
    for (const std::size_t at : places(out.size(), 200)) {
      const auto position = static_cast<std::int64_t>(at);
      const std::int64_t x = position % size, y = position / size % size, picture = position / (size * size);
      double sum = 0.0, weights = 0.0;
      for (std::int64_t i = -radius; i <= radius; ++i) {
        for (std::int64_t j = -radius; j <= radius; ++j) {
          const double weight = std::exp(-static_cast<double>(i * i + j * j) / 32.0);
          const std::int64_t from = (picture * size + mirrored(y + i)) * size + mirrored(x + j);
          sum += weight * double(in[static_cast<std::size_t>(from)]);
          weights += weight;
        }
      }
      actual.push_back(out[at]);
      expected.push_back(sum / weights);
    }
    return compare_all("dst", actual, expected, 1e-4);
  };
  return p;
}

// Bytes: four u8 taps read and one written for a pixel of the small mask.
Prepared prepare_mask(Device device, DType, std::int64_t n, std::int64_t size) {
  const Tensor src = random_mask({n, size, size}, device, 1, 0.5f);
  const Tensor dst = Tensor::empty({n, size / 4, size / 4}, DType::u8, device);
  const kernels::MaskDownsampleArgs args{
      n, size, size, size / 4, size / 4, src.data<std::uint8_t>(), dst.data<std::uint8_t>(), 0.5f};
  Prepared p;
  p.held = {src, dst};
  p.bytes = 5.0 * static_cast<double>(dst.count());
  p.run = [=] { DDPMTS_LAUNCH(device, mask_downsample, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<std::uint8_t> in = src.to_host<std::uint8_t>();
    std::vector<std::uint8_t> expected(static_cast<std::size_t>(dst.count()));
    const auto s = static_cast<std::size_t>(size), small = s / 4;
    for (std::size_t i = 0; i < expected.size();
         ++i) {  // centres fall between pixels 1 and 2 of four, on both axes
      const std::size_t x = 4 * (i % small) + 1, y = 4 * (i / small % small) + 1,
                        first = i / (small * small) * s * s;
      const int ones = in[first + y * s + x] + in[first + y * s + x + 1] + in[first + (y + 1) * s + x] +
                       in[first + (y + 1) * s + x + 1];
      expected[i] = ones >= 2 ? 1 : 0;
    }
    return compare_bits("dst", dst, Tensor::from_host<std::uint8_t>(dst.shape(), expected, device));
  };
  return p;
}

// At a quarter of the picture's size. Bytes: forward reads logits and mask; backward writes the gradient too.
Prepared prepare_segmentation(Device device, DType type, std::int64_t n, std::int64_t size, bool backward) {
  const Shape shape{n, size / 4, size / 4};
  const Tensor logits = random_tensor(shape, type, device, 1, -4.0f, 4.0f),
               mask = random_mask(shape, device, 2, 0.1f);
  const Tensor loss = Tensor::zeros({3}, DType::f32, device), grad = Tensor::empty(shape, type, device);
  const Tensor one = Tensor::from_host<float>({1}, std::vector<float>{1.0f}, device);
  kernels::SegmentationLossArgs args;
  args.type = type;
  args.count = logits.count();
  args.logits = logits.raw();
  args.mask = mask.data<std::uint8_t>();
  args.loss = loss.data<float>();
  args.grad_loss = one.data<float>();
  args.grad_logits = grad.raw();
  Prepared p;
  p.held = {logits, mask, loss, grad, one};
  p.bytes = bytes_of({logits, mask}) + (backward ? bytes_of({grad}) : 0.0);
  p.traffic = backward ? Traffic::copy : Traffic::read;
  if (backward) {
    p.run = [=] { DDPMTS_LAUNCH(device, segmentation_loss_backward, args); };
  } else {
    p.run = [=] { DDPMTS_LAUNCH(device, segmentation_loss_forward, args); };
  }
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> z = logits.to_floats();
    const std::vector<std::uint8_t> m = mask.to_host<std::uint8_t>();
    const double count = static_cast<double>(z.size());
    const auto term = [&](std::size_t i, double at) {  // of one pixel, with the logit at `at`
      const double q = logistic(at), q_t = m[i] != 0 ? q : 1.0 - q;
      return std::pair{-std::pow(1.0 - q_t, 4.0) * std::log(q_t), std::abs(q - double(m[i]))};
    };
    if (!backward) {
      double focal = 0.0, l1 = 0.0;
      for (std::size_t i = 0; i < z.size(); ++i) {
        const auto [f, l] = term(i, double(z[i]));
        focal += f / count;
        l1 += l / count;
      }
      return compare_all("loss", loss.to_floats(), {focal + l1, focal, l1}, 1e-4);
    }
    return compare_at("gradient", grad, std::max(1e-4, rounding(type)), [&](std::size_t i) {
      constexpr double h = 1e-5;
      const auto [f1, l1] = term(i, double(z[i]) + h);
      const auto [f0, l0] = term(i, double(z[i]) - h);
      return (f1 + l1 - f0 - l0) / (2.0 * h) / count;
    });
  };
  return p;
}

}  // namespace

void add_map_cases(const CasePlan& plan, Cases& cases) {
  add_sized(plan, cases, "anomaly_map", 20.0, true, prepare_anomaly_map);
  add_sized(plan, cases, "top_k_mean", 8.0, false, prepare_top_k);
  add_sized(plan, cases, "gaussian_blur", 12.0, false, prepare_blur);
  add_sized(plan, cases, "mask_downsample", 5.0, false, prepare_mask);
  for (const bool backward : {false, true}) {
    add_sized(plan, cases, backward ? "segmentation_loss_backward" : "segmentation_loss_forward", 2.0, true,
              [=](Device device, DType type, std::int64_t n, std::int64_t size) {
                return prepare_segmentation(device, type, n, size, backward);
              });
  }
}

}  // namespace ddpmts::bench
