// Files of torch.save: real ones, written by PyTorch (golden/torch), and spoilt ones, written by hand.
#include "engine/files/torch_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "generated/test_paths.h"
#include "tests/engine/files_scratch.h"
#include "tests/engine/torch_bytes.h"

namespace ddpmts {
namespace {

using namespace ddpmts::testing;
using nlohmann::json;
namespace fs = std::filesystem;

const json& golden() {
  static const json document = json::parse(get(DDPMTS_GOLDEN_DIR "/torch.json"));
  return document;
}

fs::path golden_file(const std::string& name, const std::string& form) {
  return fs::path(DDPMTS_GOLDEN_DIR "/torch") / (name + "_" + form + ".pth");
}

const char* torch_name(StoredType type) {
  switch (type) {
    case StoredType::f32:
      return "float32";
    case StoredType::f16:
      return "float16";
    case StoredType::bf16:
      return "bfloat16";
    case StoredType::f64:
      return "float64";
    case StoredType::i32:
      return "int32";
    case StoredType::i64:
      return "int64";
    default:
      return "another type";
  }
}

/// Any element as a double, from its bytes.
template <class T>
std::vector<double> widened(const std::vector<std::byte>& bytes) {
  std::vector<double> values;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    values.push_back(static_cast<double>(value));
  }
  return values;
}

std::vector<double> values_of(const TorchFile& file, const TensorInfo& info) {
  switch (info.type) {
    case StoredType::f64:
      return widened<double>(file.bytes(info.name));
    case StoredType::i32:
      return widened<std::int32_t>(file.bytes(info.name));
    case StoredType::i64:
      return widened<std::int64_t>(file.bytes(info.name));
    default:
      const std::vector<float> values = file.read_f32(info.name);
      return {values.begin(), values.end()};
  }
}

void expect_golden(const TorchFile& file, const json& expected) {
  ASSERT_EQ(file.tensors().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const TensorInfo& info = file.tensors()[i];
    EXPECT_EQ(info.name, expected[i]["name"]);
    EXPECT_EQ(torch_name(info.type), expected[i]["type"]) << info.name;
    EXPECT_EQ(info.shape, expected[i]["shape"].get<std::vector<std::int64_t>>()) << info.name;
    EXPECT_EQ(values_of(file, info), expected[i]["values"].get<std::vector<double>>()) << info.name;
  }
}

class TorchFileGolden : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, TorchFileGolden, ::testing::Values("zip", "stream"),
                         [](const auto& one) { return std::string(one.param); });

TEST_P(TorchFileGolden, ReadsWhatPyTorchWrites) {
  for (const char* name : {"types", "module", "checkpoint"}) {
    SCOPED_TRACE(name);
    const TorchFile file(golden_file(name, GetParam()));
    EXPECT_STREQ(file.form_name(), GetParam() == std::string("zip") ? "ZIP" : "stream");
    expect_golden(file, golden()[name]);
  }
}

/// What is said about a file that is refused; empty when it opens and all its tensors can be read.
std::string refusal(const fs::path& path) {
  try {
    const TorchFile file(path);
    for (const TensorInfo& info : file.tensors()) {
      if (file.bytes(info.name).size() != info.bytes) ADD_FAILURE() << info.name;
    }
    return "";
  } catch (const FileError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(path.filename().string()), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 2000u);
    return message;
  }
}
void expect_refused(const fs::path& path, std::string_view why) {
  const std::string message = refusal(path);
  EXPECT_NE(message.find(why), std::string::npos) << "[" << message << "] does not say " << why;
}
void expect_bytes_refused(const std::string& bytes, std::string_view why) {
  static const ScratchFolder scratch;
  put(scratch / "bad.pth", bytes);
  expect_refused(scratch / "bad.pth", why);
}

TEST_P(TorchFileGolden, RefusesWhatIsNoDictionaryOfTensors) {
  expect_refused(golden_file("whole_module", GetParam()), "'__main__.WholeModule'");
  expect_refused(golden_file("strided", GetParam()), "[3, 2] with stride [1, 3] is not contiguous");
  expect_refused(golden_file("bytes", GetParam()), "'torch.ByteStorage'");
  expect_refused(golden_file("number", GetParam()), "'epoch' is a number, a tensor was expected");
}

