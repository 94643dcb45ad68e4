#include "engine/files/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "engine/files/atomic_file.h"
#include "engine/files/safetensors_header.h"

namespace ddpmts {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored and read little-endian");

constexpr std::uint64_t kLengthBytes = 8;

struct TypeRow {
  const char* name;
  std::size_t size;
};
constexpr std::array<TypeRow, 13> kTypes = {{{"BOOL", 1},
                                             {"U8", 1},
                                             {"I8", 1},
                                             {"I16", 2},
                                             {"U16", 2},
                                             {"F16", 2},
                                             {"BF16", 2},
                                             {"I32", 4},
                                             {"U32", 4},
                                             {"F32", 4},
                                             {"I64", 8},
                                             {"U64", 8},
                                             {"F64", 8}}};
static_assert(kTypes.size() == static_cast<std::size_t>(StoredType::f64) + 1);

const TypeRow& row_of(StoredType type) { return kTypes[static_cast<std::size_t>(type)]; }

/// IEEE 754 half to float, exact; NaN stays NaN.
float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 31u;
  const std::uint32_t fraction = half & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: fraction × 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide_exponent = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (fraction << 13));
}

template <class From, class To, class Convert>
void convert_all(std::span<const std::byte> bytes, std::vector<To>& out, Convert convert) {
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

[[noreturn]] void throw_wrong_type(const SafetensorsFile& file, const TensorInfo& tensor,
                                   std::string_view wanted) {
  throw_safetensors(SafetensorsFault::wrong_type, file.path(),
                    fmt::format("tensor {} is of type {}, {} was expected", in_quotes(tensor.name),
                                name_of(tensor.type), wanted));
}

}  // namespace

std::size_t size_of(StoredType type) { return row_of(type).size; }
const char* name_of(StoredType type) { return row_of(type).name; }

StoredType stored_type(DType type) {
  switch (type) {
    case DType::f32:
      return StoredType::f32;
    case DType::bf16:
      return StoredType::bf16;
    case DType::u8:
      return StoredType::u8;
    case DType::i32:
      return StoredType::i32;
  }
  throw_error("no stored type for element type {}", static_cast<int>(type));
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::uint64_t length = header_length(file_);
  std::vector<char> json(length);
  file_.read(kLengthBytes, std::as_writable_bytes(std::span(json)));
  const std::uint64_t data_begin = kLengthBytes + length;
  SafetensorsHeader header = parse_safetensors_header(json, data_begin, file_.size() - data_begin, path);
  tensors_ = std::move(header.tensors);
  metadata_ = std::move(header.metadata);
  for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const TensorInfo& SafetensorsFile::info(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) {
    throw_safetensors(
        SafetensorsFault::missing_tensor, path(),
        fmt::format("tensor {} is missing among its {}{}; check that the file is for this model",
                    in_quotes(name), tensors_.size(),
                    tensors_.empty() ? "" : fmt::format(" (the first is {})", in_quotes(tensors_[0].name))));
  }
  return *tensor;
}

const TensorInfo& SafetensorsFile::require(std::string_view name, std::span<const std::int64_t> shape) const {
  const TensorInfo& tensor = info(name);
  if (!std::ranges::equal(tensor.shape, shape)) {
    throw_safetensors(
        SafetensorsFault::wrong_shape, path(),
        fmt::format("tensor {} has the shape {}, {} was expected; check that the file is for this model",
                    in_quotes(name), shape_text(tensor.shape), shape_text(shape)));
  }
  return tensor;
}

std::vector<std::byte> SafetensorsFile::bytes(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  std::vector<std::byte> out(tensor.bytes);
  file_.read(tensor.offset, out);
  return out;
}

std::vector<float> SafetensorsFile::read_f32(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  std::vector<float> out(tensor.count());
  switch (tensor.type) {
    case StoredType::f32:
      file_.read(tensor.offset, std::as_writable_bytes(std::span(out)));
      break;
    case StoredType::bf16:
      convert_all<bf16>(bytes(name), out, [](bf16 x) { return to_float(x); });
      break;
    case StoredType::f16:
      convert_all<std::uint16_t>(bytes(name), out, half_to_float);
      break;
    default:
      throw_wrong_type(*this, tensor, "F32, BF16 or F16");
  }
  return out;
}

std::vector<float> SafetensorsFile::read_f32(std::string_view name,
                                             std::span<const std::int64_t> shape) const {
  require(name, shape);
  return read_f32(name);
}

std::vector<std::int64_t> SafetensorsFile::read_i64(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  std::vector<std::int64_t> out(tensor.count());
  const auto widen = [](auto x) { return static_cast<std::int64_t>(x); };
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
          throw_wrong_type(*this, tensor, "a number below 2^63");
        }
        return static_cast<std::int64_t>(x);
      });
      break;
    default:
      throw_wrong_type(*this, tensor, "an integer type");
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
