// Painting defects: what a painting depends on, where it changes the picture and by how much, and what is refused.
#include "models/defect_painter.h"

#include <cmath>
#include <set>

#include "data/foreground.h"
#include "data/resize.h"
#include "tests/models/diffusion_test.h"

namespace ddpmts::test {
namespace {

constexpr int kSide = 40;  // views of 16, 32 and 40 pixels, shown to a network of 16

/// A network that predicts something, as one that is half trained does.
DiffusionModel made_up_model() {
  DiffusionModel model;
  model.network = std::make_unique<UNet>(tiny_unet(), 1, Device{});
  make_up_weights(*model.network);
  return model;
}

/// A form with chains of a few steps.
PaintConfig quick(PaintForm form) {
  PaintConfig config = paint_config(form);
  config.sampler.steps = 4;
  config.sampler.seed = 7;
  config.least_change = 0;
  return config;
}

constexpr PaintForm kForms[] = {PaintForm::h1, PaintForm::constant, PaintForm::h3, PaintForm::inpaint};

class Painting : public ::testing::Test {
 protected:
  PaintedDefects paint(const PaintConfig& config, std::uint64_t first, std::int64_t count,
                       DType type = DType::f32) const {
    return DefectPainter(model_, good_, config, type).paint(first, count);
  }
  DiffusionModel model_ = made_up_model();
  Tensor good_ = part_pictures(6, kSide, 4);
};

std::vector<std::uint8_t> bytes_of(const Tensor& batch, std::int64_t i) {
  return batch.slice(i, 1).to_host<std::uint8_t>();
}
std::vector<std::uint8_t> base_of(const PaintedDefects& painted, const Tensor& good, std::int64_t i) {
  return bytes_of(good, painted.bases[static_cast<std::size_t>(i)]);
}

/// Painting i of a is painting j of b, to the last bit.
void expect_same(const PaintedDefects& a, std::int64_t i, const PaintedDefects& b, std::int64_t j) {
  const auto from = static_cast<std::size_t>(i), to = static_cast<std::size_t>(j);
  EXPECT_EQ(bytes_of(a.pictures, i), bytes_of(b.pictures, j)) << i;
  EXPECT_EQ(bytes_of(a.masks, i), bytes_of(b.masks, j)) << i;
  EXPECT_EQ(a.bases[from], b.bases[to]) << i;
  EXPECT_EQ(a.views[from], b.views[to]) << i;
  EXPECT_EQ(a.changes[from], b.changes[to]) << i;
}

TEST_F(Painting, FormsHaveNames) {
  for (const PaintForm form : kForms) EXPECT_EQ(parse_paint_form(name_of(form)), form);
  expect_error<Error>([] { parse_paint_form("h2"); }, {"'h2'", "inpaint"});
}

TEST_F(Painting, APaintingIsTheSameWhateverBatchItIsIn) {
  for (const DType type : {DType::f32, DType::bf16}) {
    if (type == DType::bf16 && !has_fast_bf16(Device{})) continue;
    for (const PaintForm form : kForms) {
      PaintConfig config = quick(form);
      config.tries = 3;
      config.least_change = paint(config, 0, 7, type).changes[3] + 0.001f;  // so that some are painted again
      const PaintedDefects together = paint(config, 0, 7, type);
      EXPECT_EQ(together.pictures.shape(), (Shape{7, kSide, kSide, 3}));
      EXPECT_EQ(together.masks.shape(), (Shape{7, kSide, kSide}));
      const PaintedDefects three = paint(config, 2, 3, type), one = paint(config, 6, 1, type);
      for (std::int64_t i = 0; i < 3; ++i) expect_same(three, i, together, i + 2);
      expect_same(one, 0, together, 6);
      config.sampler.seed = 8;
      const PaintedDefects other = paint(config, 0, 7, type);
      EXPECT_NE(other.pictures.to_host<std::uint8_t>(), together.pictures.to_host<std::uint8_t>());
      EXPECT_NE(other.masks.to_host<std::uint8_t>(), together.masks.to_host<std::uint8_t>());
    }
  }
}

TEST_F(Painting, OnlyTheMaskChanges) {
  for (const PaintForm form : kForms) {
    const PaintedDefects painted = paint(quick(form), 0, 24);
    std::set<std::int64_t> bases;
    for (std::int64_t i = 0; i < 24; ++i) {
      const auto index = static_cast<std::size_t>(i);
      ASSERT_LT(painted.bases[index], 6);
      bases.insert(painted.bases[index]);
      const auto picture = bytes_of(painted.pictures, i), base = base_of(painted, good_, i),
                 mask = bytes_of(painted.masks, i);
      int inside = 0;
      double total = 0;
      for (std::size_t p = 0; p < mask.size(); ++p) {
        ASSERT_LE(mask[p], 1);
        int largest = 0;
        for (std::size_t c = 0; c < 3; ++c) {
          largest = std::max(largest, std::abs(picture[3 * p + c] - base[3 * p + c]));
        }
        if (mask[p] == 0) {
          ASSERT_EQ(largest, 0) << name_of(form) << " " << i << " at " << p;
        }
        inside += mask[p];
        total += largest;
      }
      ASSERT_GT(inside, 0) << i;
      EXPECT_NEAR(static_cast<double>(painted.changes[index]), total / inside, 1e-4) << i;
      EXPECT_GT(painted.changes[index], 1.0f) << name_of(form) << " " << i;
    }
    EXPECT_GT(bases.size(), 3u) << "every good picture gets its turn";
  }
}

/// Value at an output pixel of a [size,size,3] picture's channel c that is brought to side×side, clamped at the border.
double enlarged_at(const std::vector<double>& picture, int size, int side, int x, int y, int c) {
  const auto place = [&](int i) {
    return std::clamp((i + 0.5) * size / side - 0.5, 0.0, static_cast<double>(size - 1));
  };
  const double u = place(x), v = place(y);
  const int left = static_cast<int>(u), top = static_cast<int>(v);
  const int right = std::min(left + 1, size - 1), bottom = std::min(top + 1, size - 1);
  const auto at = [&](int column, int row) {
    return picture[static_cast<std::size_t>((row * size + column) * 3 + c)];
  };
  return std::lerp(std::lerp(at(left, top), at(right, top), u - left),
                   std::lerp(at(left, bottom), at(right, bottom), u - left), v - top);
}

TEST_F(Painting, IsTheFormula) {
  const int size = 16;
  const double opacity = 0.75;
  for (const PaintForm form : kForms) {
    PaintConfig config = quick(form);
    config.tries = 1;
    config.opacity = {0.75f, 0.75f};
    const int count = 10;
    const PaintedDefects painted = paint(config, 0, count);
    const Sampler sampler(*model_.network, model_.schedule, config.sampler, DType::f32);
    std::set<int> sides;
    for (int i = 0; i < count; ++i) {
      const View& view = painted.views[static_cast<std::size_t>(i)];
      sides.insert(view.side);
      const auto picture = bytes_of(painted.pictures, i), base = base_of(painted, good_, i),
                 mask = bytes_of(painted.masks, i);
      // The chain's picture, from the view and the mask on the network's scale.
      const Image start = take_view(base.data(), kSide, view, size);
      std::vector<std::uint8_t> small(size * size, 0);
      int left = kSide, top = kSide, right = 0, bottom = 0;
      for (int y = 0; y < kSide; ++y) {
        for (int x = 0; x < kSide; ++x) {
          if (mask[static_cast<std::size_t>(y * kSide + x)] == 0) continue;
          left = std::min(left, x), right = std::max(right, x);
          top = std::min(top, y), bottom = std::max(bottom, y);
          const int column = (x - view.x) * size / view.side, row = (y - view.y) * size / view.side;
          ASSERT_TRUE(column >= 0 && column < size && row >= 0 && row < size) << "the view holds the mask";
          small[static_cast<std::size_t>(row * size + column)] = 1;
        }
      }
      EXPECT_EQ(view, view_around(left, top, right, bottom, std::vector<int>{16, 32, 40}, kSide));
      SampleBatch batch;
      batch.indices = {static_cast<std::uint64_t>(i)};
      batch.pictures = Tensor::from_host<std::uint8_t>({1, size, size, 3}, start.rgb);
      if (form == PaintForm::inpaint) {
        batch.mask = Tensor::from_host<std::uint8_t>({1, size, size}, small);
        batch.keep_outside = true;
      }
      const auto sampled = sampler.sample(batch).to_host<std::uint8_t>();
      const bool brings_change = form == PaintForm::h3 || form == PaintForm::inpaint;
      std::vector<double> part(sampled.begin(), sampled.end());
      for (std::size_t p = 0; brings_change && p < part.size(); ++p) part[p] -= start.rgb[p];

      for (int y = 0; y < kSide; ++y) {
        for (int x = 0; x < kSide; ++x) {
          const auto p = static_cast<std::size_t>(y * kSide + x);
          if (mask[p] == 0) continue;
          for (int c = 0; c < 3; ++c) {
            const auto at = 3 * p + static_cast<std::size_t>(c);
            const double drawn = enlarged_at(part, size, view.side, x - view.x, y - view.y, c);
            const double change = brings_change ? drawn : drawn - base[at];
            const double expected = std::clamp(base[at] + opacity * change, 0.0, 255.0);
            ASSERT_NEAR(picture[at], expected, 0.51) << name_of(form) << " " << i << " at " << x << "," << y;
          }
        }
      }
    }
    EXPECT_GT(sides.size(), 1u) << "small masks are painted in small views";
  }
}

TEST_F(Painting, AChainThatBringsItsChangeKeepsTheSharpness) {
  // One undisturbed step from the first timestep leaves a picture nearly as it is. Seen whole at 16 pixels a picture of 40 is
  // blurred, which only a change that is brought back hides.
  PaintConfig config = quick(PaintForm::h3);
  config.sampler.start_timestep = 0;
  config.sampler.delta = 0;
  config.views = ViewScales::whole;
  config.tries = 1;
  config.masks.perlin_weight = config.masks.blob_weight = config.masks.stroke_weight = 0;
  config.masks.rectangle_weight = 0;  // large masks
  const PaintedDefects painted = paint(config, 0, 8);
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(painted.views[i], (View{0, 0, kSide}));
    EXPECT_LT(painted.changes[i], 6.0f);
    const auto base = base_of(painted, good_, static_cast<std::int64_t>(i));
    const Image small = take_view(base.data(), kSide, painted.views[i], 16);
    const Image blurred = resize_antialiased(small, kSide, kSide);
    const auto mask = bytes_of(painted.masks, static_cast<std::int64_t>(i));
    double lost = 0, pixels = 0;
    for (std::size_t p = 0; p < mask.size(); ++p) {
      int largest = 0;
      for (std::size_t c = 0; c < 3; ++c)
        largest = std::max(largest, std::abs(blurred.rgb[3 * p + c] - base[3 * p + c]));
      lost += mask[p] * largest;
      pixels += mask[p];
    }
    EXPECT_GT(lost / pixels, 1.5 * static_cast<double>(painted.changes[i])) << i;
  }
}

TEST_F(Painting, OpacityIsDrawnFromItsRange) {
  PaintConfig config = quick(PaintForm::h3);
  config.tries = 1;
  const auto changes = [&](float low, float high) {
    config.opacity = {low, high};
    return paint(config, 0, 16).changes;
  };
  const std::vector<float> full = changes(1, 1), drawn = changes(0.5f, 1), none = changes(0, 0);
  EXPECT_EQ(none, std::vector<float>(16, 0.0f));
  std::set<int> tenths;
  for (std::size_t i = 0; i < 16; ++i) {
    const float share = drawn[i] / full[i];
    EXPECT_GT(share, 0.45f);  // rounding and clamping move it a little
    EXPECT_LT(share, 1.05f);
    tenths.insert(static_cast<int>(share * 10));
  }
  EXPECT_GT(tenths.size(), 2u);
}

TEST_F(Painting, GreyPartsGetGreyDefects) {
  std::vector<std::uint8_t> levels = good_.to_host<std::uint8_t>();
  for (std::size_t p = 0; p < levels.size(); p += 3) levels[p + 1] = levels[p + 2] = levels[p];
  good_ = Tensor::from_host<std::uint8_t>(good_.shape(), levels);
  for (const PaintForm form : kForms) {
    PaintConfig config = quick(form);
    const auto coloured = [&] {
      const auto rgb = paint(config, 0, 6).pictures.to_host<std::uint8_t>();
      int count = 0;
      for (std::size_t p = 0; p < rgb.size(); p += 3) {
        count += rgb[p] != rgb[p + 1] || rgb[p] != rgb[p + 2] ? 1 : 0;
      }
      return count;
    };
    EXPECT_GT(coloured(), 50) << name_of(form);
    config.grey = true;
    EXPECT_EQ(coloured(), 0) << name_of(form);
    EXPECT_GT(paint(config, 0, 1).changes[0], 0.0f) << name_of(form);
  }
}

TEST_F(Painting, ForegroundOnlyStaysOnThePart) {
  PaintConfig config = quick(PaintForm::h3);
  config.least_change = 6;
  const auto beyond = [&](bool foreground_only) {
    config.foreground_only = foreground_only;
    const PaintedDefects painted = paint(config, 0, 20);
    int pixels = 0;
    for (std::int64_t i = 0; i < 20; ++i) {
      const Mask part = foreground(base_of(painted, good_, i).data(), kSide);
      const auto mask = bytes_of(painted.masks, i);
      EXPECT_NE(std::ranges::find(mask, 1), mask.end()) << i;
      for (std::size_t p = 0; p < mask.size(); ++p) pixels += mask[p] == 1 && part.value[p] == 0 ? 1 : 0;
    }
    return pixels;
  };
  EXPECT_EQ(beyond(true), 0);
  EXPECT_GT(beyond(false), 100);
}

TEST_F(Painting, OfItsTriesTheFirstThatShowsOrTheStrongestStays) {
  PaintConfig config = quick(PaintForm::h3);
  config.tries = 1;
  const int count = 6, tries = 3;
  const PaintedDefects single = paint(config, 0, count * tries);
  std::vector<float> sorted = single.changes;
  std::ranges::sort(sorted);
  config.tries = tries;
  int first_kept = 0, later_kept = 0, none_reached = 0;
  for (const float least : {0.0f, sorted[6], sorted[12], 1e6f}) {
    config.least_change = least;
    const PaintedDefects best = paint(config, 0, count);
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t expected = i * tries;  // the first that reaches it, or else the strongest
      const auto change = [&](std::int64_t j) { return single.changes[static_cast<std::size_t>(j)]; };
      for (std::int64_t j = expected + 1; j < (i + 1) * tries && change(expected) < least; ++j) {
        if (change(j) > change(expected)) expected = j;
      }
      SCOPED_TRACE(least);
      expect_same(best, i, single, expected);
      const bool reached = change(expected) >= least;
      first_kept += expected == i * tries && reached ? 1 : 0;
      later_kept += expected != i * tries && reached ? 1 : 0;
      none_reached += reached ? 0 : 1;
    }
  }
  EXPECT_GT(first_kept, 0);
  EXPECT_GT(later_kept, 0);
  EXPECT_GT(none_reached, 0);
}

