#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <functional>
#include <thread>

#include "engine/files/atomic_file.h"
#include "engine/files/input_file.h"
#include "tests/engine/files_scratch.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;
using testing::get;
using testing::put;
using testing::ScratchFolder;

/// The message of the FileError that `f` must throw, checked to be one line that names `path`.
std::string error_of(const std::function<void()>& f, const fs::path& path) {
  try {
    f();
  } catch (const FileError& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_NE(message.find(path.string()), std::string::npos) << message;
    EXPECT_NE(message.find(';'), std::string::npos) << "no remedy in: " << message;
    return message;
  }
  ADD_FAILURE() << "no FileError for " << path;
  return {};
}

TEST(AtomicFile, WritesAndReplaces) {
  const ScratchFolder scratch;
  const fs::path path = scratch / "model.safetensors";
  write_file_atomically(path, "first");
  EXPECT_EQ(get(path), "first");
  const std::string second(3 << 20, 'x');
  write_file_atomically(path, second);
  EXPECT_EQ(get(path), second);
  write_file_atomically(path, std::string_view());
  EXPECT_EQ(get(path), "");
  EXPECT_EQ(scratch.names().size(), 1u);
}

TEST(AtomicFile, StreamsInPieces) {
  const ScratchFolder scratch;
  AtomicFile file(scratch / "a");
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string piece(static_cast<std::size_t>(i), static_cast<char>('a' + i % 26));
    file.write(std::as_bytes(std::span(piece)));
    expected += piece;
  }
  EXPECT_FALSE(fs::exists(scratch / "a"));
  EXPECT_EQ(file.temporary().parent_path(), scratch.path());
  EXPECT_NE(file.temporary().string().find(std::to_string(::getpid())), std::string::npos);
  EXPECT_EQ(file.written(), expected.size());
  file.commit();
  EXPECT_EQ(get(scratch / "a"), expected);
}

TEST(AtomicFile, LeavesEverythingAsItWasWithoutCommit) {
  const ScratchFolder scratch;
  put(scratch / "a", "old");
  {
    AtomicFile file(scratch / "a");
    file.write(std::as_bytes(std::span(std::string_view("half of the new"))));
    EXPECT_EQ(get(scratch / "a"), "old");
  }
  EXPECT_EQ(get(scratch / "a"), "old");
  EXPECT_EQ(scratch.names().size(), 1u);
}

TEST(AtomicFile, KeepsPermissionsAndSymbolicLinks) {
  const ScratchFolder scratch;
  put(scratch / "real", "old");
  fs::permissions(scratch / "real", fs::perms(0640));
  fs::create_symlink("real", scratch / "link");
  write_file_atomically(scratch / "link", "new");
  EXPECT_TRUE(fs::is_symlink(scratch / "link"));
  EXPECT_EQ(get(scratch / "real"), "new");
  EXPECT_EQ(fs::status(scratch / "real").permissions(), fs::perms(0640));
}

TEST(AtomicFile, RefusesWhatIsNoFileToWrite) {
  const ScratchFolder scratch;
  put(scratch / "file", "x");
  const auto write = [](const fs::path& path) {
    return error_of([&] { write_file_atomically(path, "new"); }, path);
  };
  EXPECT_NE(write(scratch / "missing/a").find("no such file"), std::string::npos);
  EXPECT_NE(write(scratch / "file/a").find("not a directory"), std::string::npos);
  EXPECT_NE(write(scratch.path()).find("is a directory"), std::string::npos);
  EXPECT_NE(write(scratch.path() / std::string(300, 'n')).find("too long"), std::string::npos);
  write("/proc/ddpmts-cannot-be-made-here");
  EXPECT_NE(write("/dev/full").find("device"), std::string::npos);
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
  EXPECT_EQ(get(scratch / "file"), "x");
}

TEST(AtomicFile, FullDeviceIsSaidInOneLine) {
  const int descriptor = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(descriptor, 0);
  const std::string message =
      error_of([&] { write_fully(descriptor, std::as_bytes(std::span(std::string_view("x"))), "/dev/full"); },
               "/dev/full");
  ::close(descriptor);
  EXPECT_NE(message.find("no space left on device; free some space"), std::string::npos) << message;
}

