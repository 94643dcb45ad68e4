#include "engine/files/tensor_source.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

namespace ddpmts {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored and read little-endian");

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

template <class From, class Convert>
std::vector<float> convert_all(std::span<const std::byte> bytes, Convert convert) {
  std::vector<float> out(bytes.size() / sizeof(From));
  for (std::size_t i = 0; i < out.size(); ++i) {
    From value;
    std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof(From));
    out[i] = convert(value);
  }
  return out;
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

void TensorSource::set_tensors(std::vector<TensorInfo> tensors) {
  tensors_ = std::move(tensors);
  index_.clear();
  for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

const TensorInfo* TensorSource::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const TensorInfo& TensorSource::info(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) {
    refuse(
        Misfit::missing,
        fmt::format("tensor {} is missing among its {}{}; check that the file is for this model",
                    in_quotes(name), tensors_.size(),
                    tensors_.empty() ? "" : fmt::format(" (the first is {})", in_quotes(tensors_[0].name))));
  }
  return *tensor;
}

const TensorInfo& TensorSource::require(std::string_view name, std::span<const std::int64_t> shape) const {
  const TensorInfo& tensor = info(name);
  if (!std::ranges::equal(tensor.shape, shape)) {
    refuse(Misfit::shape,
           fmt::format("tensor {} has the shape {}, {} was expected; check that the file is for this model",
                       in_quotes(name), shape_text(tensor.shape), shape_text(shape)));
  }
  return tensor;
}

std::vector<float> TensorSource::read_f32(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  if (tensor.type != StoredType::f32 && tensor.type != StoredType::bf16 && tensor.type != StoredType::f16) {
    refuse(Misfit::type, fmt::format("tensor {} is of type {}, F32, BF16 or F16 was expected",
                                     in_quotes(name), name_of(tensor.type)));
  }
  const std::vector<std::byte> stored = bytes(name);
  if (tensor.type == StoredType::f32) return convert_all<float>(stored, [](float x) { return x; });
  if (tensor.type == StoredType::bf16) return convert_all<bf16>(stored, [](bf16 x) { return to_float(x); });
  return convert_all<std::uint16_t>(stored, half_to_float);
}

std::vector<float> TensorSource::read_f32(std::string_view name, std::span<const std::int64_t> shape) const {
  require(name, shape);
  return read_f32(name);
}

}  // namespace ddpmts
