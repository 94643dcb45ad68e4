// Named tensors in a file, whatever its format: what a model's weights are read from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/files/file_error.h"
#include "kernels/types.h"

namespace ddpmts {

/// Element types that a file may hold; the engine computes with those that DType has.
enum class StoredType : std::uint8_t { boolean, u8, i8, i16, u16, f16, bf16, i32, u32, f32, i64, u64, f64 };

std::size_t size_of(StoredType type);
/// As a safetensors file spells it: "F32", "BF16", ...
const char* name_of(StoredType type);
StoredType stored_type(DType type);

struct TensorInfo {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<std::int64_t> shape;  ///< outermost first; empty for a scalar
  std::uint64_t offset = 0;         ///< of its first byte, from the start of the file
  std::uint64_t bytes = 0;
  std::uint64_t count() const { return bytes / size_of(type); }
};

/// "[64, 3, 7, 7]"
std::string shape_text(std::span<const std::int64_t> shape);

/// A file with named tensors, opened for reading: what it holds is known, values come when asked for. Elements are
/// contiguous, the last axis innermost.
class TensorSource {
 public:
  static constexpr std::size_t kMaxTensors = 10'000;
  static constexpr std::size_t kMaxDimensions = 8;
  static constexpr std::size_t kMaxNameBytes = 512;

  virtual ~TensorSource() = default;

  virtual const std::filesystem::path& path() const = 0;
  /// In the order of the file.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  /// Null when there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  /// Throws the format's FileError when there is none.
  const TensorInfo& info(std::string_view name) const;
  /// Throws the format's FileError when there is none or its shape is another, saying what was expected and found.
  const TensorInfo& require(std::string_view name, std::span<const std::int64_t> shape) const;

  /// The tensor's bytes as they are in the file (little-endian). Throws FileError.
  virtual std::vector<std::byte> bytes(std::string_view name) const = 0;
  /// As f32: F32 as is, BF16 and F16 widened exactly. Other types throw the format's FileError.
  std::vector<float> read_f32(std::string_view name) const;
  /// The same with the shape checked first.
  std::vector<float> read_f32(std::string_view name, std::span<const std::int64_t> shape) const;

 protected:
  TensorSource() = default;
  TensorSource(TensorSource&&) = default;
  TensorSource& operator=(TensorSource&&) = default;

  /// To be called once the file is known; names are unique.
  void set_tensors(std::vector<TensorInfo> tensors);

  /// Why a tensor is not what was asked for.
  enum class Misfit : std::uint8_t { missing, shape, type };
  /// Throws the format's error "cannot use '<file>': <what>".
  [[noreturn]] virtual void refuse(Misfit misfit, const std::string& what) const = 0;

 private:
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, std::size_t> index_;  ///< views into tensors_
};

}  // namespace ddpmts
