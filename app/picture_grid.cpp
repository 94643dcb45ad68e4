#include "app/picture_grid.h"

#include <algorithm>

#include "data/image_png.h"

namespace ddpmts::app {

void write_picture_grid(const std::filesystem::path& path, std::span<const Tensor> rows,
                        std::int64_t columns) {
  constexpr std::int64_t kGap = 2;
  const std::int64_t h = rows.front().dim(1), w = rows.front().dim(2);
  std::int64_t lines = 0;
  for (const Tensor& row : rows) lines += (row.dim(0) + columns - 1) / columns;
  Image grid(static_cast<int>(columns * (w + kGap) - kGap), static_cast<int>(lines * (h + kGap) - kGap));
  std::ranges::fill(grid.rgb, std::uint8_t{255});
  std::int64_t line = 0;
  for (const Tensor& row : rows) {
    const Tensor pictures = row.to(Device{});
    for (std::int64_t i = 0; i < pictures.dim(0); ++i) {
      const std::int64_t x = i % columns * (w + kGap), y = (line + i / columns) * (h + kGap);
      for (std::int64_t in_y = 0; in_y < h; ++in_y) {
        std::copy_n(pictures.data<std::uint8_t>() + (i * h + in_y) * w * 3, w * 3,
                    grid.pixel(static_cast<int>(x), static_cast<int>(y + in_y)));
      }
    }
    line += (pictures.dim(0) + columns - 1) / columns;
  }
  write_png(path, grid);
}

}  // namespace ddpmts::app
