#include "models/diffusion_detector.h"

#include <algorithm>
#include <cmath>

#include "data/resize.h"
#include "kernels/gaussian_blur.h"
#include "models/map_scores.h"

namespace ddpmts {
namespace {

// Views that the network takes at once.
constexpr std::int64_t kMostViews = 64;

std::vector<std::int64_t> repeated(std::int64_t count, std::int64_t times) {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < count * times; ++i) indices.push_back(i / times);
  return indices;
}

// Rows of x by index.
Tensor gathered(const Tensor& x, std::span<const std::int64_t> rows) {
  const Shape shape{static_cast<std::int64_t>(rows.size()), x.dim(1), x.dim(2), x.dim(3)};
  const Tensor result = Tensor::empty(shape, x.type(), x.device());
  const std::size_t bytes = x.bytes() / static_cast<std::size_t>(x.dim(0));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    copy_bytes(static_cast<char*>(result.raw()) + i * bytes, x.device(),
               static_cast<const char*>(x.raw()) + static_cast<std::size_t>(rows[i]) * bytes, x.device(),
               bytes);
  }
  return result;
}

// Mean over channels of (a − b)², added to `sums` once a pixel.
void add_squares(std::span<const float> a, std::span<const float> b, double share, std::span<float> sums) {
  for (std::size_t p = 0; p < sums.size(); ++p) {
    double square = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      const double r = static_cast<double>(a[p * 3 + c]) - static_cast<double>(b[p * 3 + c]);
      square += r * r;
    }
    sums[p] += static_cast<float>(share * square / 3.0);
  }
}

}  // namespace

const char* name_of(DiffusionDetectorKind kind) {
  return kind == DiffusionDetectorKind::score ? "score" : "reconstruct";
}

DiffusionDetectorKind parse_diffusion_detector_kind(const std::string& text) {
  if (text == "score") return DiffusionDetectorKind::score;
  if (text == "reconstruct") return DiffusionDetectorKind::reconstruct;
  throw_error("unknown diffusion detector '{}': expected score or reconstruct", text);
}

DiffusionDetector::DiffusionDetector(const DiffusionModel& model, std::int64_t side,
                                     const DiffusionDetectorConfig& config, DType type)
    : model_(model),
      config_(config),
      type_(type),
      side_(side),
      size_(static_cast<int>(model.network->config().size)),
      sides_(view_sides(config.views, size_, static_cast<int>(side))),
      tables_(model.schedule.tables(model.network->device())) {
  const std::int64_t last = model.schedule.steps() - 1;
  if (config.kind == DiffusionDetectorKind::score) {
    if (config.timesteps.empty() || config.draws < 1 || config.draws > kMostViews ||
        std::ranges::any_of(config.timesteps, [&](std::int32_t t) { return t < 0 || t > last; })) {
      throw_error("score detector: needs noise scales within 0 to {} and 1 to {} draws", last, kMostViews);
    }
  } else if (config.start_timestep < 0 || config.start_timestep > last) {
    throw_error("reconstruct detector: starts at timestep {} of 0 to {}", config.start_timestep, last);
  }
  if (config.top_k < 1 || !(config.blur >= 0.0f && config.blur <= 16.0f)) {
    throw_error("diffusion detector: top_k {} must be at least 1, blur {} must lie in 0 to 16", config.top_k,
                config.blur);
  }
  units_.assign(sides_.size() * static_cast<std::size_t>(scales()), 1.0);
}

std::int64_t DiffusionDetector::scales() const {
  return config_.kind == DiffusionDetectorKind::score ? static_cast<std::int64_t>(config_.timesteps.size())
                                                      : 1;
}

std::vector<std::vector<float>> DiffusionDetector::residuals(const Tensor& views,
                                                             std::uint64_t first_view) const {
  const std::int64_t count = views.dim(0), pixels = std::int64_t{size_} * size_;
  std::vector<std::vector<float>> maps(static_cast<std::size_t>(scales()),
                                       std::vector<float>(static_cast<std::size_t>(count * pixels), 0.0f));
  const auto part = [&](std::vector<float>& map, std::int64_t view) {
    return std::span<float>(map).subspan(static_cast<std::size_t>(view * pixels),
                                         static_cast<std::size_t>(pixels));
  };
  const auto values = [&](const std::vector<float>& all, std::int64_t i) {
    return std::span<const float>(all).subspan(static_cast<std::size_t>(i * pixels * 3),
                                               static_cast<std::size_t>(pixels * 3));
  };
  if (config_.kind == DiffusionDetectorKind::reconstruct) {
    SamplerConfig options;
    options.prediction = model_.prediction;
    options.step.kind = SamplerKind::ddim;
    options.steps = config_.steps;
    options.start_timestep = config_.start_timestep;
    options.seed = config_.seed;
    SampleBatch batch;
    batch.pictures = views;
    for (std::int64_t i = 0; i < count; ++i)
      batch.indices.push_back(first_view + static_cast<std::uint64_t>(i));
    const Tensor back = Sampler(*model_.network, model_.schedule, options, type_).sample(batch);
    const std::vector<float> before = to_network_range(views, DType::f32).to_floats();
    const std::vector<float> after = to_network_range(back, DType::f32).to_floats();
    for (std::int64_t i = 0; i < count; ++i)
      add_squares(values(before, i), values(after, i), 1.0, part(maps[0], i));
    return maps;
  }
  // Every view beside itself, once a (scale, draw); the draws of a place are the same for every picture.
  const std::int64_t times = scales() * config_.draws;
  const std::int64_t n = count * times;
  std::vector<std::int32_t> timesteps;
  for (std::int64_t i = 0; i < n; ++i) {
    timesteps.push_back(config_.timesteps[static_cast<std::size_t>(i % times / config_.draws)]);
  }
  const Device device = views.device();
  const Tensor x_0 = gathered(to_network_range(views, type_), repeated(count, times));
  const Tensor t = Tensor::from_host<std::int32_t>({n}, timesteps, device);
  const NoisedPictures noised = forward_diffusion(
      x_0, t, tables_, config_.seed, std::uint64_t{1} << 62 | first_view * static_cast<std::uint64_t>(times),
      model_.prediction);
  const std::vector<float> predicted = model_.network->predict(noised.x_t, t).to_floats();
  const std::vector<float> target = noised.target.to_floats();
  const double share = 1.0 / static_cast<double>(config_.draws);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto scale = static_cast<std::size_t>(i % times / config_.draws);
    add_squares(values(target, i), values(predicted, i), share, part(maps[scale], i / times));
  }
  return maps;
}

