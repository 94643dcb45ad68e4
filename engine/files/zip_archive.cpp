#include "engine/files/zip_archive.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "engine/files/crc32.h"

namespace ddpmts {
namespace {

static_assert(std::endian::native == std::endian::little, "ZIP is little-endian");

constexpr std::uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50,
                        kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50,
                        kLocator64Signature = 0x07064b50;
constexpr std::uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56,
                        kLocator64Bytes = 20;
constexpr std::uint16_t kSaturated16 = 0xffff;
constexpr std::uint32_t kSaturated32 = 0xffffffff;
constexpr std::uint16_t kFlagEncrypted = 1u << 0, kFlagSizesFollow = 1u << 3, kFlagStrongEncryption = 1u << 6,
                        kFlagMaskedHeader = 1u << 13;
constexpr std::uint16_t kExtra64 = 0x0001;

constexpr const char* kCopyAgain = "copy or download it again";

[[noreturn]] void fail(const InputFile& file, const std::string& what) {
  throw FileError(fmt::format("cannot use {}: {}", in_quotes(file.path()), what), file.path());
}

/// Fields of one record, which lies in memory as a whole.
class Record {
 public:
  Record(const InputFile& file, std::uint64_t offset, std::uint64_t bytes) : bytes_(bytes) {
    file.read(offset, bytes_);
  }
  explicit Record(std::span<const std::byte> bytes) : bytes_(bytes.begin(), bytes.end()) {}
  template <class T>
  T get(std::size_t at) const {
    T value;
    std::memcpy(&value, bytes_.data() + at, sizeof(T));
    return value;
  }
  std::uint16_t u16(std::size_t at) const { return get<std::uint16_t>(at); }
  std::uint32_t u32(std::size_t at) const { return get<std::uint32_t>(at); }
  std::uint64_t u64(std::size_t at) const { return get<std::uint64_t>(at); }

 private:
  std::vector<std::byte> bytes_;
};

/// Takes 64-bit values, in the order in which the format lists them, from the ZIP64 part of an entry's extra field.
class Extra64 {
 public:
  explicit Extra64(std::span<const std::byte> extra) {
    while (extra.size() >= 4) {
      const Record head(extra.first(4));
      const std::size_t length = head.u16(2);
      if (length > extra.size() - 4) return;
      if (head.u16(0) == kExtra64) {
        values_ = extra.subspan(4, length);
        return;
      }
      extra = extra.subspan(4 + length);
    }
  }
  /// False when there is no value left.
  bool take(std::uint64_t& value) {
    if (values_.size() < sizeof(value)) return false;
    std::memcpy(&value, values_.data(), sizeof(value));
    values_ = values_.subspan(sizeof(value));
    return true;
  }

