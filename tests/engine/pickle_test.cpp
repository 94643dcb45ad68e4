#include "engine/files/pickle.h"

#include <gtest/gtest.h>

#include "tests/engine/torch_bytes.h"

namespace ddpmts {
namespace {

using namespace ddpmts::testing;

Pickle read(const std::string& bytes, PickleForm form = PickleForm::zip) {
  return Pickle(std::as_bytes(std::span(bytes)), form, "file.pth", "data.pkl");
}

/// What is said about a pickle that is refused; empty when it is not.
std::string refusal(const std::string& bytes, PickleForm form = PickleForm::zip) {
  try {
    read(bytes, form);
    return "";
  } catch (const FileError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("'file.pth': data.pkl, "), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
}

/// A pickle of one value, refused at the opcode `where` with `why`.
void expect_refused(const std::string& program, std::string_view where, std::string_view why,
                    PickleForm form = PickleForm::zip) {
  const std::string message = refusal(kProto + program + ".", form);
  EXPECT_NE(message.find(where), std::string::npos) << "[" << message << "] does not say " << where;
  EXPECT_NE(message.find(why), std::string::npos) << "[" << message << "] does not say " << why;
}

TEST(Pickle, PlainValues) {
  const auto integer = [](const std::string& program) {
    return std::get<std::int64_t>(read(kProto + program + ".").root().content);
  };
  for (const std::int64_t value : {std::int64_t{0}, std::int64_t{255}, std::int64_t{256}, std::int64_t{65535},
                                   std::int64_t{65536}, std::int64_t{-1}, std::int64_t{INT32_MIN},
                                   std::int64_t{INT32_MIN} - 1, std::int64_t{1} << 62, INT64_MIN}) {
    EXPECT_EQ(integer(py_int(value)), value);
  }
  EXPECT_EQ(integer(std::string("\x8a\x00", 2)), 0);
  EXPECT_EQ(integer("\x8a\x01\xff"), -1);
  EXPECT_EQ(integer(std::string("\x8a\x02\xff\x00", 4)), 255);
  EXPECT_EQ(std::get<double>(read(kProto + std::string("G\x3f\xb9\x99\x99\x99\x99\x99\x9a.")).root().content),
            0.1);
  EXPECT_EQ(*text_of(read(kProto + std::string("U\x03") + "abc.").root()), "abc");
  EXPECT_EQ(*text_of(read(py_pickle(py_text(""))).root()), "");
  EXPECT_TRUE(std::get<bool>(read(py_pickle(kTrue)).root().content));
  EXPECT_FALSE(std::get<bool>(read(py_pickle(kFalse)).root().content));
  EXPECT_STREQ(kind_of(read(py_pickle(kNone)).root()), "None");
}

TEST(Pickle, ContainersAndMemo) {
  // {'a': (1, 2, 3), 'b': [1, [ ], ()], 'c': the same list}, written with every opcode for containers.
  const std::string one = py_int(1), two = py_int(2), three = py_int(3);
  const std::string program = "}q" + le(0, 1) + py_text("a") + one + two + three + "\x87" + "s(" +
                              py_text("b") + "]q" + le(1, 1) + "(" + one + "]" + ")" + "e" + py_text("c") +
                              "h" + le(1, 1) + "u";
  const Pickle pickle = read(kProto + program + ".and more");
  EXPECT_EQ(pickle.consumed(), program.size() + 3);
  const auto& entries = std::get<PickleDict>(pickle.root().content).items;
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(*text_of(*entries[0].first), "a");
  EXPECT_EQ(std::get<PickleTuple>(entries[0].second->content).items.size(), 3u);
  const auto& list = std::get<PickleList>(entries[1].second->content).items;
  ASSERT_EQ(list.size(), 3u);
  EXPECT_STREQ(kind_of(*list[1]), "a list");
  EXPECT_STREQ(kind_of(*list[2]), "a tuple");
  EXPECT_EQ(entries[1].second, entries[2].second);

  const Pickle tuples = read(kProto + py_int(7) + "\x85r" + le(300, 4) + "j" + le(300, 4) + "\x86.");
  const auto& outer = std::get<PickleTuple>(tuples.root().content).items;
  ASSERT_EQ(outer.size(), 2u);
  EXPECT_EQ(outer[0], outer[1]);
  const Pickle appended = read(kProto + "]" + one + "a.");
  EXPECT_EQ(std::get<PickleList>(appended.root().content).items.size(), 1u);
}

TEST(Pickle, OrderedDicts) {
  const std::string state = py_dict({{py_text("_metadata"), py_dict({{py_text(""), py_int(1)}})}});
  const Pickle pickle = read(py_pickle(kNoHooks + py_entries({{py_text("a"), kNone}}) + state + "b"));
  EXPECT_EQ(std::get<PickleDict>(pickle.root().content).items.size(), 1u);
  // As Python 2 wrote them.
  const Pickle old = read(py_pickle(
      py_call(kOrderedDict, {py_list({py_list({py_text("a"), kNone}), py_tuple({py_text("b"), kNone})})})));
  const auto& entries = std::get<PickleDict>(old.root().content).items;
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(*text_of(*entries[1].first), "b");
}

TEST(Pickle, Tensors) {
  PyTensor part = py_tensor("12", {2, 3});
  part.count = 10;
  part.offset = 4;
  const Pickle pickle = read(py_pickle(part.text()));
  const auto& tensor = std::get<PickleTensor>(pickle.root().content);
  EXPECT_EQ(tensor.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(tensor.offset, 4);
  EXPECT_EQ(tensor.storage, &pickle.storages().at("12"));
  EXPECT_EQ(tensor.storage->type, StoredType::f32);
  EXPECT_EQ(tensor.storage->count, 10);

  const std::string parameter =
      py_call(py_global("torch._utils", "_rebuild_parameter"), {part.text(), kTrue, kNoHooks});
  EXPECT_STREQ(kind_of(read(py_pickle(parameter)).root()), "a tensor");
  const std::string first = py_call(py_global("torch._utils", "_rebuild_tensor"),
                                    {part.storage(), py_int(0), py_ints({10}), py_ints({1})});
  EXPECT_STREQ(kind_of(read(py_pickle(first)).root()), "a tensor");
  // A stride along an axis of one element, or of a tensor without any, says nothing.
  PyTensor odd = py_tensor("0", {1, 3});
  odd.stride = {77, 1};
  EXPECT_STREQ(kind_of(read(py_pickle(odd.text())).root()), "a tensor");
  const Pickle empty = read(py_pickle(py_tensor("0", {0, 4}).text()));
  EXPECT_EQ(std::get<PickleTensor>(empty.root().content).storage->count, 0);
}

TEST(Pickle, OtherNamesAreRefusedByName) {
  expect_refused(py_call(py_global("os", "system"), {py_text("touch /tmp/pwned")}), "GLOBAL at byte 2",
                 "'os.system'");
  expect_refused(py_global("torch", "FloatTensor"), "GLOBAL", "'torch.FloatTensor'");
  expect_refused(py_global("torchvision.models.resnet", "ResNet"), "GLOBAL", "state_dict()");
  expect_refused(py_global("torch", "ByteStorage"), "GLOBAL", "'torch.ByteStorage'");
  expect_refused(py_global("torch._utils", "_rebuild_tensor_v3"), "GLOBAL",
                 "'torch._utils._rebuild_tensor_v3'");
  expect_refused(py_global("collections", "OrderedDict\r"), "GLOBAL", "'collections.OrderedDict\\x0d'");
  expect_refused(py_global("", ""), "GLOBAL", "'.'");
}

TEST(Pickle, OtherOpcodesAreRefusedByName) {
  const std::string taken = std::string("\x80.(NJKMGXU)t]ae}suhjqrcRbQ") + "\x85\x86\x87\x88\x89\x8a";
  for (unsigned code = 0; code < 256; ++code) {
    if (taken.find(static_cast<char>(code)) != std::string::npos) continue;
    char hexadecimal[8];
    std::snprintf(hexadecimal, sizeof hexadecimal, "0x%02x", code);
    expect_refused(kNone + static_cast<char>(code), "at byte 3", hexadecimal);
  }
  expect_refused("\x93", "STACK_GLOBAL at byte 2", "0x93");
  expect_refused("\x81", "NEWOBJ at byte 2", "0x81");
  expect_refused(std::string("\x80\x02", 2), "PROTO at byte 2", "nowhere else");
  EXPECT_NE(refusal("\x80\x04N.").find("protocol 4"), std::string::npos);
  EXPECT_NE(refusal("N.").find("begins with PROTO"), std::string::npos);
}

TEST(Pickle, CallsThatMakeNoTensorAreRefused) {
  expect_refused(py_call(py_text("os.system"), {}), "REDUCE", "a text is called");
  expect_refused(py_call(py_global("torch", "FloatStorage"), {py_int(9)}), "REDUCE",
                 "torch.FloatStorage is called");
  expect_refused(kOrderedDict + "]R", "REDUCE", "a list, a tuple was expected");
  expect_refused(py_call(kOrderedDict, {py_int(1)}), "REDUCE", "a number, a list was expected");
  expect_refused(py_call(kOrderedDict, {kNone, kNone}), "REDUCE", "with 2 arguments");
  expect_refused(py_call(kOrderedDict, {py_list({py_tuple({kNone})})}), "REDUCE", "pairs");
  expect_refused("]}b", "BUILD", "a list is given attributes");
  expect_refused("}}b", "BUILD", "a dictionary is given attributes");
  expect_refused(kNoHooks + "Nb", "BUILD", "attributes that are None");
  expect_refused(kNoHooks + py_dict({{py_text("__class__"), kNone}}) + "b", "BUILD", "'__class__'");
  expect_refused(kNoHooks + py_dict({{py_text("_metadata"), kNone}, {py_text("x"), kNone}}) + "b", "BUILD",
                 "2 attributes");
}

TEST(Pickle, TensorsThatDoNotFitAreRefused) {
  const auto refused = [](const PyTensor& tensor, std::string_view why) {
    expect_refused(tensor.text(), "REDUCE", why);
  };
  PyTensor tensor = py_tensor("0", {2, 3});
  tensor.stride = {1, 2};
  refused(tensor, "[2, 3] with stride [1, 2] is not contiguous");
  tensor.stride = {0, 1};
  refused(tensor, "not contiguous");
  tensor.stride = {3};
  refused(tensor, "with stride [3]");
  tensor = py_tensor("0", {2, 3});
  tensor.offset = 1;
  refused(tensor, "from element 1 on, its storage '0' has 6");
  tensor.offset = INT64_MAX;
  refused(tensor, "its storage '0' has 6");
  tensor.offset = -1;
  refused(tensor, "offset is -1");
  tensor = py_tensor("0", {2});
  tensor.shape = {-2};
  refused(tensor, "size is -2");
  tensor = py_tensor("0", {1, 1, 1, 1, 1, 1, 1, 1, 1});
  refused(tensor, "9 dimensions");
  tensor = py_tensor("0", {0});
  tensor.shape = {std::int64_t{1} << 32, std::int64_t{1} << 32};
  tensor.stride = {std::int64_t{1} << 32, 1};
  refused(tensor, "impossible size");
  tensor = py_tensor("0", {2});
  tensor.hooks = kNoHooks + py_entries({{py_int(1), py_text("code")}});
  refused(tensor, "hooks");
  tensor.hooks = py_text("code");
  refused(tensor, "hooks");

  const std::string rebuild = py_global("torch._utils", "_rebuild_tensor_v2");
  const std::string storage = py_tensor("0", {2}).storage();
  const std::string size = py_ints({2}), stride = py_ints({1}), zero = py_int(0);
  expect_refused(py_call(rebuild, {storage, zero, size, stride, kFalse}), "REDUCE", "with 5 arguments");
  expect_refused(py_call(rebuild, {storage, zero, size, stride, kFalse, kNoHooks, py_dict({})}), "REDUCE",
                 "with 7 arguments");
  expect_refused(py_call(rebuild, {kNone, zero, size, stride, kFalse, kNoHooks}), "REDUCE",
                 "a tensor in None");
  expect_refused(py_call(rebuild, {storage, kNone, size, stride, kFalse, kNoHooks}), "REDUCE",
                 "offset is None");
  expect_refused(py_call(rebuild, {storage, zero, "]", stride, kFalse, kNoHooks}), "REDUCE",
                 "size is a list");
  expect_refused(py_call(rebuild, {storage, zero, py_tuple({kTrue}), stride, kFalse, kNoHooks}), "REDUCE",
                 "size is True or False");
  expect_refused(py_call(rebuild, {storage, zero, size, stride, zero, kNoHooks}), "REDUCE", "requires_grad");
  const std::string parameter = py_global("torch._utils", "_rebuild_parameter");
  expect_refused(py_call(parameter, {storage, kTrue, kNoHooks}), "REDUCE", "a parameter of a storage");
  expect_refused(py_call(parameter, {py_tensor("0", {2}).text(), kNone, kNoHooks}), "REDUCE",
                 "requires_grad");
  expect_refused(py_call(parameter, {py_tensor("0", {2}).text(), kTrue, kTrue}), "REDUCE", "hooks");
}

TEST(Pickle, OtherPersistentIdentifiersAreRefused) {
  const std::string type = py_global("torch", "FloatStorage"), key = py_text("0"), cpu = py_text("cpu");
  const std::string kind = py_text("storage"), count = py_int(1);
  const auto refused = [](const std::vector<std::string>& parts, std::string_view why,
                          PickleForm form = PickleForm::zip) {
    expect_refused(py_tuple(parts) + "Q", "BINPERSID", why, form);
  };
  expect_refused(kind + "Q", "BINPERSID", "a text, a tuple was expected");
  refused({}, "without a kind");
  refused({py_text("module"), type, kNone, kNone}, "'module'");
  refused({kind, type, key, cpu}, "4 parts");
  refused({kind, type, key, cpu, count, kNone}, "6 parts");
  refused({kind, type, key, cpu, count}, "5 parts", PickleForm::stream);
  refused({kind, type, key, cpu, count, py_tuple({key, count, count})}, "view", PickleForm::stream);
  refused({kind, kOrderedDict, key, cpu, count}, "collections.OrderedDict");
  refused({kind, py_text("FloatStorage"), key, cpu, count}, "class a text");
  refused({kind, type, count, cpu, count}, "no text");
  refused({kind, type, key, kNone, count}, "no text");
  refused({kind, type, py_text(""), cpu, count}, "0 bytes");
  refused({kind, type, py_text(std::string(513, 'k')), cpu, count}, "513 bytes");
  refused({kind, type, key, cpu, py_int(-1)}, "elements is -1");
  refused({kind, type, key, cpu, py_int(std::int64_t{1} << 61)}, "a storage of 2305843009213693952 elements");
  // One storage, two descriptions.
  PyTensor first = py_tensor("0", {2}), other = py_tensor("0", {3}), integers = py_tensor("0", {2});
  integers.type = "IntStorage";
  expect_refused(py_tuple({first.text(), other.text()}), "BINPERSID", "3 elements of type F32 here, 2");
  expect_refused(py_tuple({first.text(), integers.text()}), "BINPERSID", "type I32 here, 2 of type F32");
}

TEST(Pickle, StackAndMemoAreChecked) {
  expect_refused("", "STOP", "no value");
  expect_refused("(", "STOP", "no value");
  expect_refused("NN", "STOP", "1 values are left over");
  expect_refused("N(N", "STOP", "left over");
  expect_refused("t", "TUPLE", "no mark");
  expect_refused("Nt", "TUPLE", "no mark");
  expect_refused("\x85", "TUPLE1", "no value");
  expect_refused("N(\x86", "TUPLE2", "no value");
  expect_refused("NN\x87", "TUPLE3", "no value");
  expect_refused("]a", "APPEND", "no value");
  expect_refused("}Na", "APPEND", "a dictionary is appended to");
  expect_refused("}(Ne", "APPENDS", "a dictionary is appended to");
  expect_refused("]NNs", "SETITEM", "a list is given entries");
  expect_refused("}(Nu", "SETITEMS", "a key without a value");
  expect_refused("R", "REDUCE", "no value");
  expect_refused("Nb", "BUILD", "no value");
  expect_refused("Q", "BINPERSID", "no value");
  expect_refused(std::string("q\x00", 2), "BINPUT", "no value");
  expect_refused(std::string("h\x00", 2), "BINGET", "memo's place 0");
  expect_refused("Nq\x02h\x01", "BINGET", "memo's place 1");
  expect_refused("j" + le(0xffffffff, 4), "LONG_BINGET", "memo's place 4294967295");
  expect_refused("Nr" + le(1'000'000, 4), "LONG_BINPUT", "memo's place 1000000");
  expect_refused("\x8a\x09" + std::string(9, '\1'), "LONG1", "9 bytes");
}

TEST(Pickle, SizesAreBounded) {
  expect_refused(std::string(100'001, '('), "MARK at byte 100002", "100000 open values");
  // A million lists in one another: refused for their number on the stack, and harmless below.
  std::string nested = std::string(90'000, ']') + std::string(89'999, 'a');
  EXPECT_STREQ(kind_of(read(py_pickle(nested)).root()), "a list");
  // A list that contains itself.
  EXPECT_STREQ(kind_of(read(kProto + "]q" + le(0, 1) + "h" + le(0, 1) + "a.").root()), "a list");
  std::string many = "]";
  for (int i = 0; i < 600'000; ++i) many += "Na";
  expect_refused(many, "more than 1000000 values", "right file");
  // Containers that repeat others' entries are counted too.
  std::string copies = "](";
  for (int i = 0; i < 1000; ++i) copies += "NN\x86";
  copies += "eq" + le(0, 1);
  for (int i = 0; i < 2000; ++i) copies += kOrderedDict + "h" + le(0, 1) + "\x85R";
  expect_refused(copies, "REDUCE", "more than 1000000 values");
}

TEST(Pickle, EveryPrefixIsRefused) {
  const std::string whole = py_pickle(
      kNoHooks + py_entries({{py_text("a"), py_tensor("0", {2, 3}).text()}, {py_text("b"), py_int(-70000)}}));
  EXPECT_EQ(refusal(whole), "");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_NE(refusal(whole.substr(0, length)).find("ends here"), std::string::npos) << length;
  }
}

}  // namespace
}  // namespace ddpmts