std::vector<std::vector<float>> DiffusionDetector::maps_of(const std::uint8_t* picture) const {
  const int side = static_cast<int>(side_);
  const auto all = static_cast<std::size_t>(side_ * side_);
  std::vector<std::vector<float>> maps;
  const std::int64_t at_once = std::max<std::int64_t>(
      1, kMostViews / (config_.kind == DiffusionDetectorKind::score ? scales() * config_.draws : 1));
  std::uint64_t first_view = 0;
  for (const int view_side : sides_) {
    const std::vector<View> tiles = view_tiles(view_side, side);
    std::vector<std::vector<float>> level(static_cast<std::size_t>(scales()), std::vector<float>(all));
    for (std::size_t begin = 0; begin < tiles.size(); begin += static_cast<std::size_t>(at_once)) {
      const std::size_t count = std::min(tiles.size() - begin, static_cast<std::size_t>(at_once));
      std::vector<std::uint8_t> levels;
      for (std::size_t i = 0; i < count; ++i) {
        const Image view = take_view(picture, side, tiles[begin + i], size_);
        levels.insert(levels.end(), view.rgb.begin(), view.rgb.end());
      }
      const Tensor views = Tensor::from_host<std::uint8_t>(
          {static_cast<std::int64_t>(count), size_, size_, 3}, levels, model_.network->device());
      const auto found = residuals(views, first_view + begin);
      for (std::size_t scale = 0; scale < found.size(); ++scale) {
        for (std::size_t i = 0; i < count; ++i) {
          const View& tile = tiles[begin + i];
          FloatMap map(size_, size_);
          std::copy_n(found[scale].begin() + static_cast<std::ptrdiff_t>(i * map.value.size()),
                      map.value.size(), map.value.begin());
          const FloatMap whole = view_side == size_ ? map : resize_bilinear(map, view_side, view_side);
          for (int y = 0; y < view_side; ++y) {
            std::copy_n(&whole.at(0, y), view_side,
                        level[scale].begin() + std::ptrdiff_t{tile.y + y} * side + tile.x);
          }
        }
      }
    }
    first_view += tiles.size();
    for (std::vector<float>& map : level) maps.push_back(std::move(map));
  }
  return maps;
}

void DiffusionDetector::calibrate(const Tensor& good) {
  const NoGrad inspecting;
  const Tensor pictures = good.to(Device{});
  std::vector<double> sums(units_.size(), 0.0);
  for (std::int64_t i = 0; i < pictures.dim(0); ++i) {
    const auto maps = maps_of(pictures.data<std::uint8_t>() + i * side_ * side_ * 3);
    for (std::size_t c = 0; c < maps.size(); ++c) {
      double sum = 0;
      for (const float value : maps[c]) sum += static_cast<double>(value);
      sums[c] += sum / static_cast<double>(maps[c].size());
    }
  }
  for (std::size_t c = 0; c < units_.size(); ++c) {
    units_[c] = std::max(1e-8, sums[c] / static_cast<double>(pictures.dim(0)));
  }
}

DiffusionDetector::Result DiffusionDetector::inspect(const Tensor& pictures) const {
  if (pictures.shape().rank() != 4 || pictures.dim(1) != side_ || pictures.dim(2) != side_ ||
      pictures.dim(3) != 3 || pictures.type() != DType::u8) {
    throw_error<ShapeError>("diffusion detector: pictures must be u8 [N, {}, {}, 3], not {} {}", side_, side_,
                            name_of(pictures.type()), pictures.shape().text());
  }
  const NoGrad inspecting;
  const Tensor on_host = pictures.to(Device{});
  const std::int64_t n = pictures.dim(0), pixels = side_ * side_;
  const Tensor raw = Tensor::zeros({n, side_, side_}, DType::f32);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto maps = maps_of(on_host.data<std::uint8_t>() + i * pixels * 3);
    float* out = raw.data<float>() + i * pixels;
    for (std::size_t c = 0; c < maps.size(); ++c) {
      const auto scale = static_cast<float>(1.0 / (units_[c] * static_cast<double>(maps.size())));
      for (std::int64_t p = 0; p < pixels; ++p) out[p] += scale * maps[c][static_cast<std::size_t>(p)];
    }
  }
  Result result;
  result.anomaly = Tensor::empty({n, side_, side_}, DType::f32);
  kernels::GaussianBlurArgs blur;
  blur.n = n;
  blur.h = blur.w = side_;
  blur.sigma = config_.blur * static_cast<float>(side_) / 256.0f;
  blur.src = raw.data<float>();
  blur.dst = result.anomaly.data<float>();
  DDPMTS_LAUNCH(Device{}, gaussian_blur, blur);
  result.scores = top_k_scores(result.anomaly, config_.top_k);
  return result;
}

}  // namespace ddpmts
