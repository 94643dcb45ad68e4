#include "data/drawn_set.h"

#include <fmt/format.h>

#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "data/image_png.h"

namespace ddpmts {
namespace {

/// Indices of one group of pictures start at a multiple of this.
constexpr std::uint64_t kGroup = 1u << 20;
constexpr int kMostInGroup = 1'000'000;

void check_count(int count, const char* what) {
  if (count < 0 || count > kMostInGroup) {
    throw std::invalid_argument(
        fmt::format("a drawn set cannot have {} {} pictures: choose 0 to {}", count, what, kMostInGroup));
  }
}

}  // namespace

std::vector<DrawnPicture> drawn_set(PartKind part, const DrawnSetCounts& counts) {
  check_count(counts.train_good, "good training");
  check_count(counts.test_good, "good test");
  check_count(counts.test_defect, "defective test");
  std::vector<DrawnPicture> pictures;
  const auto add_group = [&](const char* split, DefectKind defect, std::uint64_t group, int count) {
    const std::string name(name_of(defect));
    for (int i = 0; i < count; ++i) {
      DrawnPicture picture;
      picture.defect = defect;
      picture.index = group * kGroup + static_cast<std::uint64_t>(i);
      picture.image = std::filesystem::path(split) / name / fmt::format("{:03}.png", i);
      if (defect != DefectKind::none) {
        picture.mask = std::filesystem::path("ground_truth") / name / fmt::format("{:03}_mask.png", i);
      }
      pictures.push_back(std::move(picture));
    }
  };
  add_group("train", DefectKind::none, 0, counts.train_good);
  add_group("test", DefectKind::none, 1, counts.test_good);
  for (const DefectKind defect : defects_of(part)) {
    add_group("test", defect, 1 + static_cast<std::uint64_t>(defect), counts.test_defect);
  }
  return pictures;
}

void write_drawn_picture(const std::filesystem::path& part_folder, PartKind part, const DrawnPicture& picture,
                         std::uint64_t seed, int size) {
  DrawnPart drawn = draw_part(part, picture.defect, seed, picture.index, size);
  const std::filesystem::path image = part_folder / picture.image;
  std::filesystem::create_directories(image.parent_path());
  write_png(image, drawn.image);
  if (picture.mask.empty()) return;
  const std::filesystem::path mask = part_folder / picture.mask;
  std::filesystem::create_directories(mask.parent_path());
  for (std::uint8_t& value : drawn.mask.value) value = static_cast<std::uint8_t>(value * 255);
  write_png(mask, drawn.mask);
}

void write_drawn_set(const std::filesystem::path& folder, std::uint64_t seed, int size,
                     const DrawnSetCounts& counts) {
  std::vector<std::pair<PartKind, DrawnPicture>> pictures;
  for (const PartKind part : kPartKinds) {
    for (DrawnPicture& picture : drawn_set(part, counts)) pictures.emplace_back(part, std::move(picture));
  }
  std::mutex mutex;
  std::exception_ptr first_error;
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    try {
      const auto& [part, picture] = pictures[i];
      write_drawn_picture(folder / name_of(part), part, picture, seed, size);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
    }
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace ddpmts