TEST_P(TorchFileGolden, EveryPrefixIsRefused) {
  const ScratchFolder scratch;
  const std::string whole = get(golden_file("types", GetParam()));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    put(scratch / "cut.pth", std::string_view(whole).substr(0, length));
    ASSERT_NE(refusal(scratch / "cut.pth"), "") << length;
  }
}

// Nothing is proven about what a spoilt file holds; it must not harm, and this is run with sanitizers.
TEST_P(TorchFileGolden, SpoiltBytesDoNoHarm) {
  const ScratchFolder scratch;
  const std::string whole = get(golden_file("checkpoint", GetParam()));
  TestRandom random(11);
  int opened = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = whole;
    for (std::size_t changes = 1 + random.below(3); changes > 0; --changes) {
      bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    }
    put(scratch / "bad.pth", bytes);
    opened += refusal(scratch / "bad.pth").empty() ? 1 : 0;
  }
  EXPECT_LT(opened, 3000);
}

TEST(TorchFile, ItsFormIsInItsBytes) {
  const ScratchFolder scratch;
  const auto form = [&](const std::string& bytes) {
    put(scratch / "weights.safetensors", bytes);
    return torch_form(InputFile(scratch / "weights.safetensors"));
  };
  EXPECT_EQ(form(""), TorchForm::none);
  EXPECT_EQ(form("PK\3"), TorchForm::none);
  EXPECT_EQ(form("PK\3\4"), TorchForm::zip);
  EXPECT_EQ(form(kStreamStart), TorchForm::stream);
  EXPECT_EQ(form(std::string(257, '\0') + "ustar" + std::string(250, '\0')), TorchForm::tar);
  EXPECT_EQ(form(std::string(8, '\1') + "{}"), TorchForm::none);
  expect_bytes_refused("", "no file of PyTorch");
  expect_bytes_refused(std::string(257, '\0') + "ustar" + std::string(250, '\0'), "resnet18-f37072fd.pth");
  expect_refused(scratch / "absent.pth", "absent.pth");
  expect_refused(scratch.path(), "folder");
}

/// A dictionary of one tensor `a` of six floats, and how it lies in a file of either form.
struct OneTensor {
  PyTensor tensor = py_tensor("0", {2, 3});
  std::string name = py_text("a"), data = std::string(24, 'x');

  std::string object() const { return py_dict({{name, tensor.text()}}); }
  std::vector<ZipPiece> pieces() const { return torch_pieces(py_pickle(object()), {{"0", data}}); }
  std::string stream() {
    tensor.in_stream = true;
    return stream_head(object(), {"0"}) + stream_storage(6, data);
  }
};

TEST(TorchFile, WrittenByHand) {
  const ScratchFolder scratch;
  OneTensor one;
  one.data = std::string("\0\0\x80\x3f", 4) + std::string(16, '\0') + std::string("\0\0\x20\xc1", 4);
  const std::vector<float> values = {1, 0, 0, 0, 0, -10};
  put(scratch / "zip.pth", zip_bytes(one.pieces()));
  EXPECT_EQ(TorchFile(scratch / "zip.pth").read_f32("a", std::vector<std::int64_t>{2, 3}), values);
  put(scratch / "stream.pth", one.stream());
  TorchFile opened(scratch / "stream.pth");
  const TorchFile moved = std::move(opened);
  EXPECT_EQ(moved.read_f32("a"), values);
  // Files of PyTorch before 1.12 have no byteorder.
  std::vector<ZipPiece> pieces = OneTensor().pieces();
  pieces.erase(pieces.begin() + 1);
  put(scratch / "old.pth", zip_bytes(pieces));
  EXPECT_EQ(refusal(scratch / "old.pth"), "");
}

