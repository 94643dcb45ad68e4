#include "engine/files/zip_archive.h"

#include <gtest/gtest.h>

#include "tests/engine/files_scratch.h"
#include "tests/engine/torch_bytes.h"

namespace ddpmts {
namespace {

using namespace ddpmts::testing;

std::vector<ZipPiece> two_entries() { return {{"top/a", "hello"}, {"top/b", std::string(100, 'b')}}; }

std::string text_in(const ZipArchive& archive, std::string_view name) {
  const ZipEntry* entry = archive.find(name);
  if (entry == nullptr) return "no such entry";
  const std::vector<std::byte> bytes = archive.read(*entry);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// What is said about the bytes of an archive when it is opened or read as a whole; empty when all is well.
std::string refusal(const std::string& bytes) {
  static const ScratchFolder scratch;
  put(scratch / "bad.zip", bytes);
  try {
    const ZipArchive archive{InputFile(scratch / "bad.zip")};
    for (const ZipEntry& entry : archive.entries()) archive.read(entry);
    return "";
  } catch (const FileError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("bad.zip'"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
}

void expect_refused(const std::string& bytes, std::string_view why) {
  const std::string message = refusal(bytes);
  EXPECT_NE(message.find(why), std::string::npos) << "[" << message << "] does not say " << why;
}
void expect_refused(const std::vector<ZipPiece>& pieces, std::string_view why,
                    const ZipOptions& options = {}) {
  expect_refused(zip_bytes(pieces, options), why);
}
/// The first of two entries, changed.
void expect_refused(void (*change)(ZipPiece&), std::string_view why) {
  std::vector<ZipPiece> pieces = two_entries();
  change(pieces[0]);
  expect_refused(pieces, why);
}

TEST(ZipArchive, ReadsEveryWayOfWritingOne) {
  const ScratchFolder scratch;
  for (const bool end64 : {false, true}) {
    for (const bool sizes_follow : {false, true}) {
      for (const bool wide : {false, true}) {
        std::vector<ZipPiece> pieces = two_entries();
        pieces.push_back({"top/empty", ""});
        for (ZipPiece& piece : pieces) {
          piece.wide = wide;
          if (!sizes_follow) piece.flags = 0;
        }
        put(scratch / "a.zip", zip_bytes(pieces, {.end64 = end64}));
        ZipArchive opened{InputFile(scratch / "a.zip")};
        const ZipArchive archive = std::move(opened);
        ASSERT_EQ(archive.entries().size(), 3u);
        EXPECT_EQ(archive.entries()[0].name, "top/a");
        EXPECT_EQ(text_in(archive, "top/a"), "hello");
        EXPECT_EQ(text_in(archive, "top/b"), std::string(100, 'b'));
        EXPECT_EQ(text_in(archive, "top/empty"), "");
        EXPECT_EQ(archive.find("a"), nullptr);
      }
    }
  }
  EXPECT_EQ(refusal(zip_bytes({})), "");
}

TEST(ZipArchive, EntriesAreChecked) {
  ASSERT_EQ(refusal(zip_bytes(two_entries())), "");
  expect_refused([](ZipPiece& p) { p.flags |= 1; }, "'top/a' is encrypted");
  expect_refused([](ZipPiece& p) { p.flags |= 1u << 6; }, "'top/a' is encrypted");
  expect_refused([](ZipPiece& p) { p.flags |= 1u << 13; }, "'top/a' is encrypted");
  expect_refused([](ZipPiece& p) { p.method = 8; }, "'top/a' is compressed (method 8)");
  expect_refused([](ZipPiece& p) { p.crc_change = 1; }, "'top/a' have the checksum");
  expect_refused([](ZipPiece& p) { p.size_change = 1 << 20; }, "'top/a' has 1048581 bytes from byte 0 on");
  expect_refused([](ZipPiece& p) { p.size_change = -1; }, "'top/a' have the checksum");
  expect_refused([](ZipPiece& p) { p.size_change = 60; }, "overlap");
  expect_refused([](ZipPiece& p) { p.local_name = "top/x"; }, "the name 'top/x' in its own header");
  expect_refused([](ZipPiece& p) { p.local_name = "top/xx"; }, "another name in its own header");
  expect_refused([](ZipPiece& p) { p.name = "top/b", p.local_name = "top/b"; }, "'top/b' occurs twice");
  expect_refused([](ZipPiece& p) { p.local_at = 1; }, "no header at byte 1");
  expect_refused([](ZipPiece& p) { p.local_at = 1 << 20; }, "begins at byte 1048576");
  expect_refused([](ZipPiece& p) { p.local_at = (std::int64_t{1} << 32) - 1; }, "no valid size");
  expect_refused([](ZipPiece& p) { p.wide = true, p.local_at = INT64_MAX; },
                 "begins at byte 9223372036854775807");
  expect_refused([](ZipPiece& p) { p.wide = true, p.size_change = INT64_MAX - 10; }, "more than there are");
  // The same bytes under two names.
  std::vector<ZipPiece> pieces = {{"top/a", "hello"}, {"top/a", "hello"}};
  pieces[1].local_at = 0;
  expect_refused(pieces, "'top/a' occurs twice");
}

TEST(ZipArchive, LocalHeadersMustAgree) {
  std::vector<ZipPiece> pieces = {{"top/a", "hello"}};
  pieces[0].flags = 0;
  const std::string good = zip_bytes(pieces);
  ASSERT_EQ(refusal(good), "");
  const auto changed = [&](std::size_t at) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    return bytes;
  };
  expect_refused(changed(6), "encrypted according to its own header");
  expect_refused(changed(8), "compressed according to its own header");
  for (const std::size_t at : {14u, 18u, 22u})
    expect_refused(changed(at), "another size or checksum in its own header");
}

TEST(ZipArchive, EndRecordsAreChecked) {
  const std::vector<ZipPiece> pieces = two_entries();
  expect_refused("", "0 bytes");
  expect_refused("PK\5\6", "4 bytes");
  expect_refused(std::string(22, '\0'), "cut short");
  expect_refused(pieces, "cut short", {.comment = "a comment"});
  expect_refused(zip_bytes(pieces) + "x", "cut short");
  const std::vector<ZipPiece> long_names = {{"top/" + std::string(40, 'a'), ""},
                                            {"top/" + std::string(40, 'b'), ""}};
  expect_refused(long_names, "ends inside an entry", {.entry_change = 1});
  expect_refused(pieces, "after its last entry", {.entry_change = -1});
  expect_refused(pieces, "2002 entries", {.entry_change = 2000});
  // Whatever number of the end records is changed, the archive is refused, or the number is one that nobody needs.
  const std::string good = zip_bytes(pieces);
  const std::size_t records = good.size() - 22 - 20 - 56;
  int refused = 0;
  for (std::size_t at = records; at < good.size(); ++at) {
    for (const int bit : {0, 7}) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      refused += refusal(bytes).empty() ? 0 : 1;
    }
  }
  // Not needed: the versions (4 bytes of the ZIP64 record) and the locator's two disk numbers (8 bytes).
  EXPECT_EQ(refused, 2 * (22 + 20 + 56 - 4 - 8));
}

TEST(ZipArchive, SplitArchivesAreRefused) {
  std::string bytes = zip_bytes(two_entries(), {.end64 = false});
  bytes[bytes.size() - 18] = 1;
  expect_refused(bytes, "several");
}

TEST(ZipArchive, EveryPrefixIsRefused) {
  const std::string whole = zip_bytes(two_entries());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_NE(refusal(whole.substr(0, length)), "") << length;
  }
}

TEST(ZipArchive, FlippedBitsNeverGoUnseenInWhatIsRead) {
  const ScratchFolder scratch;
  const std::string whole = zip_bytes(two_entries());
  TestRandom random(5);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = whole;
    const std::size_t at = random.below(bytes.size());
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
    put(scratch / "a.zip", bytes);
    try {
      const ZipArchive archive{InputFile(scratch / "a.zip")};
      if (archive.find("top/a") != nullptr) {
        EXPECT_EQ(text_in(archive, "top/a"), "hello");
      }
      if (archive.find("top/b") != nullptr) {
        EXPECT_EQ(text_in(archive, "top/b"), std::string(100, 'b'));
      }
    } catch (const FileError&) {
    }
  }
}

}  // namespace
}  // namespace ddpmts
