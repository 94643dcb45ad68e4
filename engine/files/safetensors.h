// safetensors: the file format that weights arrive in and models are kept in (format of
// huggingface/safetensors 0.4: eight bytes little-endian header length, a JSON header, then the tensors'
// bytes without gaps). A file from outside is hostile: everything in it is checked before a byte is allocated
// for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/files/input_file.h"
#include "kernels/types.h"

namespace ddpmts {

/// Element types that a file may hold; the engine computes with those that DType has.
enum class StoredType : std::uint8_t { boolean, u8, i8, i16, u16, f16, bf16, i32, u32, f32, i64, u64, f64 };

std::size_t size_of(StoredType type);
/// As spelled in the file: "F32", "BF16", ...
const char* name_of(StoredType type);
StoredType stored_type(DType type);

/// What is wrong with a safetensors file, for callers that treat cases differently; `what()` says it in
/// words.
enum class SafetensorsFault : std::uint8_t {
  header_length,   ///< the file is too short for a header, or the header's length is a lie
  header_syntax,   ///< the header is not the JSON that the format prescribes
  duplicate,       ///< a name or key occurs twice
  too_much,        ///< more tensors, dimensions or letters than are accepted
  unknown_type,    ///< an element type that the format does not have, or that is not byte-aligned
  size_mismatch,   ///< shape × type is not the number of bytes, or overflows
  layout,          ///< the tensors overlap, leave a hole, or do not end where the file does
  missing_tensor,  ///< asked for and not there
  wrong_shape,     ///< there, in another shape than asked for
  wrong_type,      ///< there, of a type that cannot be converted as asked for
  bad_request,     ///< what should be written makes no valid file
};

struct SafetensorsError : FileError {
  SafetensorsError(SafetensorsFault fault_, const std::string& message, const std::filesystem::path& file)
      : FileError(message, file), fault(fault_) {}
  SafetensorsFault fault;
};

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

using Metadata = std::map<std::string, std::string, std::less<>>;

/// A file opened for reading. The header is read and checked at once, tensors when asked for.
class SafetensorsFile {
 public:
  static constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
  static constexpr std::size_t kMaxTensors = 10'000;
  static constexpr std::size_t kMaxMetadata = 10'000;
  static constexpr std::size_t kMaxDimensions = 8;
  static constexpr std::size_t kMaxNameBytes = 512;

  /// Throws FileError when it cannot be read, SafetensorsError when it breaks a rule of the format or a limit
  /// above.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  /// In the order of the header.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }

  /// Null when there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  /// Throws SafetensorsError (missing_tensor).
  const TensorInfo& info(std::string_view name) const;
  /// Throws SafetensorsError (missing_tensor, wrong_shape), saying what was expected and what was found.
  const TensorInfo& require(std::string_view name, std::span<const std::int64_t> shape) const;

  /// The tensor's bytes as they are in the file (little-endian).
  std::vector<std::byte> bytes(std::string_view name) const;
  /// As f32: F32 as is, BF16 and F16 widened exactly. Other types throw SafetensorsError (wrong_type).
  std::vector<float> read_f32(std::string_view name) const;
  /// The same with the shape checked first.
  std::vector<float> read_f32(std::string_view name, std::span<const std::int64_t> shape) const;
  /// Integers of any width as i64; a U64 beyond its range, and other types, throw SafetensorsError
  /// (wrong_type).
  std::vector<std::int64_t> read_i64(std::string_view name) const;

 private:
  InputFile file_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, std::size_t> index_;  ///< views into tensors_
  Metadata metadata_;
};

struct TensorToWrite {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;  ///< must stay valid during the call
};

/// Writes a file atomically. The header lists the tensors in the given order; their bytes are laid out widest
/// type first, so that each is aligned for its type, as other readers expect. Names and metadata must be
/// valid UTF-8, names unique and not "__metadata__". Throws SafetensorsError (bad_request) before anything is
/// written, FileError when writing fails.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       const Metadata& metadata);

}  // namespace ddpmts
