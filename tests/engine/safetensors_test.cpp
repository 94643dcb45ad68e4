#include "engine/files/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "generated/test_paths.h"
#include "tests/engine/files_scratch.h"
#include "tests/shared_data.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;
using testing::get;
using testing::put;
using testing::ScratchFolder;

template <class T>
TensorToWrite tensor(std::string name, StoredType type, std::vector<std::int64_t> shape,
                     const std::vector<T>& values) {
  return {std::move(name), type, std::move(shape), std::as_bytes(std::span(values))};
}

/// A file with this header text and so many zero bytes of data.
std::string file_with(std::string_view header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  out += header;
  return out + std::string(data_bytes, '\0');
}

/// Opens it and reads every tensor; false when that was refused with an error of one line that names the file.
bool opens(const fs::path& path) {
  try {
    const SafetensorsFile file(path);
    for (const TensorInfo& info : file.tensors()) {
      if (file.bytes(info.name).size() != info.bytes) ADD_FAILURE() << info.name;
    }
    return true;
  } catch (const FileError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(path.string()), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 2000u);
    return false;
  }
}

TEST(Safetensors, RoundTrip) {
  const ScratchFolder scratch;
  const std::vector<float> weight = {1.5f,  -2.0f, 3e-39f, std::numeric_limits<float>::infinity(),
                                     -0.0f, 7.0f};
  const std::vector<std::uint8_t> bytes = {0, 128, 255};
  const std::vector<std::int32_t> steps = {-5, 2'000'000'000};
  const std::vector<std::int64_t> batches = {1'234'567'890'123};
  const std::vector<bf16> low = {from_float<bf16>(3.140625f), from_float<bf16>(-1.0f)};
  const Metadata metadata = {{"config", R"({"size": 256})"}, {"note", "größer\n\"quoted\""}};
  const fs::path path = scratch / "m.safetensors";
  const TensorToWrite tensors[] = {tensor("z.first", StoredType::u8, {3}, bytes),
                                   tensor("conv1.weight", StoredType::f32, {2, 3}, weight),
                                   tensor("low", StoredType::bf16, {1, 2, 1}, low),
                                   tensor("num_batches_tracked", StoredType::i64, {}, batches),
                                   tensor("steps", StoredType::i32, {2}, steps),
                                   tensor("empty", StoredType::f32, {0, 4}, std::vector<float>{})};
  write_safetensors(path, tensors, metadata);

  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), std::size(tensors));
  for (std::size_t i = 0; i < std::size(tensors); ++i) {
    const TensorInfo& info = file.tensors()[i];
    EXPECT_EQ(info.name, tensors[i].name);
    EXPECT_EQ(info.type, tensors[i].type);
    EXPECT_EQ(info.shape, tensors[i].shape);
    const std::vector<std::byte> back = file.bytes(info.name);
    EXPECT_TRUE(std::ranges::equal(back, tensors[i].data)) << info.name;
    const std::uint64_t header_end =
        8 + static_cast<unsigned char>(get(path)[0]) + 256u * static_cast<unsigned char>(get(path)[1]);
    EXPECT_EQ(header_end % 8, 0u);
    EXPECT_EQ((info.offset - header_end) % size_of(info.type), 0u) << info.name << " is not aligned";
  }
  const std::vector<float> weight_back = file.read_f32("conv1.weight", std::vector<std::int64_t>{2, 3});
  EXPECT_EQ(std::memcmp(weight_back.data(), weight.data(), 24), 0);
  EXPECT_EQ(file.read_f32("low"), (std::vector<float>{3.140625f, -1.0f}));
  EXPECT_EQ(file.read_i64("num_batches_tracked"), batches);
  EXPECT_EQ(file.read_i64("steps"), (std::vector<std::int64_t>{-5, 2'000'000'000}));
  EXPECT_EQ(file.read_i64("z.first"), (std::vector<std::int64_t>{0, 128, 255}));
  EXPECT_TRUE(file.read_f32("empty").empty());
}

TEST(Safetensors, NoTensorsNoMetadata) {
  const ScratchFolder scratch;
  write_safetensors(scratch / "m", {}, {});
  const SafetensorsFile file(scratch / "m");
  EXPECT_TRUE(file.tensors().empty());
  EXPECT_TRUE(file.metadata().empty());
}

TEST(Safetensors, MovedFileStillFindsItsTensors) {
  const ScratchFolder scratch;
  const std::vector<float> one = {1.0f};
  const TensorToWrite tensors[] = {tensor("a", StoredType::f32, {1}, one),
                                   tensor("b", StoredType::f32, {1}, one)};
  write_safetensors(scratch / "m", tensors, {});
  SafetensorsFile file(scratch / "m");
  const SafetensorsFile moved = std::move(file);
  EXPECT_EQ(moved.read_f32("b"), one);
}

TEST(Safetensors, HalfPrecisionWidensExactly) {
  const ScratchFolder scratch;
  std::vector<std::uint16_t> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  const TensorToWrite tensors[] = {tensor("h", StoredType::f16, {65536}, all)};
  write_safetensors(scratch / "m", tensors, {});
  const std::vector<float> wide = SafetensorsFile(scratch / "m").read_f32("h");
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const int exponent = static_cast<int>((i >> 10) & 31u);
    const double fraction = static_cast<double>(i & 1023u) / 1024;
    double expected = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
    if (exponent == 31) expected = fraction == 0 ? HUGE_VAL : NAN;
    if ((i & 0x8000u) != 0) expected = -expected;
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(wide[i])) << i;
    } else {
      EXPECT_EQ(wide[i], static_cast<float>(expected)) << i;
      EXPECT_EQ(std::signbit(wide[i]), (i & 0x8000u) != 0) << i;
    }
  }
}

