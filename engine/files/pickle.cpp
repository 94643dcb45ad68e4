#include "engine/files/pickle.h"

#include <bit>
#include <cstring>

#include "engine/files/pickle_torch.h"

namespace ddpmts {
namespace {

/// The opcodes of protocols 0 to 5 (Python's Lib/pickletools.py), for errors; not all are taken.
struct OpcodeRow {
  unsigned char code;
  const char* name;
};
constexpr OpcodeRow kOpcodes[] = {
    {'(', "MARK"},
    {'.', "STOP"},
    {'0', "POP"},
    {'1', "POP_MARK"},
    {'2', "DUP"},
    {'F', "FLOAT"},
    {'I', "INT"},
    {'J', "BININT"},
    {'K', "BININT1"},
    {'L', "LONG"},
    {'M', "BININT2"},
    {'N', "NONE"},
    {'P', "PERSID"},
    {'Q', "BINPERSID"},
    {'R', "REDUCE"},
    {'S', "STRING"},
    {'T', "BINSTRING"},
    {'U', "SHORT_BINSTRING"},
    {'V', "UNICODE"},
    {'X', "BINUNICODE"},
    {'a', "APPEND"},
    {'b', "BUILD"},
    {'c', "GLOBAL"},
    {'d', "DICT"},
    {'}', "EMPTY_DICT"},
    {'e', "APPENDS"},
    {'g', "GET"},
    {'h', "BINGET"},
    {'i', "INST"},
    {'j', "LONG_BINGET"},
    {'l', "LIST"},
    {']', "EMPTY_LIST"},
    {'o', "OBJ"},
    {'p', "PUT"},
    {'q', "BINPUT"},
    {'r', "LONG_BINPUT"},
    {'s', "SETITEM"},
    {'t', "TUPLE"},
    {')', "EMPTY_TUPLE"},
    {'u', "SETITEMS"},
    {'G', "BINFLOAT"},
    {'B', "BINBYTES"},
    {'C', "SHORT_BINBYTES"},
    {0x80, "PROTO"},
    {0x81, "NEWOBJ"},
    {0x82, "EXT1"},
    {0x83, "EXT2"},
    {0x84, "EXT4"},
    {0x85, "TUPLE1"},
    {0x86, "TUPLE2"},
    {0x87, "TUPLE3"},
    {0x88, "NEWTRUE"},
    {0x89, "NEWFALSE"},
    {0x8a, "LONG1"},
    {0x8b, "LONG4"},
    {0x8c, "SHORT_BINUNICODE"},
    {0x8d, "BINUNICODE8"},
    {0x8e, "BINBYTES8"},
    {0x8f, "EMPTY_SET"},
    {0x90, "ADDITEMS"},
    {0x91, "FROZENSET"},
    {0x92, "NEWOBJ_EX"},
    {0x93, "STACK_GLOBAL"},
    {0x94, "MEMOIZE"},
    {0x95, "FRAME"},
    {0x96, "BYTEARRAY8"},
    {0x97, "NEXT_BUFFER"},
    {0x98, "READONLY_BUFFER"},
};

const char* name_of_opcode(unsigned char code) {
  for (const OpcodeRow& row : kOpcodes) {
    if (row.code == code) return row.name;
  }
  return "an unknown opcode";
}

}  // namespace

const char* kind_of(const PickleValue& value) {
  constexpr const char* kKinds[] = {"None",         "True or False", "a number", "a number with a fraction",
                                    "a text",       "a tuple",       "a list",   "a dictionary",
                                    "a class name", "a storage",     "a tensor"};
  static_assert(std::size(kKinds) == std::variant_size_v<decltype(value.content)>);
  return kKinds[value.content.index()];
}

const std::string* text_of(const PickleValue& value) { return std::get_if<std::string>(&value.content); }

/// Reads one pickle into a Pickle.
class PickleMachine {
 public:
  PickleMachine(Pickle& pickle, std::span<const std::byte> bytes, PickleForm form,
                const std::filesystem::path& path, std::string_view where)
      : pickle_(pickle), bytes_(bytes), form_(form), place_{path, where} {}

  void run() {
    while (pickle_.root_ == nullptr) step();
    pickle_.consumed_ = at_;
  }

 private:
  // --- the pickle's bytes ---

