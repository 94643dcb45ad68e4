#include "engine/files/pickle_torch.h"

#include <array>

namespace ddpmts {
namespace {

struct GlobalRow {
  const char* module;
  const char* name;
  const char* full_name;
  std::optional<StoredType> storage;  ///< of a class of storages
};
constexpr std::array<GlobalRow, 10> kGlobals = {{
    {"collections", "OrderedDict", "collections.OrderedDict", {}},
    {"torch._utils", "_rebuild_tensor", "torch._utils._rebuild_tensor", {}},
    {"torch._utils", "_rebuild_tensor_v2", "torch._utils._rebuild_tensor_v2", {}},
    {"torch._utils", "_rebuild_parameter", "torch._utils._rebuild_parameter", {}},
    {"torch", "HalfStorage", "torch.HalfStorage", StoredType::f16},
    {"torch", "BFloat16Storage", "torch.BFloat16Storage", StoredType::bf16},
    {"torch", "IntStorage", "torch.IntStorage", StoredType::i32},
    {"torch", "FloatStorage", "torch.FloatStorage", StoredType::f32},
    {"torch", "LongStorage", "torch.LongStorage", StoredType::i64},
    {"torch", "DoubleStorage", "torch.DoubleStorage", StoredType::f64},
}};
static_assert(kGlobals.size() == static_cast<std::size_t>(PickleGlobal::double_storage) + 1);

const GlobalRow& row_of(PickleGlobal global) { return kGlobals[static_cast<std::size_t>(global)]; }

template <class T>
const T* as(const PickleValue& value) {
  return std::get_if<T>(&value.content);
}

const PickleTuple& tuple_of(const PickleValue& value, const char* what, const PicklePlace& place) {
  const auto* tuple = as<PickleTuple>(value);
  if (tuple == nullptr) place.refuse(fmt::format("{} is {}, a tuple was expected", what, kind_of(value)));
  return *tuple;
}

/// A number that is not negative.
std::int64_t count_of(const PickleValue& value, const char* what, const PicklePlace& place) {
  const auto* number = as<std::int64_t>(value);
  if (number == nullptr) place.refuse(fmt::format("{} is {}, a number was expected", what, kind_of(value)));
  if (*number < 0) place.refuse(fmt::format("{} is {}", what, *number));
  return *number;
}

std::vector<std::int64_t> counts_of(const PickleValue& value, const char* what, const PicklePlace& place) {
  const PickleTuple& tuple = tuple_of(value, what, place);
  if (tuple.items.size() > TensorSource::kMaxDimensions) {
    place.refuse(fmt::format("a tensor of {} dimensions; at most {} are taken", tuple.items.size(),
                             TensorSource::kMaxDimensions));
  }
  std::vector<std::int64_t> counts;
  for (const PickleValue* item : tuple.items) counts.push_back(count_of(*item, what, place));
  return counts;
}

void require_arguments(const PickleTuple& arguments, std::size_t count, PickleGlobal function,
                       const PicklePlace& place) {
  if (arguments.items.size() != count) {
    place.refuse(fmt::format("{} with {} arguments, {} were expected", name_of(function),
                             arguments.items.size(), count));
  }
}

/// Hooks are Python functions that run when a tensor is used.
void require_no_hooks(const PickleValue& hooks, const PicklePlace& place) {
  const auto* dict = as<PickleDict>(hooks);
  if (as<PickleNone>(hooks) == nullptr && (dict == nullptr || !dict->items.empty())) {
    place.refuse("a tensor with hooks, which are code: save the tensors alone");
  }
}

/// `arguments` begin with storage, offset, size and stride.
PickleTensor tensor_of(const PickleTuple& arguments, const PicklePlace& place) {
  const auto* storage = as<const PickleStorage*>(*arguments.items[0]);
  if (storage == nullptr) {
    place.refuse(fmt::format("a tensor in {}, a storage was expected", kind_of(*arguments.items[0])));
  }
  PickleTensor tensor{*storage, count_of(*arguments.items[1], "a tensor's offset", place),
                      counts_of(*arguments.items[2], "a tensor's size", place)};
  const std::vector<std::int64_t> strides = counts_of(*arguments.items[3], "a tensor's stride", place);
  if (strides.size() != tensor.shape.size()) {
    place.refuse(
        fmt::format("a tensor of size {} with stride {}", shape_text(tensor.shape), shape_text(strides)));
  }
  std::int64_t count = 1;
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] > 1 && strides[i] != count) {
      place.refuse(
          fmt::format("a tensor of size {} with stride {} is not contiguous: call .contiguous() on it "
                      "and save it anew",
                      shape_text(tensor.shape), shape_text(strides)));
    }
    if (__builtin_mul_overflow(count, tensor.shape[i], &count)) {
      place.refuse(fmt::format("a tensor of the impossible size {}", shape_text(tensor.shape)));
    }
  }
  std::int64_t end = 0;
  if (__builtin_add_overflow(tensor.offset, count, &end) || end > tensor.storage->count) {
    place.refuse(fmt::format("a tensor of size {} from element {} on, its storage {} has {} elements",
                             shape_text(tensor.shape), tensor.offset, in_quotes(tensor.storage->key),
                             tensor.storage->count));
  }
  return tensor;
}

