// The JSON header of a safetensors file. Only safetensors.cpp needs this.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/files/safetensors.h"

namespace ddpmts {

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  ///< in the header's order; offsets from the start of the file
  Metadata metadata;
};

/// Throws SafetensorsError "cannot use '<file>': <fault in words>".
[[noreturn]] void throw_safetensors(SafetensorsFault fault, const std::filesystem::path& path,
                                    const std::string& what);

/// Bytes of a tensor; throws SafetensorsError (size_mismatch) when that does not fit 63 bits.
std::uint64_t checked_bytes(StoredType type, std::span<const std::int64_t> shape, const std::string& name,
                            const std::filesystem::path& path);

/// Parses and checks everything. `data_begin` is where the tensors' bytes start in the file, `data_bytes` how
/// many there are. Throws SafetensorsError.
SafetensorsHeader parse_safetensors_header(std::span<const char> json, std::uint64_t data_begin,
                                           std::uint64_t data_bytes, const std::filesystem::path& path);

/// The JSON text, without padding; offsets in `tensors` count from the first data byte.
std::string format_safetensors_header(std::span<const TensorInfo> tensors, const Metadata& metadata,
                                      const std::filesystem::path& path);

}  // namespace ddpmts
