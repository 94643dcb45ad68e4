#include "models/defect_painter.h"

#include <algorithm>
#include <cmath>

#include "data/foreground.h"
#include "data/resize.h"
#include "kernels/triplet.h"

namespace ddpmts {
namespace {

constexpr std::uint32_t kDrawOpacity = 1;

// Pixels of one picture of a batch.
template <class T>
T* at(const Tensor& batch, std::int64_t i) {
  return batch.data<T>() + i * (batch.count() / batch.dim(0));
}

struct Box {
  int left, top, right, bottom;
};

// False when the mask is empty.
bool bounding_box(const std::uint8_t* mask, int side, Box& box) {
  box = {side, side, -1, -1};
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      if (mask[y * side + x] == 0) continue;
      box = {std::min(box.left, x), std::min(box.top, y), std::max(box.right, x), std::max(box.bottom, y)};
    }
  }
  return box.right >= 0;
}

// 1 where any pixel of the mask falls in.
void shrink_mask(const std::uint8_t* mask, int side, const View& view, int size, std::uint8_t* out) {
  std::fill_n(out, size * size, std::uint8_t{0});
  for (int y = 0; y < view.side; ++y) {
    for (int x = 0; x < view.side; ++x) {
      if (mask[(view.y + y) * side + view.x + x] != 0) {
        out[y * size / view.side * size + x * size / view.side] = 1;
      }
    }
  }
}

// One channel of a − b, or of a alone, brought to the view's side.
FloatMap enlarged(const std::uint8_t* a, const std::uint8_t* b, int channel, int size, int side) {
  FloatMap map(size, size);
  for (int p = 0; p < size * size; ++p) {
    const int offset = b == nullptr ? 0 : b[p * 3 + channel];
    map.value[static_cast<std::size_t>(p)] = static_cast<float>(a[p * 3 + channel] - offset);
  }
  return side == size ? map : resize_bilinear(map, side, side);
}

SamplerConfig for_model(SamplerConfig config, const DiffusionModel& model) {
  config.prediction = model.prediction;
  return config;
}

}  // namespace

const char* name_of(PaintForm form) {
  constexpr const char* names[] = {"h1", "constant", "h3", "inpaint"};
  return names[static_cast<int>(form)];
}

PaintForm parse_paint_form(const std::string& text) {
  for (const PaintForm form : {PaintForm::h1, PaintForm::constant, PaintForm::h3, PaintForm::inpaint}) {
    if (text == name_of(form)) return form;
  }
  throw_error("unknown form '{}': expected h1, constant, h3 or inpaint", text);
}

PaintConfig paint_config(PaintForm form) {
  PaintConfig config;
  config.form = form;
  config.masks.no_defect_probability = 0.0f;
  config.masks.augmentation = Augmentation::none;
  config.masks.lighting = 0.0f;
  SamplerConfig& sampler = config.sampler;
  sampler.steps = 25;
  switch (form) {
    case PaintForm::h1:
    case PaintForm::inpaint:
      sampler.s_low = 0.1;
      sampler.s_high = 0.2;
      break;
    case PaintForm::constant:
      sampler.delta = 0.1;
      break;
    case PaintForm::h3:
      sampler.start_timestep = 750;
      sampler.delta = 0.03;
      break;
  }
  return config;
}

DefectPainter::DefectPainter(const DiffusionModel& model, Tensor good, const PaintConfig& config, DType type)
    : good_(good.to(Device{})),
      config_(config),
      size_(static_cast<int>(model.network->config().size)),
      side_(static_cast<int>(good_.dim(1))),
      sides_(view_sides(config.views, size_, side_)),
      sampler_(*model.network, model.schedule, for_model(config.sampler, model), type),
      device_(model.network->device()) {
  if (good_.shape().rank() != 4 || good_.dim(1) != good_.dim(2) || good_.dim(3) != 3 ||
      good_.type() != DType::u8) {
    throw_error<ShapeError>("painting: good pictures must be u8 [count, side, side, 3], not {} {}",
                            name_of(good_.type()), good_.shape().text());
  }
  if (config.tries < 1 || config.tries > 100) {
    throw_error("painting: {} tries; must lie in 1 to 100", config.tries);
  }
  check(config.masks, good_.dim(0), 0);
}

// Masks and the pictures that they belong to; u8 [N,side,side].
Tensor DefectPainter::draw_masks(const std::vector<std::uint64_t>& draws, PaintedDefects& painted) const {
  const auto n = static_cast<std::int64_t>(draws.size());
  std::vector<kernels::TripletRecipe> recipes;
  for (const std::uint64_t draw : draws) {
    kernels::TripletRecipe recipe =
        draw_recipe(config_.masks, config_.sampler.seed, draw, good_.dim(0), 0, side_, side_);
    recipe.opacity = 0.0f;
    recipe.min_visible_change = 0.0f;
    recipes.push_back(recipe);
    painted.bases.push_back(recipe.picture);
  }
  const Tensor masks = Tensor::empty({n, side_, side_}, DType::u8);
  const Tensor unused = Tensor::empty({n, side_, side_, 3}, DType::f32);
  kernels::TripletArgs args;
  args.n = n;
  args.h = args.w = side_;
  args.pictures = good_.data<std::uint8_t>();
  args.recipes = recipes.data();
  args.normal = unused.raw();
  args.defective = unused.raw();
  args.mask = masks.data<std::uint8_t>();
  kernels::cpu::triplet(args);
  for (std::int64_t i = 0; config_.foreground_only && i < n; ++i) {
    const Mask ground =
        foreground(at<std::uint8_t>(good_, painted.bases[static_cast<std::size_t>(i)]), side_);
    std::uint8_t* mask = at<std::uint8_t>(masks, i);
    for (int p = 0; p < side_ * side_; ++p) mask[p] &= ground.value[static_cast<std::size_t>(p)];
  }
  return masks;
}

