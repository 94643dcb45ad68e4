// What the names in PyTorch's pickles stand for. Only pickle.cpp needs this.
#pragma once

#include <optional>

#include "engine/files/pickle.h"

namespace ddpmts {

/// The place in a pickle that is being read, for errors.
struct PicklePlace {
  const std::filesystem::path& path;
  std::string_view pickle;  ///< "data.pkl"
  const char* opcode = "";
  std::size_t offset = 0;

  /// Throws FileError "cannot use '<file>': <pickle>, <opcode> at byte <offset>: <what>".
  [[noreturn]] void refuse(const std::string& what) const;
};

/// Nothing when a pickle of tensors has no need of that name.
std::optional<PickleGlobal> pickle_global(std::string_view module, std::string_view name);
/// "torch._utils._rebuild_tensor_v2"
const char* name_of(PickleGlobal global);

/// The storage that a persistent identifier names: ('storage', class, key, location, count), and None in the stream form.
PickleStorage storage_of(const PickleValue& identifier, PickleForm form, const PicklePlace& place);

/// What `function` would give for `arguments`, a tuple: an OrderedDict or a tensor.
PickleValue result_of(PickleGlobal function, const PickleValue& arguments, const PicklePlace& place);

/// PyTorch hangs `_metadata` (versions of modules) on an OrderedDict: nothing that weights need. Refuses any other state.
void drop_state(const PickleValue& target, const PickleValue& state, const PicklePlace& place);

}  // namespace ddpmts