 private:
  std::span<const std::byte> values_;
};

}  // namespace

ZipArchive::ZipArchive(InputFile file) : file_(std::move(file)) { read_directory(find_directory()); }

const ZipEntry* ZipArchive::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

std::vector<std::byte> ZipArchive::read(const ZipEntry& entry) const {
  std::vector<std::byte> bytes(entry.bytes);
  file_.read(entry.offset, bytes);
  if (const std::uint32_t crc = crc32(bytes); crc != entry.crc) {
    fail(file_, fmt::format("the bytes of its entry {} have the checksum {:08x}, {:08x} was expected; {}",
                            in_quotes(entry.name), crc, entry.crc, kCopyAgain));
  }
  return bytes;
}

ZipArchive::Directory ZipArchive::find_directory() const {
  if (file_.size() < kEndBytes) {
    fail(file_, fmt::format("it has {} bytes, too few for a ZIP archive; it is cut short, {}", file_.size(),
                            kCopyAgain));
  }
  const std::uint64_t end_at = file_.size() - kEndBytes;
  const Record end(file_, end_at, kEndBytes);
  if (end.u32(0) != kEndSignature || end.u16(20) != 0) {
    fail(file_,
         fmt::format("it does not end as a ZIP archive of PyTorch does; it is cut short, {}", kCopyAgain));
  }
  if (end.u16(4) != 0 || end.u16(6) != 0 || end.u16(8) != end.u16(10)) {
    fail(file_, "it is one part of a ZIP archive in several; join them first");
  }
  Directory directory{end.u32(16), end.u32(12), end.u16(10)};
  std::uint64_t directory_end = end_at;
  const bool has_locator =
      end_at >= kLocator64Bytes && Record(file_, end_at - kLocator64Bytes, 4).u32(0) == kLocator64Signature;
  if (has_locator) {
    const Record locator(file_, end_at - kLocator64Bytes, kLocator64Bytes);
    const std::uint64_t locator_at = end_at - kLocator64Bytes;
    const std::uint64_t end64_at = locator.u64(8);
    if (locator_at < kEnd64Bytes || end64_at != locator_at - kEnd64Bytes) {
      fail(file_, fmt::format("its ZIP64 end record is not where it should be; {}", kCopyAgain));
    }
    const Record end64(file_, end64_at, kEnd64Bytes);
    if (end64.u32(0) != kEnd64Signature || end64.u64(4) != kEnd64Bytes - 12 || end64.u32(16) != 0 ||
        end64.u32(20) != 0 || end64.u64(24) != end64.u64(32)) {
      fail(file_, fmt::format("its ZIP64 end record is not valid; {}", kCopyAgain));
    }
    const Directory wide{end64.u64(48), end64.u64(40), end64.u64(32)};
    const auto agrees = [](std::uint64_t narrow, std::uint64_t value, std::uint64_t saturated) {
      return narrow == value || narrow == saturated;
    };
    if (!agrees(directory.offset, wide.offset, kSaturated32) ||
        !agrees(directory.bytes, wide.bytes, kSaturated32) ||
        !agrees(directory.entries, wide.entries, kSaturated16)) {
      fail(file_, fmt::format("its two ZIP end records contradict each other; {}", kCopyAgain));
    }
    directory = wide;
    directory_end = end64_at;
  }
  if (directory.offset > directory_end || directory.bytes != directory_end - directory.offset) {
    fail(file_,
         fmt::format("its ZIP directory ({} bytes at {}) does not end where its end record begins, at {}; {}",
                     directory.bytes, directory.offset, directory_end, kCopyAgain));
  }
  if (directory.bytes > kMaxDirectoryBytes || directory.entries > directory.bytes / kCentralBytes) {
    fail(file_, fmt::format("its ZIP directory has {} bytes for {} entries; check that it is the right file",
                            directory.bytes, directory.entries));
  }
  return directory;
}

void ZipArchive::locate(ZipEntry& entry, std::uint64_t offset, std::uint64_t limit) const {
  const auto refuse = [&](const std::string& what) {
    fail(file_, fmt::format("its ZIP entry {} {}; {}", in_quotes(entry.name), what, kCopyAgain));
  };
  if (offset > limit || limit - offset < kLocalBytes + entry.name.size()) {
    refuse(fmt::format("begins at byte {}, where there is no room for it", offset));
  }
  const Record head(file_, offset, kLocalBytes);
  if (head.u32(0) != kLocalSignature) refuse(fmt::format("has no header at byte {}", offset));
  std::string name(head.u16(26), '\0');
  if (name.size() != entry.name.size()) refuse("has another name in its own header");
  file_.read(offset + kLocalBytes, std::as_writable_bytes(std::span(name)));
  if (name != entry.name) refuse(fmt::format("has the name {} in its own header", in_quotes(name)));
  if (head.u16(8) != 0) refuse("is compressed according to its own header");
  if ((head.u16(6) & kFlagEncrypted) != 0) refuse("is encrypted according to its own header");
  // Sizes and checksum may come after the data; then they are zero here, and the directory alone knows them.
  const bool sizes_follow = (head.u16(6) & kFlagSizesFollow) != 0;
  const auto agrees = [&](std::uint32_t narrow, std::uint64_t value) {
    return narrow == value || narrow == kSaturated32 || (sizes_follow && narrow == 0);
  };
  const bool same_crc = head.u32(14) == entry.crc || (sizes_follow && head.u32(14) == 0);
  if (!same_crc || !agrees(head.u32(18), entry.bytes) || !agrees(head.u32(22), entry.bytes)) {
    refuse("has another size or checksum in its own header");
  }
  const std::uint64_t head_bytes = kLocalBytes + name.size() + head.u16(28);
  if (head_bytes > limit - offset || entry.bytes > limit - offset - head_bytes) {
    refuse(fmt::format("has {} bytes from byte {} on, which is more than there are", entry.bytes, offset));
  }
  entry.offset = offset + head_bytes;
}

void ZipArchive::read_directory(const Directory& directory) {
  std::vector<std::byte> bytes(directory.bytes);
  file_.read(directory.offset, bytes);
  std::span<const std::byte> rest(bytes);
  const auto take = [&](std::size_t count) {
    if (count > rest.size())
      fail(file_, fmt::format("its ZIP directory ends inside an entry; {}", kCopyAgain));
    const std::span<const std::byte> part = rest.first(count);
    rest = rest.subspan(count);
    return part;
  };
  struct Range {
    std::uint64_t begin, end;
    std::size_t entry;
  };
  std::vector<Range> ranges;
  entries_.reserve(directory.entries);  // bounded by the directory's bytes
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    const Record head(take(kCentralBytes));
    if (head.u32(0) != kCentralSignature) {
      fail(file_, fmt::format("entry {} of its ZIP directory is not valid; {}", i, kCopyAgain));
    }
    const std::span<const std::byte> name = take(head.u16(28)), extra = take(head.u16(30));
    take(head.u16(32));  // a comment
    ZipEntry entry;
    entry.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
    const auto refuse = [&](const std::string& what) {
      fail(file_, fmt::format("its ZIP entry {} {}", in_quotes(entry.name), what));
    };
    const std::uint16_t flags = head.u16(8);
    if ((flags & (kFlagEncrypted | kFlagStrongEncryption | kFlagMaskedHeader)) != 0) {
      refuse("is encrypted; PyTorch writes no such file");
    }
    if (head.u16(10) != 0) {
      refuse(fmt::format("is compressed (method {}); PyTorch writes no such file", head.u16(10)));
    }
    if (head.u16(34) != 0) refuse("lies in another part of the archive");
    entry.crc = head.u32(16);
    std::uint64_t stored = head.u32(20), size = head.u32(24), offset = head.u32(42);
    Extra64 wide(extra);
    for (std::uint64_t* value : {&size, &stored, &offset}) {
      if (*value == kSaturated32 && !wide.take(*value))
        refuse(fmt::format("has no valid size; {}", kCopyAgain));
    }
    if (stored != size) {
      refuse(fmt::format("is stored with {} bytes of {}; {}", stored, size, kCopyAgain));
    }
    entry.bytes = size;
    locate(entry, offset, directory.offset);
    ranges.push_back({offset, entry.offset + entry.bytes, entries_.size()});
    entries_.push_back(std::move(entry));
  }
  if (!rest.empty()) {
    fail(file_,
         fmt::format("its ZIP directory has {} bytes after its last entry; {}", rest.size(), kCopyAgain));
  }
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!index_.emplace(entries_[i].name, i).second) {
      fail(file_, fmt::format("its ZIP entry {} occurs twice; PyTorch writes no such file",
                              in_quotes(entries_[i].name)));
    }
  }
  std::ranges::sort(ranges, {}, &Range::begin);
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].begin < ranges[i - 1].end) {
      fail(file_,
           fmt::format("its ZIP entries {} and {} overlap; {}", in_quotes(entries_[ranges[i - 1].entry].name),
                       in_quotes(entries_[ranges[i].entry].name), kCopyAgain));
    }
  }
}

}  // namespace ddpmts