PaintedDefects DefectPainter::attempt(const std::vector<std::uint64_t>& draws) const {
  const auto n = static_cast<std::int64_t>(draws.size());
  PaintedDefects painted;
  painted.masks = draw_masks(draws, painted);
  painted.pictures = Tensor::empty({n, side_, side_, 3}, DType::u8);
  const Tensor starts = Tensor::empty({n, size_, size_, 3}, DType::u8);
  const Tensor small_masks = Tensor::zeros({n, size_, size_}, DType::u8);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint8_t* good = at<std::uint8_t>(good_, painted.bases[static_cast<std::size_t>(i)]);
    Box box;
    if (!bounding_box(at<std::uint8_t>(painted.masks, i), side_, box)) box = {0, 0, side_ - 1, side_ - 1};
    const View view = view_around(box.left, box.top, box.right, box.bottom, sides_, side_);
    painted.views.push_back(view);
    const Image start = take_view(good, side_, view, size_);
    std::ranges::copy(start.rgb, at<std::uint8_t>(starts, i));
    shrink_mask(at<std::uint8_t>(painted.masks, i), side_, view, size_, at<std::uint8_t>(small_masks, i));
  }

  SampleBatch batch;
  batch.indices = draws;
  batch.pictures = starts.to(device_);
  if (config_.form == PaintForm::inpaint) {
    batch.mask = small_masks.to(device_);
    batch.keep_outside = true;
  }
  const Tensor sampled = sampler_.sample(batch).to(Device{});
  const bool brings_change = config_.form == PaintForm::h3 || config_.form == PaintForm::inpaint;

  for (std::int64_t i = 0; i < n; ++i) {
    const auto index = static_cast<std::size_t>(i);
    const View& view = painted.views[index];
    const std::uint8_t* good = at<std::uint8_t>(good_, painted.bases[index]);
    const std::uint8_t* mask = at<std::uint8_t>(painted.masks, i);
    std::uint8_t* out = at<std::uint8_t>(painted.pictures, i);
    std::copy_n(good, side_ * side_ * 3, out);
    FloatMap target[3];  // what the view becomes, or by how much it changes
    for (int c = 0; c < 3; ++c) {
      target[c] = enlarged(at<std::uint8_t>(sampled, i),
                           brings_change ? at<std::uint8_t>(starts, i) : nullptr, c, size_, view.side);
    }
    const kernels::Philox random{config_.sampler.seed, kernels::RandomStream::view, draws[index]};
    const float opacity =
        kernels::uniform(random.bits(kDrawOpacity).x, config_.opacity.low, config_.opacity.high);
    double total = 0;
    std::int64_t pixels = 0;
    for (int y = 0; y < view.side; ++y) {
      for (int x = 0; x < view.side; ++x) {
        const int p = (view.y + y) * side_ + view.x + x;
        if (mask[p] == 0) continue;
        float change[3], largest = 0.0f;
        for (int c = 0; c < 3; ++c) {
          change[c] = target[c].at(x, y) - (brings_change ? 0.0f : static_cast<float>(good[p * 3 + c]));
        }
        if (config_.grey) std::fill_n(change, 3, (change[0] + change[1] + change[2]) / 3.0f);
        for (int c = 0; c < 3; ++c) {
          const float level = static_cast<float>(good[p * 3 + c]) + opacity * change[c];
          out[p * 3 + c] = static_cast<std::uint8_t>(std::clamp(level, 0.0f, 255.0f) + 0.5f);
          largest = std::max(largest, std::fabs(static_cast<float>(out[p * 3 + c] - good[p * 3 + c])));
        }
        total += static_cast<double>(largest);
        ++pixels;
      }
    }
    painted.changes.push_back(pixels == 0 ? 0.0f : static_cast<float>(total / static_cast<double>(pixels)));
  }
  return painted;
}

PaintedDefects DefectPainter::paint(std::uint64_t first, std::int64_t count) const {
  const auto tries = static_cast<std::uint64_t>(config_.tries);
  PaintedDefects best;
  std::vector<std::int64_t> pending;
  for (std::int64_t i = 0; i < count; ++i) pending.push_back(i);
  for (std::uint64_t attempt_number = 0; attempt_number < tries && !pending.empty(); ++attempt_number) {
    std::vector<std::uint64_t> draws;
    for (const std::int64_t i : pending) {
      draws.push_back((first + static_cast<std::uint64_t>(i)) * tries + attempt_number);
    }
    const PaintedDefects painted = attempt(draws);
    if (attempt_number == 0) {
      best = painted;
    } else {
      for (std::size_t k = 0; k < pending.size(); ++k) {
        const std::int64_t i = pending[k], from = static_cast<std::int64_t>(k);
        const auto to = static_cast<std::size_t>(i);
        if (painted.changes[k] <= best.changes[to]) continue;
        std::copy_n(at<std::uint8_t>(painted.pictures, from), side_ * side_ * 3,
                    at<std::uint8_t>(best.pictures, i));
        std::copy_n(at<std::uint8_t>(painted.masks, from), side_ * side_, at<std::uint8_t>(best.masks, i));
        best.bases[to] = painted.bases[k];
        best.views[to] = painted.views[k];
        best.changes[to] = painted.changes[k];
      }
    }
    std::erase_if(pending, [&](std::int64_t i) {
      return best.changes[static_cast<std::size_t>(i)] >= config_.least_change;
    });
  }
  return best;
}

}  // namespace ddpmts
