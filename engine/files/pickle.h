// The part of Python's pickle (protocol 2) that PyTorch writes dictionaries of tensors in. A pickle is a program for a stack
// machine, and Python's own reader lets it call anything: this one knows the opcodes and the names below and nothing else.
// It makes plain data and descriptions of tensors; it runs nothing, and it opens no other file.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/files/tensor_source.h"

namespace ddpmts {

struct PickleValue;

/// The names that a pickle may mention; torch_file's reader calls none of them, it knows what each would give.
enum class PickleGlobal : std::uint8_t {
  ordered_dict,       ///< collections.OrderedDict
  rebuild_tensor,     ///< torch._utils._rebuild_tensor
  rebuild_tensor_v2,  ///< torch._utils._rebuild_tensor_v2
  rebuild_parameter,  ///< torch._utils._rebuild_parameter
  half_storage,       ///< torch.HalfStorage, and so on
  bfloat16_storage,
  int_storage,
  float_storage,
  long_storage,
  double_storage,
};

/// A block of elements that lies elsewhere in the file.
struct PickleStorage {
  std::string key;
  StoredType type = StoredType::f32;
  std::int64_t count = 0;
};
/// A contiguous tensor inside a storage; offset + elements of shape ≤ storage's count.
struct PickleTensor {
  const PickleStorage* storage = nullptr;
  std::int64_t offset = 0;  ///< elements
  std::vector<std::int64_t> shape;
};
struct PickleNone {};
struct PickleTuple {
  std::vector<const PickleValue*> items;
};
struct PickleList {
  std::vector<const PickleValue*> items;
};
struct PickleDict {
  std::vector<std::pair<const PickleValue*, const PickleValue*>> items;  ///< as written: keys may repeat
  bool ordered = false;                                                  ///< an OrderedDict
};

struct PickleValue {
  std::variant<PickleNone, bool, std::int64_t, double, std::string, PickleTuple, PickleList, PickleDict,
               PickleGlobal, const PickleStorage*, PickleTensor>
      content;
};

/// "a list", for errors.
const char* kind_of(const PickleValue& value);
/// The text, or null when it is no text.
const std::string* text_of(const PickleValue& value);

/// Persistent identifiers have a sixth part, None, in the stream form of PyTorch's files.
enum class PickleForm : std::uint8_t { zip, stream };

/// One pickle, read. It owns its values, none of which holds another: a pickle that nests deeply, or that contains itself,
/// is harmless.
class Pickle {
 public:
  static constexpr std::uint64_t kMaxBytes = 16 << 20;
  static constexpr std::size_t kMaxValues = 1'000'000;  ///< values, and entries of containers
  static constexpr std::size_t kMaxStack = 100'000;

  /// Reads from the first of `bytes` to the pickle's STOP. `where` names the pickle in errors. Throws FileError naming the
  /// opcode and its offset, or the module and name, that it does not take.
  Pickle(std::span<const std::byte> bytes, PickleForm form, const std::filesystem::path& path,
         std::string_view where);

  const PickleValue& root() const { return *root_; }
  /// Bytes up to and with STOP.
  std::size_t consumed() const { return consumed_; }
  /// Every storage that was mentioned, by key.
  const std::map<std::string, PickleStorage, std::less<>>& storages() const { return storages_; }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;
  std::map<std::string, PickleStorage, std::less<>> storages_;
  const PickleValue* root_ = nullptr;
  std::size_t consumed_ = 0;
};

}  // namespace ddpmts