TEST(Safetensors, SaysWhatIsMissingOrMisshapen) {
  const ScratchFolder scratch;
  const std::vector<float> six(6);
  const std::vector<std::uint64_t> huge = {~std::uint64_t{0}};
  const TensorToWrite tensors[] = {tensor("conv1.weight", StoredType::f32, {2, 3}, six),
                                   tensor("count", StoredType::u64, {1}, huge)};
  write_safetensors(scratch / "m", tensors, {});
  const SafetensorsFile file(scratch / "m");
  const auto fault_of = [&](auto&& f, std::string_view in_message) {
    try {
      f();
    } catch (const SafetensorsError& error) {
      EXPECT_NE(std::string(error.what()).find(in_message), std::string::npos) << error.what();
      return error.fault;
    }
    ADD_FAILURE() << "no error with " << in_message;
    return SafetensorsFault::bad_request;
  };
  using enum SafetensorsFault;
  EXPECT_EQ(file.find("fc.bias"), nullptr);
  EXPECT_EQ(fault_of([&] { file.read_f32("fc.bias"); }, "'fc.bias' is missing among its 2"), missing_tensor);
  const std::vector<std::int64_t> transposed = {3, 2}, flat = {6};
  EXPECT_EQ(fault_of([&] { file.require("conv1.weight", transposed); }, "[2, 3], [3, 2] was expected"),
            wrong_shape);
  EXPECT_EQ(fault_of([&] { file.read_f32("conv1.weight", flat); }, "'conv1.weight'"), wrong_shape);
  EXPECT_EQ(fault_of([&] { file.read_f32("count"); }, "type U64"), wrong_type);
  EXPECT_EQ(fault_of([&] { file.read_i64("count"); }, "below 2^63"), wrong_type);
  EXPECT_EQ(fault_of([&] { file.read_i64("conv1.weight"); }, "integer"), wrong_type);
}

TEST(Safetensors, RefusesToWriteNonsense) {
  const ScratchFolder scratch;
  const std::vector<float> two(2);
  const auto refuses = [&](std::vector<TensorToWrite> tensors, const Metadata& metadata = {}) {
    try {
      write_safetensors(scratch / "m", tensors, metadata);
    } catch (const SafetensorsError&) {
      return scratch.names().empty();
    }
    return false;
  };
  const auto named = [&](const std::string& name) { return tensor(name, StoredType::f32, {2}, two); };
  EXPECT_TRUE(refuses({named("a"), named("a")}));
  EXPECT_TRUE(refuses({named("__metadata__")}));
  EXPECT_TRUE(refuses({named(std::string(513, 'n'))}));
  EXPECT_TRUE(refuses({named("\xff\xfe")}));
  EXPECT_TRUE(refuses({tensor("a", StoredType::f32, {3}, two)}));
  EXPECT_TRUE(refuses({tensor("a", StoredType::f32, {-2}, two)}));
  EXPECT_TRUE(refuses({tensor("a", StoredType::f32, {1, 1, 1, 1, 1, 1, 1, 1, 2}, two)}));
  EXPECT_TRUE(refuses({tensor("a", StoredType::f32, {std::int64_t{1} << 62, 4}, two)}));
  EXPECT_TRUE(refuses({named("a")}, {{"k", "\xff"}}));
}

