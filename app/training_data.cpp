#include "app/training_data.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "app/inspect_samples.h"
#include "app/report_skipped.h"
#include "data/dataset_load.h"
#include "kernels/philox.h"

namespace ddpmts::app {
namespace {

constexpr std::int64_t kFewestGood = 4;

// Which pictures only set the threshold: those with the smallest random numbers, at least one.
std::vector<bool> choose_held_out(std::size_t count, double share, std::uint64_t seed) {
  const auto wanted = std::clamp<std::size_t>(
      static_cast<std::size_t>(share * static_cast<double>(count) + 0.5), 1, count - 1);
  const kernels::Philox random{seed, kernels::RandomStream::split, 0};
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto key = [&](std::size_t i) { return std::pair(random.bits(static_cast<std::uint32_t>(i)).x, i); };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
  std::vector<bool> held_out(count, false);
  for (std::size_t i = 0; i < wanted; ++i) held_out[order[i]] = true;
  return held_out;
}

// Says so when it is not.
bool is_usable(const LoadedPicture& picture) {
  if (!picture.loaded()) std::fprintf(stderr, "skipped: %s\n", picture.error.c_str());
  return picture.loaded();
}

bool is_grey(const Image& image) {
  for (std::size_t p = 0; p < image.rgb.size(); p += 3) {
    if (image.rgb[p] != image.rgb[p + 1] || image.rgb[p] != image.rgb[p + 2]) return false;
  }
  return true;
}

}  // namespace

TrainingData load_training_data(const Dataset& dataset, std::int64_t size, double held_out,
                                std::uint64_t seed, Device device) {
  report_skipped(dataset.skipped);
  const std::vector<LoadedPicture> loaded = load_pictures(dataset.train_good, static_cast<int>(size));
  std::vector<std::size_t> usable;
  for (std::size_t i = 0; i < loaded.size(); ++i) {
    if (is_usable(loaded[i])) usable.push_back(i);
  }
  if (static_cast<std::int64_t>(usable.size()) < kFewestGood) {
    throw_error(
        "{} holds {} usable good picture{}; training needs at least {}, and 50 or more to be any good",
        in_quotes(dataset.root), usable.size(), usable.size() == 1 ? "" : "s", kFewestGood);
  }
  const std::vector<bool> is_held_out = choose_held_out(usable.size(), held_out, seed);
  std::vector<const LoadedPicture*> training, only_threshold;
  TrainingData data;
  for (std::size_t i = 0; i < usable.size(); ++i) {
    const LoadedPicture& picture = loaded[usable[i]];
    data.grey = data.grey && is_grey(picture.image);
    if (is_held_out[i]) {
      only_threshold.push_back(&picture);
    } else {
      training.push_back(&picture);
      data.names.push_back(dataset.train_good[usable[i]].path.filename().string());
    }
  }
  data.training = stack_pictures(training, size, device);
  data.held_out = stack_pictures(only_threshold, size, device);
  return data;
}

Tensor load_folder_pictures(const std::string& folder, const char* option, std::int64_t size, Device device) {
  const PictureList list = scan_pictures(folder);
  report_skipped(list.skipped);
  const std::vector<LoadedPicture> loaded = load_pictures(list.pictures, static_cast<int>(size));
  std::vector<const LoadedPicture*> usable;
  for (const LoadedPicture& picture : loaded) {
    if (is_usable(picture)) usable.push_back(&picture);
  }
  if (usable.empty()) throw_error("{} {}: there is no usable picture in it", option, in_quotes(folder));
  return stack_pictures(usable, size, device);
}

}  // namespace ddpmts::app
