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
#include <vector>

#include "engine/files/input_file.h"
#include "engine/files/tensor_source.h"

namespace ddpmts {

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

using Metadata = std::map<std::string, std::string, std::less<>>;

/// A file opened for reading. The header is read and checked at once, tensors when asked for. What a TensorSource refuses is
/// a SafetensorsError here: missing_tensor, wrong_shape or wrong_type.
class SafetensorsFile final : public TensorSource {
 public:
  static constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
  static constexpr std::size_t kMaxMetadata = 10'000;

  /// Throws FileError when it cannot be read, SafetensorsError when it breaks a rule of the format or a limit
  /// above or of TensorSource.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const override { return file_.path(); }
  const Metadata& metadata() const { return metadata_; }

  std::vector<std::byte> bytes(std::string_view name) const override;
  /// Integers of any width as i64; a U64 beyond its range, and other types, throw SafetensorsError
  /// (wrong_type).
  std::vector<std::int64_t> read_i64(std::string_view name) const;

 private:
  [[noreturn]] void refuse(Misfit misfit, const std::string& what) const override;

  InputFile file_;
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