TEST(Safetensors, FailedWriteSaysWhere) {
  EXPECT_THROW(write_safetensors("/proc/none/m.safetensors", {}, {}), FileError);
}

struct BadHeader {
  const char* what;
  std::string header;
  std::size_t data_bytes;
  SafetensorsFault fault;
};

std::string repeated(std::string_view text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

std::vector<BadHeader> bad_headers() {
  using enum SafetensorsFault;
  const std::string ok = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  std::string many = "{";
  for (int i = 0; i < 10'001; ++i) {
    many +=
        (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  }
  return {
      {"empty header", "", 0, header_syntax},
      {"leading space", R"( {"a":{)" + ok + "}}", 8, header_syntax},
      {"a list", "[]", 0, header_syntax},
      {"cut JSON", R"({"a":{"dtype":"F32")", 0, header_syntax},
      {"something behind it", R"({} {})", 0, header_syntax},
      {"a zero byte behind it", std::string("{}\0", 3), 0, header_syntax},
      {"bad UTF-8", "{\"\xff\":{" + ok + "}}", 8, header_syntax},
      {"entry is a number", R"({"a":1})", 0, header_syntax},
      {"entry is null", R"({"a":null})", 0, header_syntax},
      {"metadata is a list", R"({"__metadata__":[]})", 0, header_syntax},
      {"metadata holds a number", R"({"__metadata__":{"a":1}})", 0, header_syntax},
      {"metadata holds an object", R"({"__metadata__":{"a":{}}})", 0, header_syntax},
      {"metadata twice", R"({"__metadata__":{},"__metadata__":{}})", 0, duplicate},
      {"metadata key twice", R"({"__metadata__":{"a":"1","a":"2"}})", 0, duplicate},
      {"name twice", R"({"a":{)" + ok + R"(},"a":{)" + ok + "}}", 8, duplicate},
      {"name twice, once escaped", R"({"a":{)" + ok + R"(},"\u0061":{)" + ok + "}}", 8, duplicate},
      {"dtype twice", R"({"a":{"dtype":"U8",)" + ok + "}}", 8, duplicate},
      {"offsets twice", R"({"a":{)" + ok + R"(,"data_offsets":[0,8]}})", 8, duplicate},
      {"no shape", R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8, header_syntax},
      {"unknown key", R"({"a":{)" + ok + R"(,"x":[1]}})", 8, header_syntax},
      {"nested list", R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8, header_syntax},
      {"deeply nested", R"({"a":)" + repeated("[", 100'000), 0, header_syntax},
      {"dtype is a list", R"({"a":{"dtype":["F32"],"shape":[2],"data_offsets":[0,8]}})", 8, header_syntax},
      {"one offset", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}})", 8, header_syntax},
      {"three offsets", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", 8, header_syntax},
      {"negative extent", R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, header_syntax},
      {"negative offset", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", 8, header_syntax},
      {"extent with a fraction", R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8,
       header_syntax},
      {"extent too long for 64 bits",
       R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})", 8, header_syntax},
      {"extent 2^63", R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}})", 8,
       size_mismatch},
      {"product overflows to 8",
       R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}})", 8, size_mismatch},
      {"product overflows, times 0",
       R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", 0, size_mismatch},
      {"bytes overflow", R"({"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
       size_mismatch},
      {"shape too large", R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, size_mismatch},
      {"shape too small", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 8, size_mismatch},
      {"other type", R"({"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,8]}})", 8, size_mismatch},
      {"unknown type", R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,8]}})", 8, unknown_type},
      {"type in lower case", R"({"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}})", 8, unknown_type},
      {"offsets reversed", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, layout},
      {"beyond the file", R"({"a":{)" + ok + "}}", 7, layout},
      {"bytes left over", R"({"a":{)" + ok + "}}", 9, layout},
      {"bytes and no tensor", "{}", 1, layout},
      {"hole at the start", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, layout},
      {"hole between", R"({"a":{)" + ok + R"(},"b":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}})", 10,
       layout},
      {"overlap", R"({"a":{)" + ok + R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":[7,9]}})", 9, layout},
      {"same bytes twice", R"({"a":{)" + ok + R"(},"b":{)" + ok + "}}", 8, layout},
      {"offsets near 2^63",
       R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]}})", 8,
       layout},
      {"huge tensor in a small file",
       R"({"a":{"dtype":"U8","shape":[1000000000000],"data_offsets":[0,1000000000000]}})", 8, layout},
      {"nine dimensions", R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}})", 8,
       too_much},
      {"long name", "{\"" + std::string(513, 'n') + "\":{" + ok + "}}", 8, too_much},
      {"too many tensors", many + "}", 0, too_much},
  };
}

