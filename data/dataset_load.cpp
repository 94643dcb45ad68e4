#include "data/dataset_load.h"

#include <algorithm>
#include <stdexcept>

#include "data/image_codec.h"
#include "data/resize.h"

namespace ddpmts {
namespace {

LoadedPicture load_one(const Sample& sample, int size, const ImageLimits& limits) {
  LoadedPicture out;
  const Image image = read_image(sample.path, limits);
  if (sample.mask) {
    LoadedMask mask = load_mask(*sample.mask, image.height, image.width, size, limits);
    out.mask = std::move(mask.mask);
    out.mask_state = mask.state;
  } else if (sample.defective == false) {
    out.mask = Mask(size, size);
    out.mask_state = MaskState::all_good;
  }
  out.image = resize_antialiased(image, size, size);
  out.width = image.width;
  out.height = image.height;
  return out;
}

}  // namespace

LoadedMask load_mask(const std::filesystem::path& path, int picture_height, int picture_width, int size,
                     const ImageLimits& limits) {
  Mask source = read_grey(path, limits);
  if (source.height != picture_height || source.width != picture_width) {
    throw_image(path, fmt::format("this mask has {} x {} pixels, its picture {} x {}; both must be the same",
                                  source.width, source.height, picture_width, picture_height));
  }
  const std::uint8_t largest = *std::ranges::max_element(source.value);
  if (largest == 1) {
    for (std::uint8_t& value : source.value) value = static_cast<std::uint8_t>(value * 255);
  }
  LoadedMask out{resize_mask(source, size, size), MaskState::marked};
  if (std::ranges::find(out.mask.value, 1) == out.mask.value.end()) {
    out.state = largest == 0 ? MaskState::unmarked : MaskState::lost;
  }
  return out;
}

std::vector<LoadedPicture> load_pictures(std::span<const Sample> samples, int size,
                                         const ImageLimits& limits) {
  if (size < 1) throw std::invalid_argument(fmt::format("load_pictures: a size of {} pixels", size));
  std::vector<LoadedPicture> out(samples.size());
  const auto count = static_cast<std::int64_t>(samples.size());
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < count; ++i) {
    const Sample& sample = samples[static_cast<std::size_t>(i)];
    LoadedPicture& row = out[static_cast<std::size_t>(i)];
    try {
      row = load_one(sample, size, limits);
    } catch (const std::bad_alloc&) {
      row = {};
      row.error =
          fmt::format("cannot use the picture {}: not enough memory; shrink it", in_quotes(sample.path));
    } catch (const std::exception& error) {
      row = {};
      row.error = error.what();
    }
  }
  return out;
}

}  // namespace ddpmts