  std::span<const std::byte> take(std::size_t count) {
    if (count > bytes_.size() - at_)
      place_.refuse("the pickle ends here; the file is cut short, copy it again");
    const std::span<const std::byte> part = bytes_.subspan(at_, count);
    at_ += count;
    return part;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string text(std::size_t length) {
    const std::span<const std::byte> part = take(length);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  std::string line() {
    std::string out;
    for (char c = number<char>(); c != '\n'; c = number<char>()) out += c;
    return out;
  }
  /// LONG1: little-endian two's complement of up to 255 bytes.
  std::int64_t long1() {
    const std::size_t length = number<std::uint8_t>();
    if (length > sizeof(std::int64_t)) place_.refuse(fmt::format("a number of {} bytes", length));
    const std::span<const std::byte> part = take(length);
    const bool negative = length > 0 && (std::to_integer<unsigned>(part.back()) & 0x80u) != 0;
    std::int64_t value = negative ? -1 : 0;
    std::memcpy(&value, part.data(), length);
    return value;
  }

  // --- values, stack and memo ---

  void spend(std::size_t count) {
    if (count > Pickle::kMaxValues - spent_) {
      place_.refuse(fmt::format("more than {} values; check that it is the right file", Pickle::kMaxValues));
    }
    spent_ += count;
  }
  void push(PickleValue* value) {  // null is a mark
    if (stack_.size() == Pickle::kMaxStack)
      place_.refuse(fmt::format("more than {} open values", Pickle::kMaxStack));
    stack_.push_back(value);
  }
  template <class T>
  void make(T&& content) {
    spend(1);
    push(&pickle_.values_.emplace_back(PickleValue{std::forward<T>(content)}));
  }
  PickleValue& top() {
    if (stack_.empty() || stack_.back() == nullptr) place_.refuse("there is no value for it");
    return *stack_.back();
  }
  PickleValue& pop() {
    PickleValue& value = top();
    stack_.pop_back();
    return value;
  }
  std::vector<const PickleValue*> pop_values(std::size_t count) {
    std::vector<const PickleValue*> values(count);
    for (std::size_t i = count; i-- > 0;) values[i] = &pop();
    return values;
  }
  std::vector<const PickleValue*> pop_to_mark() {
    std::size_t count = 0;
    while (count < stack_.size() && stack_[stack_.size() - 1 - count] != nullptr) ++count;
    if (count == stack_.size()) place_.refuse("there is no mark for it");
    std::vector<const PickleValue*> values = pop_values(count);
    stack_.pop_back();
    return values;
  }
  void put(std::size_t index) {
    if (index >= Pickle::kMaxValues) place_.refuse(fmt::format("the memo's place {}", index));
    PickleValue& value = top();
    if (index >= memo_.size()) memo_.resize(index + 1, nullptr);
    memo_[index] = &value;
  }
  void get(std::size_t index) {
    if (index >= memo_.size() || memo_[index] == nullptr) {
      place_.refuse(fmt::format("nothing is in the memo's place {}", index));
    }
    push(memo_[index]);
  }

  // --- what opcodes do ---

  void global() {
    const std::string module = line(), name = line();
    const std::optional<PickleGlobal> global = pickle_global(module, name);
    if (!global) {
      place_.refuse(
          fmt::format("{} is asked for, and only tensors are read: nothing else is loaded, and nothing was "
                      "run. Where you trust the file, save its state_dict() anew",
                      in_quotes(module + "." + name)));
    }
    make(*global);
  }
  void append(const std::vector<const PickleValue*>& values) {
    auto* list = std::get_if<PickleList>(&top().content);
    if (list == nullptr) place_.refuse(fmt::format("{} is appended to", kind_of(top())));
    spend(values.size());
    list->items.insert(list->items.end(), values.begin(), values.end());
  }
  void set_items(const std::vector<const PickleValue*>& values) {
    auto* dict = std::get_if<PickleDict>(&top().content);
    if (dict == nullptr) place_.refuse(fmt::format("{} is given entries", kind_of(top())));
    if (values.size() % 2 != 0) place_.refuse("a key without a value");
    spend(values.size());
    for (std::size_t i = 0; i < values.size(); i += 2) dict->items.emplace_back(values[i], values[i + 1]);
  }
  void reduce() {
    const PickleValue& arguments = pop();
    const PickleValue& function = pop();
    const auto* global = std::get_if<PickleGlobal>(&function.content);
    if (global == nullptr) place_.refuse(fmt::format("{} is called", kind_of(function)));
    PickleValue result = result_of(*global, arguments, place_);
    if (const auto* dict = std::get_if<PickleDict>(&result.content)) spend(2 * dict->items.size());
    make(std::move(result.content));
  }
  void build() {
    const PickleValue& state = pop();
    drop_state(top(), state, place_);
  }
  void persistent() {
    PickleStorage storage = storage_of(pop(), form_, place_);
    const auto [known, is_new] = pickle_.storages_.try_emplace(storage.key, storage);
    if (!is_new && (known->second.type != storage.type || known->second.count != storage.count)) {
      place_.refuse(fmt::format("storage {} has {} elements of type {} here, {} of type {} before",
                                in_quotes(storage.key), storage.count, name_of(storage.type),
                                known->second.count, name_of(known->second.type)));
    }
    make(&std::as_const(known->second));
  }
  void stop() {
    PickleValue& root = pop();
    if (!stack_.empty()) place_.refuse(fmt::format("{} values are left over", stack_.size()));
    pickle_.root_ = &root;
  }

  void step() {
    place_.offset = at_;
    place_.opcode = "its next opcode";
    const auto code = number<unsigned char>();
    place_.opcode = name_of_opcode(code);
    if ((code == 0x80) != (place_.offset == 0))
      place_.refuse("a pickle begins with PROTO, and has it nowhere else");
    switch (code) {
      case 0x80:  // PROTO
        if (const auto protocol = number<std::uint8_t>(); protocol != 2) {
          place_.refuse(fmt::format("protocol {}; save it with PyTorch's own, which is 2", protocol));
        }
        return;
      case '.':
        return stop();
      case '(':
        return push(nullptr);
      case 'N':
        return make(PickleNone{});
      case 0x88:
        return make(true);
      case 0x89:
        return make(false);
      case 'J':
        return make(std::int64_t{number<std::int32_t>()});
      case 'K':
        return make(std::int64_t{number<std::uint8_t>()});
      case 'M':
        return make(std::int64_t{number<std::uint16_t>()});
      case 0x8a:
        return make(long1());
      case 'G':
        return make(std::bit_cast<double>(__builtin_bswap64(number<std::uint64_t>())));
      case 'X':
        return make(text(number<std::uint32_t>()));
      case 'U':
        return make(text(number<std::uint8_t>()));
      case ')':
        return make(PickleTuple{});
      case 't':
        return make_tuple(pop_to_mark());
      case 0x85:
        return make_tuple(pop_values(1));
      case 0x86:
        return make_tuple(pop_values(2));
      case 0x87:
        return make_tuple(pop_values(3));
      case ']':
        return make(PickleList{});
      case 'a':
        return append(pop_values(1));
      case 'e':
        return append(pop_to_mark());
      case '}':
        return make(PickleDict{});
      case 's':
        return set_items(pop_values(2));
      case 'u':
        return set_items(pop_to_mark());
      case 'h':
        return get(number<std::uint8_t>());
      case 'j':
        return get(number<std::uint32_t>());
      case 'q':
        return put(number<std::uint8_t>());
      case 'r':
        return put(number<std::uint32_t>());
      case 'c':
        return global();
      case 'R':
        return reduce();
      case 'b':
        return build();
      case 'Q':
        return persistent();
      default:
        place_.refuse(fmt::format("opcode 0x{:02x}, which no file of tensors needs", code));
    }
  }
  void make_tuple(std::vector<const PickleValue*> items) {
    spend(items.size());
    make(PickleTuple{std::move(items)});
  }

  Pickle& pickle_;
  std::span<const std::byte> bytes_;
  PickleForm form_;
  PicklePlace place_;
  std::size_t at_ = 0;
  std::size_t spent_ = 0;
  std::vector<PickleValue*> stack_;
  std::vector<PickleValue*> memo_;
};

Pickle::Pickle(std::span<const std::byte> bytes, PickleForm form, const std::filesystem::path& path,
               std::string_view where) {
  PickleMachine(*this, bytes, form, path, where).run();
}

}  // namespace ddpmts
