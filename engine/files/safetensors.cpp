#include "engine/files/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "engine/files/atomic_file.h"
#include "engine/files/safetensors_header.h"

namespace ddpmts {
namespace {

constexpr std::uint64_t kLengthBytes = 8;

template <class From, class Convert>
void convert_all(std::span<const std::byte> bytes, std::vector<std::int64_t>& out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    From value;
    std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof(From));
    out[i] = convert(value);
  }
}

/// What the length field claims, checked against the file.
std::uint64_t header_length(const InputFile& file) {
  if (file.size() < kLengthBytes) {
    throw_safetensors(SafetensorsFault::header_length, file.path(),
                      fmt::format("it has {} bytes, too few for a safetensors file", file.size()));
  }
  std::uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > SafetensorsFile::kMaxHeaderBytes) {
    throw_safetensors(SafetensorsFault::header_length, file.path(),
                      fmt::format("its header claims {} bytes, the format allows {}", length,
                                  SafetensorsFile::kMaxHeaderBytes));
  }
  if (length > file.size() - kLengthBytes) {
    throw_safetensors(SafetensorsFault::header_length, file.path(),
                      fmt::format("its header claims {} bytes, the file has {} after the length", length,
                                  file.size() - kLengthBytes));
  }
  return length;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::uint64_t length = header_length(file_);
  std::vector<char> json(length);
  file_.read(kLengthBytes, std::as_writable_bytes(std::span(json)));
  const std::uint64_t data_begin = kLengthBytes + length;
  SafetensorsHeader header = parse_safetensors_header(json, data_begin, file_.size() - data_begin, path);
  set_tensors(std::move(header.tensors));
  metadata_ = std::move(header.metadata);
}

void SafetensorsFile::refuse(Misfit misfit, const std::string& what) const {
  const auto fault = [misfit] {
    switch (misfit) {
      case Misfit::missing:
        return SafetensorsFault::missing_tensor;
      case Misfit::shape:
        return SafetensorsFault::wrong_shape;
      case Misfit::type:
        break;
    }
    return SafetensorsFault::wrong_type;
  };
  throw_safetensors(fault(), path(), what);
}

std::vector<std::byte> SafetensorsFile::bytes(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  std::vector<std::byte> out(tensor.bytes);
  file_.read(tensor.offset, out);
  return out;
}

std::vector<std::int64_t> SafetensorsFile::read_i64(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  std::vector<std::int64_t> out(tensor.count());
  const auto widen = [](auto x) { return static_cast<std::int64_t>(x); };
  const auto throw_wrong_type = [&](const char* wanted) {
    refuse(Misfit::type, fmt::format("tensor {} is of type {}, {} was expected", in_quotes(name),
                                     name_of(tensor.type), wanted));
  };
  switch (tensor.type) {
    case StoredType::u8:
      convert_all<std::uint8_t>(bytes(name), out, widen);
      break;
    case StoredType::i8:
      convert_all<std::int8_t>(bytes(name), out, widen);
      break;
    case StoredType::i16:
      convert_all<std::int16_t>(bytes(name), out, widen);
      break;
    case StoredType::u16:
      convert_all<std::uint16_t>(bytes(name), out, widen);
      break;
    case StoredType::i32:
      convert_all<std::int32_t>(bytes(name), out, widen);
      break;
    case StoredType::u32:
      convert_all<std::uint32_t>(bytes(name), out, widen);
      break;
    case StoredType::i64:
      convert_all<std::int64_t>(bytes(name), out, widen);
      break;
    case StoredType::u64:
      convert_all<std::uint64_t>(bytes(name), out, [&](std::uint64_t x) {
        if (x > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
          throw_wrong_type("a number below 2^63");
        }
        return static_cast<std::int64_t>(x);
      });
      break;
    default:
      throw_wrong_type("an integer type");
  }
  return out;
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       const Metadata& metadata) {
  const auto refuse = [&](const std::string& what) {
    throw_safetensors(SafetensorsFault::bad_request, path, what);
  };
  if (tensors.size() > SafetensorsFile::kMaxTensors)
    refuse(fmt::format("{} tensors are too many", tensors.size()));
  if (metadata.size() > SafetensorsFile::kMaxMetadata)
    refuse(fmt::format("{} metadata are too many", metadata.size()));
  for (const auto& [key, value] : metadata) {
    if (key.size() > SafetensorsFile::kMaxNameBytes)
      refuse(fmt::format("metadata {} has too long a name", in_quotes(key)));
  }
  std::unordered_set<std::string_view> names;
  std::vector<TensorInfo> infos;
  for (const TensorToWrite& tensor : tensors) {
    if (tensor.name == "__metadata__" || tensor.name.size() > SafetensorsFile::kMaxNameBytes ||
        !names.insert(tensor.name).second) {
      refuse(fmt::format("the tensor name {} is reserved, too long or used twice", in_quotes(tensor.name)));
    }
    if (tensor.shape.size() > SafetensorsFile::kMaxDimensions) {
      refuse(fmt::format("tensor {} has {} dimensions", in_quotes(tensor.name), tensor.shape.size()));
    }
    const std::uint64_t bytes = checked_bytes(tensor.type, tensor.shape, tensor.name, path);
    if (bytes != tensor.data.size()) {
      refuse(fmt::format("tensor {} of type {} and shape {} needs {} bytes, {} were given",
                         in_quotes(tensor.name), name_of(tensor.type), shape_text(tensor.shape), bytes,
                         tensor.data.size()));
    }
    infos.push_back({tensor.name, tensor.type, tensor.shape, 0, bytes});
  }

  std::vector<std::size_t> order(tensors.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [&](std::size_t i) { return size_of(infos[i].type); });
  std::uint64_t end = 0;
  for (const std::size_t i : order) {
    infos[i].offset = end;
    end += infos[i].bytes;
  }

  std::string header = format_safetensors_header(infos, metadata, path);
  header.resize((header.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  if (header.size() > SafetensorsFile::kMaxHeaderBytes)
    refuse(fmt::format("a header of {} bytes", header.size()));
  const std::uint64_t length = header.size();

  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const std::size_t i : order) file.write(tensors[i].data);
  file.commit();
}

}  // namespace ddpmts