TEST(TorchFile, SaysWhatIsMissingOrMisshapen) {
  const ScratchFolder scratch;
  put(scratch / "a.pth", zip_bytes(OneTensor().pieces()));
  const TorchFile file(scratch / "a.pth");
  const auto message = [](auto&& f) -> std::string {
    try {
      f();
      return "";
    } catch (const FileError& error) {
      return error.what();
    }
  };
  EXPECT_EQ(file.find("b"), nullptr);
  EXPECT_NE(message([&] {
              file.read_f32("b");
            }).find("a.pth': tensor 'b' is missing among its 1 (the first is 'a')"),
            std::string::npos);
  EXPECT_NE(message([&] {
              file.read_f32("a", std::vector<std::int64_t>{6});
            }).find("a.pth': tensor 'a' has the shape [2, 3], [6] was expected"),
            std::string::npos);
  const TorchFile types(golden_file("types", "zip"));
  EXPECT_NE(message([&] { types.read_f32("i64"); }).find("tensor 'i64' is of type I64"), std::string::npos);
  EXPECT_NE(message([&] { types.read_f32("f64"); }).find("tensor 'f64' is of type F64"), std::string::npos);
}

void expect_zip_refused(const std::vector<ZipPiece>& pieces, std::string_view why) {
  expect_bytes_refused(zip_bytes(pieces), why);
}

TEST(TorchFile, ZipFormIsChecked) {
  const OneTensor one;
  const std::vector<ZipPiece> good = one.pieces();  // data.pkl, byteorder, data/0, version
  const auto with = [&](std::size_t i, auto&& change) {
    std::vector<ZipPiece> pieces = good;
    change(pieces[i]);
    return pieces;
  };
  expect_zip_refused(with(0, [](ZipPiece& p) { p.name = "archive/other.pkl"; }), "no data.pkl");
  expect_zip_refused(with(0, [](ZipPiece& p) { p.name = "data.pkl"; }), "'data.pkl' is not in a folder");
  expect_zip_refused(with(1, [](ZipPiece& p) { p.name = "other/byteorder"; }), "'other/byteorder' is not in");
  expect_zip_refused(with(1, [](ZipPiece& p) { p.name = "/byteorder"; }), "'/byteorder' is not in");
  expect_zip_refused(with(1, [](ZipPiece& p) { p.data = "big"; }), "byte order");
  expect_zip_refused(with(1, [](ZipPiece& p) { p.data = "bigger"; }), "byte order");
  expect_zip_refused(with(1, [](ZipPiece& p) { p.name = "archive/constants.pkl"; }), "TorchScript");
  expect_zip_refused(with(2, [](ZipPiece& p) { p.name = "archive/data/1"; }),
                     "lacks the entry 'archive/data/0'");
  expect_zip_refused(with(2, [](ZipPiece& p) { p.data += "x"; }),
                     "has 25 bytes, 6 elements of type F32 need 24");
  expect_zip_refused(with(2, [](ZipPiece& p) { p.data.pop_back(); }), "has 23 bytes");
  expect_zip_refused(with(2, [](ZipPiece& p) { p.crc_change = 5; }), "'archive/data/0' have the checksum");
  expect_zip_refused(with(0, [](ZipPiece& p) { p.crc_change = 5; }), "'archive/data.pkl' have the checksum");
  expect_zip_refused(with(0, [](ZipPiece& p) { p.data += "N."; }), "goes on for 2 bytes");
  expect_zip_refused(with(0, [](ZipPiece& p) { p.data.pop_back(); }), "ends here");
  expect_zip_refused(with(0, [](ZipPiece& p) { p.data += std::string(Pickle::kMaxBytes, 'N'); }),
                     "at most 16777216");
  expect_zip_refused(with(2, [](ZipPiece& p) { p.method = 8; }), "compressed");
  expect_zip_refused({}, "no file of PyTorch");  // an empty archive begins otherwise
}

