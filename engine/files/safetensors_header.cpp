#include "engine/files/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>
#include <utility>

namespace ddpmts {
namespace {

using Json = nlohmann::ordered_json;

std::optional<StoredType> type_named(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(StoredType::f64); ++i) {
    const auto type = static_cast<StoredType>(i);
    if (name == name_of(type)) return type;
  }
  return std::nullopt;
}

/// Receives the header token by token. The format has a fixed shape, so anything at an unexpected place is
/// refused on the spot: nesting is bounded, and a key that comes twice is seen (a parsed document would hide
/// it).
class HeaderHandler : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderHandler(const std::filesystem::path& path) : path_(path) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("true or false"); }
  bool number_integer(std::int64_t) override { unexpected("a negative number"); }
  bool number_float(double, const std::string&) override {
    unexpected("a number with a fraction or exponent");
  }
  bool binary(Json::binary_t&) override { unexpected("binary data"); }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ != Place::shape && place_ != Place::offsets) unexpected("a number");
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      fail(SafetensorsFault::size_mismatch, fmt::format("{} holds the number {}", subject(), value));
    }
    if (place_ == Place::shape) {
      if (current_.shape.size() == SafetensorsFile::kMaxDimensions) {
        fail(SafetensorsFault::too_much,
             fmt::format("{} has more than {} dimensions", subject(), SafetensorsFile::kMaxDimensions));
      }
      current_.shape.push_back(static_cast<std::int64_t>(value));
    } else {
      if (offset_count_ == 2) unexpected("a third offset");
      offsets_[offset_count_++] = value;
    }
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::metadata) {
      if (header_.metadata.size() == SafetensorsFile::kMaxMetadata) {
        fail(SafetensorsFault::too_much,
             fmt::format("more than {} metadata entries", SafetensorsFile::kMaxMetadata));
      }
      if (!header_.metadata.emplace(key_, std::move(value)).second) {
        fail(SafetensorsFault::duplicate, fmt::format("metadata {} occurs twice", in_quotes(key_)));
      }
    } else if (place_ == Place::tensor && key_ == "dtype") {
      const std::optional<StoredType> type = type_named(value);
      if (!type) {
        fail(SafetensorsFault::unknown_type,
             fmt::format("{} has the unknown type {}", subject(), in_quotes(value)));
      }
      current_.type = *type;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::start) {
      place_ = Place::top;
    } else if (place_ == Place::top && key_ == "__metadata__") {
      place_ = Place::metadata;
    } else if (place_ == Place::top) {
      if (header_.tensors.size() == SafetensorsFile::kMaxTensors) {
        fail(SafetensorsFault::too_much, fmt::format("more than {} tensors", SafetensorsFile::kMaxTensors));
      }
      current_ = TensorInfo{};
      current_.name = key_;
      seen_.clear();
      offset_count_ = 0;
      place_ = Place::tensor;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(std::string& value) override {
    if (value.size() > SafetensorsFile::kMaxNameBytes) {
      fail(SafetensorsFault::too_much, fmt::format("the name {} has more than {} bytes", in_quotes(value),
                                                   SafetensorsFile::kMaxNameBytes));
    }
    if (place_ == Place::top && !names_.insert(value).second) {
      fail(SafetensorsFault::duplicate, fmt::format("the name {} occurs twice", in_quotes(value)));
    }
    if (place_ == Place::tensor) {
      if (value != "dtype" && value != "shape" && value != "data_offsets") {
        fail(SafetensorsFault::header_syntax,
             fmt::format("{} has the unknown key {}", subject(), in_quotes(value)));
      }
      if (!seen_.insert(value).second) {
        fail(SafetensorsFault::duplicate,
             fmt::format("{} has the key {} twice", subject(), in_quotes(value)));
      }
    }
    key_ = std::move(value);
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor) finish_tensor();
    place_ = place_ == Place::top ? Place::end : Place::top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::tensor || key_ == "dtype") unexpected("a list");
    place_ = key_ == "shape" ? Place::shape : Place::offsets;
    return true;
  }

  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail(SafetensorsFault::header_syntax,
         fmt::format("the header is not valid JSON at its byte {}", position));
  }

 private:
  enum class Place { start, top, metadata, tensor, shape, offsets, end };

  [[noreturn]] void fail(SafetensorsFault fault, const std::string& what) const {
    throw_safetensors(fault, path_, what);
  }

  std::string subject() const {
    switch (place_) {
      case Place::start:
      case Place::end:
        return "the header";
      case Place::metadata:
        return fmt::format("metadata {}", in_quotes(key_));
      case Place::top:
        return fmt::format("the entry {}", in_quotes(key_));
      default:
        return fmt::format("tensor {}", in_quotes(current_.name));
    }
  }

  [[noreturn]] void unexpected(std::string_view what) const {
    fail(SafetensorsFault::header_syntax,
         fmt::format("{} holds {} where the format has none", subject(), what));
  }

  void finish_tensor() {
    if (seen_.size() != 3 || offset_count_ != 2) {
      fail(SafetensorsFault::header_syntax,
           fmt::format("{} needs dtype, shape and two data_offsets", subject()));
    }
    if (offsets_[0] > offsets_[1]) {
      fail(SafetensorsFault::layout,
           fmt::format("{} ends at byte {} before it begins at {}", subject(), offsets_[1], offsets_[0]));
    }
    current_.bytes = offsets_[1] - offsets_[0];
    const std::uint64_t needed = checked_bytes(current_.type, current_.shape, current_.name, path_);
    if (needed != current_.bytes) {
      fail(SafetensorsFault::size_mismatch,
           fmt::format("{} of type {} and shape {} needs {} bytes, its offsets give it {}", subject(),
                       name_of(current_.type), shape_text(current_.shape), needed, current_.bytes));
    }
    current_.offset = offsets_[0];  // made relative to the file once checked against its neighbours
    header_.tensors.push_back(std::move(current_));
  }

  const std::filesystem::path& path_;
  SafetensorsHeader header_;
  Place place_ = Place::start;
  std::string key_;
  std::unordered_set<std::string> names_;
  TensorInfo current_;
  std::unordered_set<std::string> seen_;  ///< keys of the current tensor
  std::uint64_t offsets_[2] = {0, 0};
  std::size_t offset_count_ = 0;
};