TEST_F(Painting, SaysWhatDoesNotFit) {
  const auto with = [&](const Tensor& good, const auto& change) {
    PaintConfig config = quick(PaintForm::h3);
    change(config);
    DefectPainter(model_, good, config, DType::f32);
  };
  const auto as_it_is = [](PaintConfig&) {};
  expect_error<Error>([&] { with(part_pictures(2, 15, 1), as_it_is); }, {"16 pixels", "15"});
  expect_error<ShapeError>(
      [&] {
        with(Tensor::zeros({2, 40, 41, 3}, DType::u8), as_it_is);
      },
      {"[2, 40, 41, 3]"});
  expect_error<ShapeError>([&] { with(Tensor::zeros({2, 40, 40, 3}, DType::f32), as_it_is); }, {"f32"});
  expect_error<Error>([&] { with(good_, [](PaintConfig& c) { c.tries = 0; }); }, {"0 tries"});
  expect_error<Error>([&] { with(good_, [](PaintConfig& c) { c.sampler.delta = 2; }); }, {"delta is 2"});
  expect_error<Error>([&] { with(good_, [](PaintConfig& c) { c.sampler.start_timestep = 1000; }); },
                      {"1000 of 1000"});
  expect_error<Error>([&] { with(good_, [](PaintConfig& c) { c.masks.blob_weight = -1; }); }, {"mask kinds"});
}

}  // namespace
}  // namespace ddpmts::test