TEST(AtomicFile, SizeLimitLeavesTheOldFile) {
  const ScratchFolder scratch;
  put(scratch / "a", "old");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message =
      error_of([&] { write_file_atomically(scratch / "a", std::string(100'000, 'x')); }, scratch / "a");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("file too large"), std::string::npos) << message;
  EXPECT_EQ(get(scratch / "a"), "old");
  EXPECT_EQ(scratch.names().size(), 1u);
}

TEST(AtomicFile, FullDiskLeavesTheOldFile) {
  const ScratchFolder scratch;
  constexpr int kCannotMount = 77;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {  // in a mount namespace of its own, on a file system of 64 KiB
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", scratch.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
      ::_exit(kCannotMount);
    }
    put(scratch / "a", "old");
    int result = 1;
    try {
      write_file_atomically(scratch / "a", std::string(1 << 20, 'x'));
    } catch (const FileError& error) {
      result =
          error.error_number == ENOSPC && get(scratch / "a") == "old" && scratch.names().size() == 1 ? 0 : 2;
    }
    ::_exit(result);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kCannotMount) GTEST_SKIP() << "may not mount a small file system here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(AtomicFile, KilledWriterLeavesOldOrNew) {
  const ScratchFolder scratch;
  const fs::path path = scratch / "a";
  const std::string contents[2] = {std::string(300'000, 'a'), std::string(200'000, 'b')};
  put(path, contents[0]);
  testing::TestRandom random(1);
  for (int round = 0; round < 15; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (unsigned i = 0;; ++i) write_file_atomically(path, contents[i % 2]);
    }
    ::usleep(static_cast<useconds_t>(500 + random.below(10'000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    const std::string now = get(path);
    EXPECT_TRUE(now == contents[0] || now == contents[1]) << now.size() << " bytes in round " << round;
  }
  // What the killed ones left behind does not stand in the way.
  write_file_atomically(path, "after");
  EXPECT_EQ(get(path), "after");
}

TEST(AtomicFile, ThreadsWriteOneAfterTheOther) {
  const ScratchFolder scratch;
  const std::string contents[2] = {std::string(50'000, 'a'), std::string(40'000, 'b')};
  const auto work = [&](const std::string& text) {
    for (int i = 0; i < 10; ++i) write_file_atomically(scratch / "a", text);
  };
  std::thread first(work, contents[0]), second(work, contents[1]);
  first.join();
  second.join();
  const std::string now = get(scratch / "a");
  EXPECT_TRUE(now == contents[0] || now == contents[1]);
  EXPECT_EQ(scratch.names().size(), 1u);
}

TEST(InputFile, ReadsWhatIsThere) {
  const ScratchFolder scratch;
  put(scratch / "a", "0123456789");
  put(scratch / "empty", "");
  EXPECT_EQ(read_file(scratch / "a", 10).size(), 10u);
  EXPECT_TRUE(read_file(scratch / "empty", 0).empty());
  InputFile file(scratch / "a");
  const InputFile moved = std::move(file);
  std::vector<std::byte> part(3);
  moved.read(7, part);
  EXPECT_EQ(std::to_integer<char>(part[0]), '7');
  EXPECT_EQ(moved.size(), 10u);
}

TEST(InputFile, RefusesWhatItCannotRead) {
  const ScratchFolder scratch;
  put(scratch / "a", "0123456789");
  ASSERT_EQ(::mkfifo((scratch / "pipe").c_str(), 0600), 0);
  const auto read = [](const fs::path& path, std::uint64_t limit) {
    return error_of([&] { read_file(path, limit); }, path);
  };
  EXPECT_NE(read(scratch / "a", 9).find("the limit here is 9"), std::string::npos);
  EXPECT_NE(read(scratch / "none", 9).find("no such file"), std::string::npos);
  EXPECT_NE(read(scratch.path(), 9).find("is a directory"), std::string::npos);
  EXPECT_NE(read(scratch / "pipe", 9).find("pipe"), std::string::npos);  // and does not wait for a writer
  EXPECT_NE(read("/dev/zero", 9).find("device"), std::string::npos);
  const InputFile file(scratch / "a");
  std::vector<std::byte> part(3);
  error_of([&] { file.read(8, part); }, scratch / "a");
  error_of([&] { file.read(~std::uint64_t{0}, part); }, scratch / "a");
  fs::resize_file(scratch / "a", 4);  // by someone else, in the middle
  EXPECT_NE(error_of([&] { file.read(2, part); }, scratch / "a").find("became shorter"), std::string::npos);
}

TEST(FileError, StaysOneLineWhateverTheName) {
  EXPECT_EQ(in_quotes("a\nb\x1b[31m"), "'a\\x0ab\\x1b[31m'");
  EXPECT_EQ(in_quotes(fs::path("plain ä")), "'plain ä'");
  const std::string shortened = in_quotes(std::string(100'000, 'x'));
  EXPECT_LT(shortened.size(), 700u);
  EXPECT_NE(shortened.find("..."), std::string::npos);
  try {
    read_file("/none\nsuch", 1);
    FAIL();
  } catch (const FileError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    EXPECT_EQ(error.error_number, ENOENT);
    EXPECT_EQ(error.path, "/none\nsuch");
  }
}

}  // namespace
}  // namespace ddpmts
