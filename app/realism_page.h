// realism.html: real and made defects side by side, with their distances. One file, no network, no script.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "app/realism_report.h"
#include "eval/realism.h"

namespace ddpmts::app {

/// One source of defects on the page. `name` and `what` are plain text.
struct RealismRow {
  std::string name, what;
  const DefectSet* defects = nullptr;
  eval::RealismRow distances;
};

struct RealismPage {
  std::string title;
  std::vector<RealismRow> rows;  ///< the first holds the real defects
  std::int64_t count = 0;        ///< vectors on each side of every distance
  int draws = 0;
  std::int64_t channels = 0;
  int crops = 12;  ///< shown of each source, spread evenly over it
};

std::string realism_html(const RealismPage& page);

}  // namespace ddpmts::app
