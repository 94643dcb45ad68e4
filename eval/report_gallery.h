// The part of report.html that shows the pictures: buttons to choose among them, and a card each.
#pragma once

#include <span>
#include <string>

#include "eval/report.h"

namespace ddpmts::eval {

/// Adds the gallery to `page`; nothing when it is empty. picture_count: how many pictures the run had, of which these are shown.
/// Throws std::invalid_argument, naming the picture, when a PNG string is not base64.
void write_gallery(std::string& page, std::span<const GalleryItem> gallery, std::size_t picture_count);

}  // namespace ddpmts::eval