/// OrderedDict(), or as Python 2 wrote it, OrderedDict([[key, value], …]).
PickleDict ordered_dict_of(const PickleTuple& arguments, const PicklePlace& place) {
  PickleDict dict;
  dict.ordered = true;
  if (arguments.items.empty()) return dict;
  require_arguments(arguments, 1, PickleGlobal::ordered_dict, place);
  const auto* entries = as<PickleList>(*arguments.items[0]);
  if (entries == nullptr) {
    place.refuse(fmt::format("an OrderedDict of {}, a list was expected", kind_of(*arguments.items[0])));
  }
  for (const PickleValue* entry : entries->items) {
    const auto* list = as<PickleList>(*entry);
    const auto* tuple = as<PickleTuple>(*entry);
    if ((list == nullptr && tuple == nullptr) || (list ? list->items : tuple->items).size() != 2) {
      place.refuse("an OrderedDict of other things than pairs");
    }
    const auto& pair = list ? list->items : tuple->items;
    dict.items.emplace_back(pair[0], pair[1]);
  }
  return dict;
}

}  // namespace

void PicklePlace::refuse(const std::string& what) const {
  throw FileError(
      fmt::format("cannot use {}: {}, {} at byte {}: {}", in_quotes(path), pickle, opcode, offset, what),
      path);
}

std::optional<PickleGlobal> pickle_global(std::string_view module, std::string_view name) {
  for (std::size_t i = 0; i < kGlobals.size(); ++i) {
    if (module == kGlobals[i].module && name == kGlobals[i].name) return static_cast<PickleGlobal>(i);
  }
  return std::nullopt;
}

const char* name_of(PickleGlobal global) { return row_of(global).full_name; }

PickleStorage storage_of(const PickleValue& identifier, PickleForm form, const PicklePlace& place) {
  const PickleTuple& parts = tuple_of(identifier, "a persistent identifier", place);
  const std::string* kind = parts.items.empty() ? nullptr : text_of(*parts.items[0]);
  if (kind == nullptr || *kind != "storage") {
    place.refuse(fmt::format("a persistent identifier {}; only storages are taken",
                             kind == nullptr ? "without a kind" : "of the kind " + in_quotes(*kind)));
  }
  const std::size_t expected = form == PickleForm::zip ? 5 : 6;
  if (parts.items.size() != expected) {
    place.refuse(
        fmt::format("a storage's identifier of {} parts, {} were expected", parts.items.size(), expected));
  }
  if (form == PickleForm::stream && as<PickleNone>(*parts.items[5]) == nullptr) {
    place.refuse("a view of another storage; save it anew with a current PyTorch");
  }
  const auto* type = as<PickleGlobal>(*parts.items[1]);
  if (type == nullptr || !row_of(*type).storage) {
    place.refuse(fmt::format("a storage of the class {}", type ? name_of(*type) : kind_of(*parts.items[1])));
  }
  const std::string* key = text_of(*parts.items[2]);
  const std::string* location = text_of(*parts.items[3]);
  if (key == nullptr || location == nullptr) place.refuse("a storage's key or location is no text");
  if (key->empty() || key->size() > TensorSource::kMaxNameBytes) {
    place.refuse(fmt::format("a storage with a key of {} bytes", key->size()));
  }
  const std::int64_t count = count_of(*parts.items[4], "a storage's number of elements", place);
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(count, static_cast<std::int64_t>(size_of(*row_of(*type).storage)), &bytes)) {
    place.refuse(fmt::format("a storage of {} elements", count));
  }
  return {*key, *row_of(*type).storage, count};
}

PickleValue result_of(PickleGlobal function, const PickleValue& arguments, const PicklePlace& place) {
  const PickleTuple& tuple = tuple_of(arguments, "what a function is called with", place);
  switch (function) {
    case PickleGlobal::ordered_dict:
      return {ordered_dict_of(tuple, place)};
    case PickleGlobal::rebuild_tensor:
      require_arguments(tuple, 4, function, place);
      return {tensor_of(tuple, place)};
    case PickleGlobal::rebuild_tensor_v2:
      require_arguments(tuple, 6, function, place);  // a seventh marks a conjugated or negated tensor
      if (as<bool>(*tuple.items[4]) == nullptr) place.refuse("a tensor's requires_grad is not True or False");
      require_no_hooks(*tuple.items[5], place);
      return {tensor_of(tuple, place)};
    case PickleGlobal::rebuild_parameter: {
      require_arguments(tuple, 3, function, place);
      const auto* data = as<PickleTensor>(*tuple.items[0]);
      if (data == nullptr) {
        place.refuse(fmt::format("a parameter of {}, a tensor was expected", kind_of(*tuple.items[0])));
      }
      if (as<bool>(*tuple.items[1]) == nullptr)
        place.refuse("a parameter's requires_grad is not True or False");
      require_no_hooks(*tuple.items[2], place);
      return {*data};
    }
    default:
      place.refuse(fmt::format("{} is called; it is only to be named", name_of(function)));
  }
}

void drop_state(const PickleValue& target, const PickleValue& state, const PicklePlace& place) {
  const auto* dict = as<PickleDict>(target);
  if (dict == nullptr || !dict->ordered) {
    place.refuse(fmt::format("{} is given attributes; only an OrderedDict may have them", kind_of(target)));
  }
  const auto* attributes = as<PickleDict>(state);
  if (attributes == nullptr) place.refuse(fmt::format("attributes that are {}", kind_of(state)));
  if (attributes->items.size() > 1) {
    place.refuse(
        fmt::format("{} attributes of an OrderedDict; only '_metadata' is taken", attributes->items.size()));
  }
  for (const auto& [key, value] : attributes->items) {
    const std::string* name = text_of(*key);
    if (name == nullptr || *name != "_metadata") {
      place.refuse(fmt::format("the attribute {} of an OrderedDict; only '_metadata' is taken",
                               name == nullptr ? kind_of(*key) : in_quotes(*name)));
    }
  }
}

}  // namespace ddpmts
