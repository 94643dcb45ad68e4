// Writes the bytes of PyTorch's files by hand: pickles from their opcodes, ZIP archives and streams from pieces. What it
// writes when nothing is spoilt on purpose is what torch.save writes (tests/golden/torch holds real ones).
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/files/crc32.h"

namespace ddpmts::testing {

// A literal in front of a sum of strings is made a std::string first: GCC 12 warns of an overlap that is not there.

/// Little-endian, `count` bytes.
inline std::string le(std::uint64_t value, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

// --- pickles ---

inline const std::string kProto = "\x80\x02";

inline std::string py_text(std::string_view text) {
  return std::string("X") + le(text.size(), 4) + std::string(text);
}
inline std::string py_int(std::int64_t value) {
  if (value >= 0 && value < 256) return std::string("K") + le(static_cast<std::uint64_t>(value), 1);
  if (value >= 0 && value < 65536) return std::string("M") + le(static_cast<std::uint64_t>(value), 2);
  if (value == static_cast<std::int32_t>(value))
    return std::string("J") + le(static_cast<std::uint64_t>(value), 4);
  return std::string("\x8a\x08") + le(static_cast<std::uint64_t>(value), 8);
}
inline std::string py_global(std::string_view module, std::string_view name) {
  return std::string("c") + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string py_tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
inline std::string py_ints(const std::vector<std::int64_t>& values) {
  std::vector<std::string> items;
  for (const std::int64_t value : values) items.push_back(py_int(value));
  return py_tuple(items);
}
inline std::string py_list(const std::vector<std::string>& items) {
  std::string out = "](";
  for (const std::string& item : items) out += item;
  return out + "e";
}
inline std::string py_call(const std::string& function, const std::vector<std::string>& arguments) {
  return function + py_tuple(arguments) + "R";
}
/// The entries of a dictionary that lies on the stack.
inline std::string py_entries(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string out = "(";
  for (const auto& [key, value] : entries) out += key + value;
  return out + "u";
}
inline std::string py_dict(const std::vector<std::pair<std::string, std::string>>& entries) {
  return std::string("}") + py_entries(entries);
}
inline const std::string kOrderedDict = py_global("collections", "OrderedDict");
inline const std::string kNoHooks = kOrderedDict + ")R";
inline const std::string kTrue = "\x88", kFalse = "\x89", kNone = "N";

/// What is said about one tensor; every part can be made wrong.
struct PyTensor {
  std::string key = "0", type = "FloatStorage";
  std::int64_t count = 0;  ///< elements of the storage
  std::vector<std::int64_t> shape, stride;
  std::int64_t offset = 0;
  bool in_stream = false;
  std::string hooks = kNoHooks;

  std::string storage() const {
    std::vector<std::string> id = {py_text("storage"), py_global("torch", type), py_text(key), py_text("cpu"),
                                   py_int(count)};
    if (in_stream) id.push_back(kNone);
    return py_tuple(id) + "Q";
  }
  std::string text() const {
    return py_call(py_global("torch._utils", "_rebuild_tensor_v2"),
                   {storage(), py_int(offset), py_ints(shape), py_ints(stride), kFalse, hooks});
  }
};

/// A contiguous tensor that is alone in its storage.
inline PyTensor py_tensor(std::string key, const std::vector<std::int64_t>& shape, bool in_stream = false) {
  PyTensor tensor;
  tensor.key = std::move(key);
  tensor.shape = tensor.stride = shape;
  tensor.count = 1;
  for (std::size_t i = shape.size(); i-- > 0; tensor.count *= shape[i]) tensor.stride[i] = tensor.count;
  tensor.in_stream = in_stream;
  return tensor;
}

/// A whole pickle.
inline std::string py_pickle(const std::string& program) { return kProto + program + "."; }

// --- ZIP ---

struct ZipPiece {
  std::string name, data;
  // What the directory and the local header say; both can be made wrong.
  unsigned flags = 1u << 3 | 1u << 11, method = 0;
  std::int64_t crc_change = 0, size_change = 0;
  std::string local_name = {};  ///< when not empty, instead of name
  std::int64_t local_at = -1;   ///< when not negative, where the directory says the entry is
  bool wide = false;            ///< its numbers in a ZIP64 extra field
};

struct ZipOptions {
  bool end64 = true;              ///< PyTorch writes the ZIP64 end record always
  std::int64_t entry_change = 0;  ///< added to the end records' number of entries
  std::string comment = {};
};

/// As PyTorch lays a file out: sizes and checksum in a descriptor after the data, the data aligned to 64 bytes by an extra
/// field "FB".
inline std::string zip_bytes(const std::vector<ZipPiece>& pieces, const ZipOptions& options = {}) {
  std::string out, directory;
  for (const ZipPiece& piece : pieces) {
    const std::string& local_name = piece.local_name.empty() ? piece.name : piece.local_name;
    const std::uint64_t at = out.size();
    const std::size_t padding = 64 - (at + 30 + local_name.size() + 4) % 64;
    const std::string extra = std::string("FB") + le(padding, 2) + std::string(padding, 'Z');
    const std::uint64_t crc =
        crc32(std::as_bytes(std::span(piece.data))) + static_cast<std::uint64_t>(piece.crc_change);
    const std::uint64_t size = piece.data.size() + static_cast<std::uint64_t>(piece.size_change);
    const bool follows = (piece.flags & 1u << 3) != 0;
    out += std::string("PK\3\4") + le(0, 2) + le(piece.flags, 2) + le(piece.method, 2) + le(0, 4) +
           le(follows ? 0 : crc, 4) + le(follows ? 0 : size, 4) + le(follows ? 0 : size, 4) +
           le(local_name.size(), 2) + le(extra.size(), 2) + local_name + extra + piece.data;
    if (follows) out += std::string("PK\7\10") + le(crc, 4) + le(size, 4) + le(size, 4);
    const std::uint64_t said_at = piece.local_at < 0 ? at : static_cast<std::uint64_t>(piece.local_at);
    const std::string numbers = le(size, 8) + le(size, 8) + le(said_at, 8);
    const std::string central_extra = piece.wide ? le(1, 2) + le(numbers.size(), 2) + numbers : "";
    const auto narrow = [&](std::uint64_t value) { return le(piece.wide ? 0xffffffffu : value, 4); };
    directory += std::string("PK\1\2") + le(0, 4) + le(piece.flags, 2) + le(piece.method, 2) + le(0, 4) +
                 le(crc, 4) + narrow(size) + narrow(size) + le(piece.name.size(), 2) +
                 le(central_extra.size(), 2) + le(0, 2) + le(0, 2) + le(0, 6) + narrow(said_at) + piece.name +
                 central_extra;
  }
  const std::uint64_t directory_at = out.size();
  const std::uint64_t entries = pieces.size() + static_cast<std::uint64_t>(options.entry_change);
  out += directory;
  if (options.end64) {
    const std::uint64_t end64_at = out.size();
    out += std::string("PK\6\6") + le(44, 8) + le(0, 4) + le(0, 8) + le(entries, 8) + le(entries, 8) +
           le(directory.size(), 8) + le(directory_at, 8);
    out += std::string("PK\6\7") + le(0, 4) + le(end64_at, 8) + le(1, 4);
  }
  out += std::string("PK\5\6") + le(0, 4) + le(entries, 2) + le(entries, 2) + le(directory.size(), 4) +
         le(directory_at, 4) + le(options.comment.size(), 2) + options.comment;
  return out;
}

/// The entries of a torch.save file: its pickle and its storages by key.
inline std::vector<ZipPiece> torch_pieces(const std::string& pickle,
                                          const std::vector<std::pair<std::string, std::string>>& storages) {
  std::vector<ZipPiece> pieces = {{"archive/data.pkl", pickle}, {"archive/byteorder", "little"}};
  for (const auto& [key, data] : storages) pieces.push_back({"archive/data/" + key, data});
  pieces.push_back({"archive/version", "3\n"});
  return pieces;
}

// --- the stream form ---

inline const std::string kStreamStart =
    std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);

/// Pickles up to the list of keys.
inline std::string stream_head(const std::string& object, const std::vector<std::string>& keys,
                               const std::string& little_endian = kTrue, std::int64_t version = 1001) {
  std::vector<std::string> list;
  for (const std::string& key : keys) list.push_back(py_text(key));
  return kStreamStart + py_pickle(py_int(version)) +
         py_pickle(py_dict(
             {{py_text("protocol_version"), py_int(1001)}, {py_text("little_endian"), little_endian}})) +
         py_pickle(object) + py_pickle(py_list(list));
}

inline std::string stream_storage(std::int64_t count, const std::string& data) {
  return le(static_cast<std::uint64_t>(count), 8) + data;
}

}  // namespace ddpmts::testing
