#include "data/image.h"

#include <fmt/format.h>

#include <stdexcept>

namespace ddpmts {
namespace {

std::size_t pixels(int width, int height) {
  if (width < 1 || height < 1) {
    throw std::invalid_argument(
        fmt::format("a picture of {} x {} pixels: both sides must be at least 1", width, height));
  }
  return static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
}

}  // namespace

Image::Image(int width_, int height_) : width(width_), height(height_), rgb(pixels(width_, height_) * 3) {}

template <class T>
GreyPicture<T>::GreyPicture(int width_, int height_)
    : width(width_), height(height_), value(pixels(width_, height_)) {}

template struct GreyPicture<std::uint8_t>;
template struct GreyPicture<std::uint16_t>;
template struct GreyPicture<float>;

}  // namespace ddpmts
