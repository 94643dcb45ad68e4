// Runs a kernel on the host: blocks one after another, each thread of a block a fiber. Knows barriers and warp
// operations, and the order that they give to shared-memory accesses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace ddpmts::shim {

constexpr int kWarpSize = 32;
constexpr int kMostThreads = 1024;
constexpr std::size_t kMostDynamicSharedBytes = 227 * 1024;  // of a block on sm_90; less on other GPUs

struct Dim3 {
  constexpr Dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned x, y, z;
};

/// A line of a kernel's source.
struct Site {
  const char* file = "";
  int line = 0;
};

/// What the shim found wrong with a kernel: a race, a divergent barrier, a deadlock, a read of unwritten shared
/// memory. Thrown by run_kernel; the message names the kernel, block, threads and source lines.
struct KernelFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Calls body() once for every thread of the grid. The last blocks come first, so that a kernel that expects the order
/// of block indices is found out.
void run_kernel(const std::string& name, Dim3 grid, Dim3 block, std::size_t dynamic_shared_bytes,
                const std::function<void()>& body);

// ---- Called by the kernel's threads ----

enum class WarpOperation : std::uint8_t {
  shuffle,
  shuffle_up,
  shuffle_down,
  shuffle_xor,
  ballot,
  any,
  all,
  sync
};

/// Waits for every thread of the block.
void block_barrier(Site site);
/// Waits for the lanes in `mask`. Shuffles: `bits` is the lane's value, the answer is another lane's; votes: `bits` is
/// the predicate, the answer the ballot, or 0 or 1. Only `sync` orders memory accesses, as CUDA has it.
std::uint64_t warp_operation(WarpOperation operation, unsigned mask, std::uint64_t bits, int operand,
                             int width, Site site);

/// One byte or element of shared memory: who touched it since the block's last barrier.
struct SharedCell {
  struct Access {
    int thread = -1;
    std::uint32_t barrier = 0;  // how many barriers of the block came before
    std::uint32_t clock = 0;    // how many warp syncs of the thread came before
    bool atomic = false;
    Site site;
  };
  std::uint64_t block = 0;  // serial number of the block that wrote it last; another one: never written
  Access write;
  std::vector<Access> reads;  // since that write
};

enum class AccessKind : std::uint8_t { read, write, atomic };

/// Checks an access to `count` neighbouring cells against those before it; a conflict ends the kernel.
void touch_shared(SharedCell* cells, std::size_t count, AccessKind kind, Site site, std::int64_t index);
/// Ends the kernel with a fault.
[[noreturn]] void fail(const std::string& what);

struct DynamicSharedMemory {
  std::byte* bytes;
  SharedCell* cells;  // one a byte
  std::size_t size;
};
DynamicSharedMemory dynamic_shared_memory();

}  // namespace ddpmts::shim

// CUDA's names for where a thread is.
extern ddpmts::shim::Dim3 threadIdx, blockIdx, blockDim, gridDim;