TEST(Safetensors, RefusesBadHeaders) {
  const ScratchFolder scratch;
  for (const BadHeader& bad : bad_headers()) {
    const fs::path path = scratch / "bad.safetensors";
    put(path, file_with(bad.header, bad.data_bytes));
    EXPECT_FALSE(opens(path)) << bad.what;
    try {
      const SafetensorsFile file(path);
    } catch (const SafetensorsError& error) {
      EXPECT_EQ(static_cast<int>(error.fault), static_cast<int>(bad.fault))
          << bad.what << ": " << error.what();
    }
  }
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  const ScratchFolder scratch;
  const std::string ok = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const std::pair<std::string, std::size_t> good[] = {
      {"{}", 0},
      {"{}   \n", 0},
      {R"({"a":{)" + ok + "}}      ", 8},
      {R"({"":{)" + ok + "}}", 8},
      {R"({"later":{"data_offsets":[8,9],"shape":[1],"dtype":"BOOL"},"a":{)" + ok + "}}", 9},
      {R"({"a":{)" + ok + R"(},"none":{"dtype":"I8","shape":[5,0],"data_offsets":[8,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,2],"data_offsets":[0,8]}})", 8},
      {"{\"" + std::string(512, 'n') + "\":{" + ok + "}}", 8},
  };
  for (const auto& [header, bytes] : good) {
    put(scratch / "good", file_with(header, bytes));
    EXPECT_TRUE(opens(scratch / "good")) << header;
  }
}

TEST(Safetensors, RefusesLyingLengths) {
  const ScratchFolder scratch;
  const std::string good = file_with("{}", 0);
  for (std::size_t size = 0; size < good.size(); ++size) {
    put(scratch / "short", good.substr(0, size));
    EXPECT_FALSE(opens(scratch / "short")) << size << " bytes";
  }
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{100'000'001}, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    std::string lying = good;
    std::memcpy(lying.data(), &length, 8);
    put(scratch / "lying", lying);
    EXPECT_FALSE(opens(scratch / "lying")) << length;
  }
  EXPECT_FALSE(opens(scratch.path() / "none"));
}

TEST(Safetensors, DamagedFilesNeverCrash) {
  const ScratchFolder scratch;
  const std::vector<float> weight(24, 0.5f);
  const std::vector<std::uint8_t> bytes(5, 7);
  const TensorToWrite tensors[] = {tensor("layer1.0.conv1.weight", StoredType::f32, {2, 3, 4}, weight),
                                   tensor("mask", StoredType::u8, {5}, bytes)};
  write_safetensors(scratch / "m", tensors, {{"config", "{}"}});
  const std::string good = get(scratch / "m");
  const std::size_t header_end = good.size() - 24 * 4 - 5;
  testing::TestRandom random(7);
  int refused = 0;
  constexpr int kRounds = 4000;
  for (int round = 0; round < kRounds; ++round) {
    std::string damaged = good;
    for (std::size_t flips = 1 + random.below(4); flips > 0; --flips) {
      damaged[random.below(header_end)] ^= static_cast<char>(1u << random.below(8));
    }
    if (round % 4 == 0) damaged.resize(random.below(damaged.size()));
    put(scratch / "damaged", damaged);
    refused += !opens(scratch / "damaged");
  }
  EXPECT_GT(refused, kRounds / 2);
}

TEST(Safetensors, OpensSharedWeights) {
  const fs::path path =
      fs::path(DDPMTS_SHARED_DIR) / "weights/resnet18_imagenet_layers1-3_bnfolded.safetensors";
  DDPMTS_NEED_SHARED(path);
  const SafetensorsFile file(path);
  ASSERT_FALSE(file.tensors().empty());
  for (const TensorInfo& info : file.tensors()) {
    if (info.type != StoredType::f32) continue;
    for (const float value : file.read_f32(info.name)) ASSERT_TRUE(std::isfinite(value)) << info.name;
  }
}

}  // namespace
}  // namespace ddpmts