/// Tensors must follow each other without overlap or hole, from the first data byte to the last.
void check_layout(std::span<const TensorInfo> tensors, std::uint64_t data_bytes,
                  const std::filesystem::path& path) {
  std::vector<const TensorInfo*> by_offset;
  for (const TensorInfo& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  std::uint64_t end = 0;
  for (const TensorInfo* tensor : by_offset) {
    if (tensor->offset != end) {
      throw_safetensors(SafetensorsFault::layout, path,
                        fmt::format("tensor {} begins at data byte {}, the one before it ends at {}",
                                    in_quotes(tensor->name), tensor->offset, end));
    }
    end += tensor->bytes;
    if (end > data_bytes) {
      throw_safetensors(SafetensorsFault::layout, path,
                        fmt::format("tensor {} ends at data byte {}, the file has only {}",
                                    in_quotes(tensor->name), end, data_bytes));
    }
  }
  if (end != data_bytes) {
    throw_safetensors(SafetensorsFault::layout, path,
                      fmt::format("the tensors end at data byte {}, the file at {}", end, data_bytes));
  }
}

}  // namespace

void throw_safetensors(SafetensorsFault fault, const std::filesystem::path& path, const std::string& what) {
  // Whatever asks for a tensor in vain knows itself what to do about it; a file that breaks the format is none or a torn one.
  const bool broken = fault <= SafetensorsFault::layout;
  throw SafetensorsError(
      fault,
      fmt::format("cannot use {}: {}{}", in_quotes(path), what,
                  broken ? "; if it is a safetensors file, copy or download it again" : ""),
      path);
}

std::uint64_t checked_bytes(StoredType type, std::span<const std::int64_t> shape, const std::string& name,
                            const std::filesystem::path& path) {
  auto bytes = static_cast<std::int64_t>(size_of(type));
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) {
      throw_safetensors(
          SafetensorsFault::size_mismatch, path,
          fmt::format("tensor {} has the impossible shape {}", in_quotes(name), shape_text(shape)));
    }
  }
  return static_cast<std::uint64_t>(bytes);
}

SafetensorsHeader parse_safetensors_header(std::span<const char> json, std::uint64_t data_begin,
                                           std::uint64_t data_bytes, const std::filesystem::path& path) {
  if (json.empty() || json.front() != '{') {
    throw_safetensors(SafetensorsFault::header_syntax, path, "its header does not start with '{'");
  }
  // The JSON library takes a zero byte for the end of its input and would not look at what follows.
  if (std::ranges::find(json, '\0') != json.end()) {
    throw_safetensors(SafetensorsFault::header_syntax, path, "its header holds a zero byte");
  }
  HeaderHandler handler(path);
  Json::sax_parse(json.begin(), json.end(), &handler);
  SafetensorsHeader header = handler.take();
  check_layout(header.tensors, data_bytes, path);
  for (TensorInfo& tensor : header.tensors) tensor.offset += data_begin;
  return header;
}

std::string format_safetensors_header(std::span<const TensorInfo> tensors, const Metadata& metadata,
                                      const std::filesystem::path& path) {
  Json header = Json::object();
  if (!metadata.empty()) {
    Json& entries = header["__metadata__"] = Json::object();
    for (const auto& [key, value] : metadata) entries[key] = value;
  }
  for (const TensorInfo& tensor : tensors) {
    header[tensor.name] = {{"dtype", name_of(tensor.type)},
                           {"shape", tensor.shape},
                           {"data_offsets", {tensor.offset, tensor.offset + tensor.bytes}}};
  }
  try {
    return header.dump();
  } catch (const Json::exception& error) {
    throw_safetensors(
        SafetensorsFault::bad_request, path,
        fmt::format("a name or metadata text is not valid UTF-8 ({})", in_quotes(error.what())));
  }
}

}  // namespace ddpmts