TEST(TorchFile, DictionariesAreChecked) {
  const OneTensor one;
  const std::string a = one.tensor.text(), name = one.name;
  const auto refused = [&](const std::string& object, std::string_view why) {
    expect_zip_refused(torch_pieces(py_pickle(object), {{"0", one.data}}), why);
  };
  const auto accepted = [&](const std::string& object) {
    const ScratchFolder scratch;
    put(scratch / "good.pth", zip_bytes(torch_pieces(py_pickle(object), {{"0", one.data}})));
    EXPECT_EQ(refusal(scratch / "good.pth"), "");
  };
  const std::string dict = py_dict({{name, a}}), model = py_text("model"), state = py_text("state_dict");
  refused(a, "it holds a tensor, a dictionary of tensors was expected");
  refused(py_list({a}), "it holds a list");
  refused(py_dict({{name, a}, {name, a}}), "the name 'a' occurs twice");
  refused(py_dict({{py_int(1), a}}), "a tensor's name is a number");
  refused(py_dict({{py_text(std::string(513, 'n')), a}}), "a tensor's name is too long");
  refused(py_dict({{name, py_text("b")}}), "its entry 'a' is a text");
  refused(py_dict({{name, dict}}), "its entry 'a' is a dictionary");
  refused(py_dict({{state, dict}, {model, dict}}), "both 'state_dict' and 'model'");
  refused(py_dict({{state, dict}, {state, dict}}), "the name 'state_dict' occurs twice");
  refused(py_dict({{state, py_dict({{state, dict}})}}), "its entry 'state_dict' is a dictionary");
  refused(py_dict({{state, py_call(py_global("os", "system"), {py_text("true")})}}), "'os.system'");
  accepted(py_dict({{model, dict}, {py_text("epoch"), py_int(3)}}));
  accepted(py_dict({{model, a}}));  // a tensor of that name
  std::vector<std::pair<std::string, std::string>> many;
  for (int i = 0; i < 10'001; ++i) many.emplace_back(py_int(i), kNone);
  refused(py_dict(many), "10001 tensors");
}

TEST(TorchFile, StreamFormIsChecked) {
  PyTensor tensor = py_tensor("0", {2, 3}, true);
  const std::string object = py_dict({{py_text("a"), tensor.text()}}), data(24, 'x');
  const std::string good = stream_head(object, {"0"}) + stream_storage(6, data);
  {
    const ScratchFolder scratch;
    put(scratch / "good.pth", good);
    ASSERT_EQ(refusal(scratch / "good.pth"), "");
  }
  expect_bytes_refused(good + "x", "goes on for 1 bytes");
  expect_bytes_refused(stream_head(object, {"0"}) + stream_storage(5, data),
                       "has 5 elements, its dictionary says 6");
  expect_bytes_refused(stream_head(object, {"0"}) + stream_storage(-6, data), "has -6 elements");
  expect_bytes_refused(stream_head(object, {"0"}) + stream_storage(6, data.substr(1)), "it is cut short");
  expect_bytes_refused(stream_head(object, {}), "its storage '0' is missing");
  expect_bytes_refused(stream_head(object, {"1"}), "holds '1', which its dictionary does not name");
  expect_bytes_refused(stream_head(object, {"0", "0"}) + stream_storage(6, data) + stream_storage(6, data),
                       "its storage '0' occurs twice");
  expect_bytes_refused(stream_head(object, {"0"}, kFalse), "byte order");
  expect_bytes_refused(stream_head(object, {"0"}, py_int(1)), "byte order");
  expect_bytes_refused(stream_head(object, {"0"}, kTrue, 1000), "version is 1000, 1001 was expected");
  const std::string two_pickles = kStreamStart + py_pickle(py_int(1001)) +
                                  py_pickle(py_dict({{py_text("little_endian"), kTrue}})) + py_pickle(object);
  expect_bytes_refused(two_pickles + py_pickle(kNone), "its list of storages is None");
  expect_bytes_refused(two_pickles + py_pickle(py_list({py_int(0)})), "holds a number");
  expect_bytes_refused(kStreamStart + py_pickle(kNone), "its version is None");
  expect_bytes_refused(kStreamStart + py_pickle(py_int(1001)) + py_pickle(kNone), "byte order");
  // The dictionary of the other form.
  expect_bytes_refused(stream_head(py_dict({{py_text("a"), py_tensor("0", {2, 3}).text()}}), {"0"}),
                       "5 parts, 6 were");
  // A storage far larger than the file.
  tensor = py_tensor("0", {std::int64_t{1} << 40}, true);
  expect_bytes_refused(stream_head(py_dict({{py_text("a"), tensor.text()}}), {"0"}) +
                           stream_storage(std::int64_t{1} << 40, data),
                       "needs 4398046511104 bytes");
}

}  // namespace
}  // namespace ddpmts
