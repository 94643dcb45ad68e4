#include "tests/shim/block.h"

#include <algorithm>
#include <memory>
#include <mutex>

#include "tests/shim/fiber.h"

ddpmts::shim::Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace ddpmts::shim {
namespace {

enum class State : std::uint8_t { ready, at_barrier, at_warp_operation, finished };

struct Thread {
  Fiber fiber;
  Dim3 index;
  State state = State::ready;
  Site site;  // of what it waits for
  WarpOperation operation{};
  unsigned mask = 0;
  std::uint64_t bits = 0;  // what it brings to a warp operation, then what it takes away
  int operand = 0, width = kWarpSize;
  /// clock[l]: the part of lane l's life that comes before this thread's now (a vector clock over its warp).
  std::uint32_t clock[kWarpSize] = {};
};

std::string text_of(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }
std::string text_of(Dim3 d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

const char* name_of(WarpOperation operation) {
  constexpr const char* names[] = {"__shfl_sync",   "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync",
                                   "__ballot_sync", "__any_sync",     "__all_sync",       "__syncwarp"};
  return names[static_cast<int>(operation)];
}

/// Thrown through a thread's stack when it has failed; caught where the thread began.
struct Stop {};

class Block {
 public:
  void run_grid(const std::string& name, Dim3 grid, Dim3 block, std::size_t dynamic_shared_bytes,
                const std::function<void()>& body) {
    name_ = name;
    body_ = &body;
    gridDim = grid;
    blockDim = block;
    set_up(block, dynamic_shared_bytes);
    for (unsigned z = grid.z; z-- > 0;) {
      for (unsigned y = grid.y; y-- > 0;) {
        for (unsigned x = grid.x; x-- > 0;) {
          blockIdx = Dim3(x, y, z);
          run_block();
        }
      }
    }
  }

  // ---- From a fiber ----

  void wait_at_barrier(Site site) {
    Thread& me = *threads_[static_cast<std::size_t>(current_)];
    me.state = State::at_barrier;
    me.site = site;
    Fiber::leave();
  }

  std::uint64_t wait_at_warp_operation(WarpOperation operation, unsigned mask, std::uint64_t bits,
                                       int operand, int width, Site site) {
    Thread& me = *threads_[static_cast<std::size_t>(current_)];
    if ((mask >> (current_ % kWarpSize) & 1u) == 0) {
      fail(std::string(name_of(operation)) + " at " + text_of(site) +
           ": the mask leaves out the lane that calls");
    }
    me.state = State::at_warp_operation;
    me.site = site;
    me.operation = operation;
    me.mask = mask;
    me.bits = bits;
    me.operand = operand;
    me.width = width;
    Fiber::leave();
    return me.bits;
  }

  [[noreturn]] void fail(const std::string& what) {
    fault_ = "thread " + std::to_string(current_) + ": " + what;
    throw Stop();
  }

  void touch(SharedCell& cell, AccessKind kind, Site site, std::int64_t index) {
    const SharedCell::Access now{current_, barriers_,
                                 threads_[static_cast<std::size_t>(current_)]->clock[current_ % kWarpSize],
                                 kind == AccessKind::atomic, site};
    if (cell.block != serial_) {
      if (kind != AccessKind::write) {
        fail("reads shared element [" + std::to_string(index) + "] at " + text_of(site) +
             ", which this block never wrote");
      }
      cell.block = serial_;
      cell.reads.clear();
      cell.write = now;
      return;
    }
    const bool both_atomic = now.atomic && cell.write.atomic;
    if (!both_atomic && !comes_before(cell.write)) report_race(cell.write, "wrote", kind, site, index);
    if (kind == AccessKind::read) {
      if (!cell.reads.empty() && cell.reads.back().barrier != barriers_) cell.reads.clear();
      if (!cell.reads.empty() && cell.reads.back().thread == current_) cell.reads.pop_back();
      cell.reads.push_back(now);
      return;
    }
    for (const SharedCell::Access& read : cell.reads) {
      if (!comes_before(read)) report_race(read, "read", kind, site, index);
    }
    cell.reads.clear();
    cell.write = now;
  }

  DynamicSharedMemory dynamic_shared() {
    return DynamicSharedMemory{dynamic_bytes_.data(), dynamic_cells_.data(), dynamic_size_};
  }

 private:
  void set_up(Dim3 block, std::size_t dynamic_shared_bytes) {
    const std::size_t count = std::size_t{block.x} * block.y * block.z;
    if (count == 0 || count > kMostThreads) {
      throw KernelFault(name_ + ": a block has 1 to 1024 threads, not " + std::to_string(count));
    }
    if (dynamic_shared_bytes > kMostDynamicSharedBytes) {
      throw KernelFault(name_ + ": " + std::to_string(dynamic_shared_bytes) +
                        " bytes of dynamic shared memory, more than " +
                        std::to_string(kMostDynamicSharedBytes));
    }
    while (threads_.size() < count) threads_.push_back(std::make_unique<Thread>());
    count_ = static_cast<int>(count);
    for (int i = 0; i < count_; ++i) {
      const unsigned linear = static_cast<unsigned>(i);
      threads_[static_cast<std::size_t>(i)]->index =
          Dim3(linear % block.x, linear / block.x % block.y, linear / block.x / block.y);
    }
    dynamic_bytes_.resize(std::max(dynamic_bytes_.size(), dynamic_shared_bytes + kAlignment));
    dynamic_cells_.resize(std::max(dynamic_cells_.size(), dynamic_shared_bytes));
    dynamic_size_ = dynamic_shared_bytes;
  }

  void run_block() {
    ++serial_;
    barriers_ = 0;
    for (int i = 0; i < count_; ++i) {
      Thread& thread = *threads_[static_cast<std::size_t>(i)];
      thread.state = State::ready;
      std::fill(thread.clock, thread.clock + kWarpSize, 0u);
      thread.clock[i % kWarpSize] = 1;
      thread.fiber.start([](void* self) { static_cast<Block*>(self)->run_body(); }, this);
    }
    for (;;) {
      for (int first = 0; first < count_; first += kWarpSize) run_warp(first);
      int finished = 0, at_barrier = 0;
      for (int i = 0; i < count_; ++i) {
        finished += state_of(i) == State::finished;
        at_barrier += state_of(i) == State::at_barrier;
      }
      if (finished == count_) return;
      if (at_barrier != count_) report_stuck(at_barrier);
      release_barrier();
    }
  }

  void run_body() {
    try {
      (*body_)();
    } catch (const Stop&) {  // fault_ says why
    }
  }

  State state_of(int i) const { return threads_[static_cast<std::size_t>(i)]->state; }

  /// Until every lane has finished, waits for the block, or for lanes that do not come.
  void run_warp(int first) {
    const int end = std::min(first + kWarpSize, count_);
    for (bool progress = true; progress;) {
      progress = false;
      for (int i = first; i < end; ++i) {
        if (state_of(i) != State::ready) continue;
        run_thread(i);
        progress = true;
      }
      for (int i = first; i < end; ++i) {
        if (state_of(i) == State::at_warp_operation && all_have_come(i, first, end)) {
          complete(threads_[static_cast<std::size_t>(i)]->mask, first, end);
          progress = true;
        }
      }
    }
  }

  void run_thread(int i) {
    Thread& thread = *threads_[static_cast<std::size_t>(i)];
    current_ = i;
    threadIdx = thread.index;
    fault_.clear();
    thread.fiber.resume();
    if (!fault_.empty()) raise(fault_);
    if (thread.fiber.finished()) thread.state = State::finished;
  }

  /// Whether every lane that thread i's operation names waits at the same one.
  bool all_have_come(int i, int first, int end) {
    const Thread& me = *threads_[static_cast<std::size_t>(i)];
    for (int j = first; j < end; ++j) {
      if ((me.mask >> (j - first) & 1u) == 0) continue;
      const Thread& other = *threads_[static_cast<std::size_t>(j)];
      if (other.state == State::finished) {
        raise("thread " + std::to_string(i) + " waits at " + name_of(me.operation) + " (" + text_of(me.site) +
              ") for thread " + std::to_string(j) + ", which has left the kernel");
      }
      if (other.state != State::at_warp_operation) return false;
      if (other.mask != me.mask || other.operation != me.operation || other.site.line != me.site.line) {
        raise("divergent warp: thread " + std::to_string(i) + " waits at " + name_of(me.operation) + " (" +
              text_of(me.site) + "), thread " + std::to_string(j) + " at " + name_of(other.operation) + " (" +
              text_of(other.site) + ")" + (other.mask != me.mask ? ", with another mask" : ""));
      }
    }
    return true;
  }

  void complete(unsigned mask, int first, int end) {
    std::uint64_t answers[kWarpSize] = {};
    std::uint32_t joined[kWarpSize] = {};
    for (int i = first; i < end; ++i) {
      if ((mask >> (i - first) & 1u) == 0) continue;
      answers[i - first] = answer_to(i, mask, first, end);
      const Thread& thread = *threads_[static_cast<std::size_t>(i)];
      for (int lane = 0; lane < kWarpSize; ++lane) joined[lane] = std::max(joined[lane], thread.clock[lane]);
    }
    for (int i = first; i < end; ++i) {
      if ((mask >> (i - first) & 1u) == 0) continue;
      Thread& thread = *threads_[static_cast<std::size_t>(i)];
      thread.bits = answers[i - first];
      thread.state = State::ready;
      if (thread.operation != WarpOperation::sync) continue;
      std::copy(joined, joined + kWarpSize, thread.clock);
      ++thread.clock[i - first];
    }
  }

  std::uint64_t answer_to(int i, unsigned mask, int first, int end) {
    const Thread& me = *threads_[static_cast<std::size_t>(i)];
    const int lane = i - first, segment = lane / me.width * me.width;
    int source = lane;
    switch (me.operation) {
      case WarpOperation::sync:
        return 0;
      case WarpOperation::ballot:
      case WarpOperation::any:
      case WarpOperation::all: {
        std::uint64_t ballot = 0, present = 0;
        for (int j = first; j < end; ++j) {
          if ((mask >> (j - first) & 1u) == 0) continue;
          present |= std::uint64_t{1} << (j - first);
          if (threads_[static_cast<std::size_t>(j)]->bits != 0) ballot |= std::uint64_t{1} << (j - first);
        }
        if (me.operation == WarpOperation::ballot) return ballot;
        return me.operation == WarpOperation::any ? ballot != 0 : ballot == present;
      }
      case WarpOperation::shuffle:
        source = segment + (me.operand & (me.width - 1));
        break;
      case WarpOperation::shuffle_up:
        source = lane - me.operand;
        break;
      case WarpOperation::shuffle_down:
        source = lane + me.operand;
        break;
      case WarpOperation::shuffle_xor:
        source = lane ^ me.operand;
        break;
    }
    if (source < segment && me.operation == WarpOperation::shuffle_up) source = lane;
    if (source >= segment + me.width) source = lane;
    if ((mask >> source & 1u) == 0 || first + source >= end) {
      raise("thread " + std::to_string(i) + " takes the value of lane " + std::to_string(source) + " in " +
            name_of(me.operation) + " (" + text_of(me.site) + "), which is not in it");
    }
    return threads_[static_cast<std::size_t>(first + source)]->bits;
  }

  void release_barrier() {
    const Site site = threads_[0]->site;
    for (int i = 0; i < count_; ++i) {
      if (threads_[static_cast<std::size_t>(i)]->site.line != site.line) report_stuck(count_);
    }
    ++barriers_;
    for (int i = 0; i < count_; ++i) threads_[static_cast<std::size_t>(i)]->state = State::ready;
  }

  /// The access of another thread, or of this one, that a barrier or a warp sync put before this thread's now.
  bool comes_before(const SharedCell::Access& access) const {
    if (access.thread == current_ || access.barrier != barriers_) return true;
    return access.thread / kWarpSize == current_ / kWarpSize &&
           threads_[static_cast<std::size_t>(current_)]->clock[access.thread % kWarpSize] >= access.clock;
  }

  [[noreturn]] void report_race(const SharedCell::Access& other, const char* did, AccessKind kind, Site site,
                                std::int64_t index) {
    fail(std::string("race on shared memory: ") + (kind == AccessKind::read ? "reads" : "writes") +
         " element [" + std::to_string(index) + "] at " + text_of(site) + ", which thread " +
         std::to_string(other.thread) + " " + did + " at " + text_of(other.site) +
         " with no barrier in between");
  }

  /// No thread can go on: says which thread waits where.
  [[noreturn]] void report_stuck(int at_barrier) {
    std::string what = at_barrier > 0 ? "divergent barrier:" : "deadlock:";
    std::string before;
    int begin = 0;
    for (int i = 0; i <= count_; ++i) {
      const std::string now = i < count_ ? situation_of(i) : std::string();
      if (now == before) continue;
      if (i > 0) {
        what += " threads " + std::to_string(begin) + "-" + std::to_string(i - 1) + " " + before + ";";
      }
      before = now;
      begin = i;
    }
    what.pop_back();
    raise(what);
  }
  std::string situation_of(int i) const {
    const Thread& thread = *threads_[static_cast<std::size_t>(i)];
    if (thread.state == State::finished) return "have left the kernel";
    if (thread.state == State::at_barrier) return "wait at __syncthreads (" + text_of(thread.site) + ")";
    return std::string("wait at ") + name_of(thread.operation) + " (" + text_of(thread.site) + ")";
  }

  [[noreturn]] void raise(const std::string& what) {
    throw KernelFault("kernel " + name_ + ", block " + text_of(blockIdx) + ": " + what);
  }

  static constexpr std::size_t kAlignment = 128;
  std::string name_;
  const std::function<void()>* body_ = nullptr;
  std::vector<std::unique_ptr<Thread>> threads_;
  int count_ = 0, current_ = 0;
  std::uint64_t serial_ = 0;  // of the block, over all launches
  std::uint32_t barriers_ = 0;
  std::string fault_;
  std::vector<std::byte> dynamic_bytes_;
  std::vector<SharedCell> dynamic_cells_;
  std::size_t dynamic_size_ = 0;
};

Block& block() {
  static Block only;
  return only;
}

}  // namespace

void run_kernel(const std::string& name, Dim3 grid, Dim3 block_size, std::size_t dynamic_shared_bytes,
                const std::function<void()>& body) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  block().run_grid(name, grid, block_size, dynamic_shared_bytes, body);
}

void block_barrier(Site site) { block().wait_at_barrier(site); }

std::uint64_t warp_operation(WarpOperation operation, unsigned mask, std::uint64_t bits, int operand,
                             int width, Site site) {
  return block().wait_at_warp_operation(operation, mask, bits, operand, width, site);
}

void touch_shared(SharedCell* cells, std::size_t count, AccessKind kind, Site site, std::int64_t index) {
  for (std::size_t i = 0; i < count; ++i) block().touch(cells[i], kind, site, index);
}

void fail(const std::string& what) { block().fail(what); }

DynamicSharedMemory dynamic_shared_memory() { return block().dynamic_shared(); }

}  // namespace ddpmts::shim
