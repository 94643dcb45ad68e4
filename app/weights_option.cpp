#include "app/weights_option.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "app/usage_error.h"

namespace ddpmts::app {

void set_weights(const char* option, std::span<const std::pair<const char*, float*>> names,
                 const std::string& text) {
  for (const auto& [name, weight] : names) *weight = 0.0f;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const std::size_t equals = item.find('=');
    const std::string wanted = item.substr(0, equals);
    float weight = 1.0f;
    if (equals != std::string::npos) {
      const char* last = item.data() + item.size();
      const auto parsed = std::from_chars(item.data() + equals + 1, last, weight);
      if (parsed.ptr != last || parsed.ec != std::errc{} || !(weight >= 0.0f)) {
        throw_error<UsageError>("{} {}: '{}' is no weight; write for example {}=0.6,{}=0.4", option, text,
                                item.substr(equals + 1), names[0].first, names[1].first);
      }
    }
    const auto found = std::ranges::find_if(names, [&](const auto& entry) { return wanted == entry.first; });
    if (found == names.end()) {
      std::string known;
      for (const auto& [name, unused] : names) known += (known.empty() ? "" : ", ") + std::string(name);
      throw_error<UsageError>("{} {}: there is no '{}'; there are {}", option, text, wanted, known);
    }
    *found->second = weight;
    begin = end + 1;
  }
}

std::string weights_text(std::span<const std::pair<const char*, float*>> names) {
  std::string text;
  for (const auto& [name, weight] : names) {
    if (*weight > 0) text += fmt::format("{}{}={:g}", text.empty() ? "" : ",", name, *weight);
  }
  return text;
}

}  // namespace ddpmts::app
