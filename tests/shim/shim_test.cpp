// The shim finds what it is there to find, and computes what a GPU would.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace ddpmts::kernels::cuda {
namespace {

/// The fault that a launch ends with; "" where it ends well.
template <class... P>
std::string fault_of(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t bytes,
                     std::type_identity_t<P>... parameters) {
  try {
    launch("kernel_under_test", kernel, grid, block, bytes, Stream{}, parameters...);
  } catch (const shim::KernelFault& fault) {
    return fault.what();
  }
  return "";
}

#define EXPECT_FAULT(fault, part) \
  EXPECT_NE((fault).find(part), std::string::npos) << "the fault is: " << (fault)

// ---- Where a thread is ----

__global__ void count_visits(int* visits) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  visits[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
}

TEST(Grid, EveryThreadRunsOnce) {
  std::vector<int> visits(5 * 3 * 2 * 4 * 3 * 2);
  EXPECT_EQ(fault_of(count_visits, dim3(5, 3, 2), dim3(4, 3, 2), 0, visits.data()), "");
  EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
}

TEST(Grid, NoBlocksIsNoLaunchAndTooManyThreadsAFault) {
  int visits = 0;
  EXPECT_EQ(fault_of(count_visits, 0, 32, 0, &visits), "");
  EXPECT_EQ(visits, 0);
  EXPECT_FAULT(fault_of(count_visits, 1, 1025, 0, &visits), "1 to 1024 threads");
}

__global__ void number_of_block(unsigned* order, unsigned* next) {
  if (threadIdx.x == 0) order[atomicAdd(next, 1u)] = blockIdx.x;
}

TEST(Grid, BlocksDoNotRunInTheOrderOfTheirIndices) {
  std::vector<unsigned> order(3);
  unsigned next = 0;
  EXPECT_EQ(fault_of(number_of_block, 3, 32, 0, order.data(), &next), "");
  EXPECT_EQ(order, (std::vector<unsigned>{2, 1, 0}));
}

TEST(Grid, SizesOfGrids) {
  EXPECT_EQ(blocks_for(0, 256), 0u);
  EXPECT_EQ(blocks_for(1, 256), 1u);
  EXPECT_EQ(blocks_for(257, 256), 2u);
  EXPECT_THROW(blocks_for(std::int64_t{1} << 40, 256), std::invalid_argument);
  EXPECT_EQ(persistent_blocks(1000000, 256, 4), 4u * static_cast<unsigned>(multiprocessor_count()));
  EXPECT_EQ(persistent_blocks(300, 256, 4), 2u);
}

// ---- Barriers and shared memory ----

__global__ void reverse_block(const int* in, int* out) {
  __shared__ SharedArray<int, 256> values;
  values[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}

TEST(Barrier, OrdersSharedMemory) {
  for (const unsigned threads : {1u, 31u, 32u, 33u, 100u, 256u}) {
    std::vector<int> in(2 * threads), out(2 * threads);
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int>(i);
    EXPECT_EQ(fault_of(reverse_block, 2, threads, 0, in.data(), out.data()), "");
    for (unsigned i = 0; i < threads; ++i) {
      ASSERT_EQ(out[i], static_cast<int>(threads - 1 - i));
      ASSERT_EQ(out[threads + i], static_cast<int>(2 * threads - 1 - i));
    }
  }
}

__global__ void neighbour_without_barrier(int* out) {
  __shared__ SharedArray<int, 64> values;
  values[threadIdx.x] = 1;
  out[threadIdx.x] = values[threadIdx.x ^ 32];
}

TEST(Race, ReadBeforeWrite) {
  std::vector<int> out(64);
  const std::string fault = fault_of(neighbour_without_barrier, 1, 64, 0, out.data());
  // The second warp has not written when the first one reads.
  EXPECT_FAULT(fault, "kernel kernel_under_test, block (0,0,0): thread 0: reads shared element [32]");
  EXPECT_FAULT(fault, "never wrote");
}

__global__ void read_then_write(int* out) {
  __shared__ SharedArray<int, 64> values;
  values[threadIdx.x] = 1;
  __syncthreads();
  const int other = values[threadIdx.x ^ 32];
  values[threadIdx.x] = other + 1;
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];
}

TEST(Race, ReadAgainstWriteOfAnotherWarp) {
  std::vector<int> out(64);
  const std::string fault = fault_of(read_then_write, 1, 64, 0, out.data());
  EXPECT_FAULT(fault, "race on shared memory: reads element [0] at ");
  EXPECT_FAULT(fault, "thread 32: ");
  EXPECT_FAULT(fault, "which thread 0 wrote at ");
  EXPECT_FAULT(fault, "shim_test.cpp:");
}

__global__ void all_write_one(int*) {
  __shared__ SharedArray<int, 1> value;
  value[0] = 1;
}

TEST(Race, WriteAgainstWrite) {
  const std::string fault = fault_of(all_write_one, 2, 2, 0, nullptr);
  EXPECT_FAULT(fault, "block (1,0,0): thread 1: race on shared memory: writes element [0]");
  EXPECT_FAULT(fault, "which thread 0 wrote");
}

__global__ void many_readers_one_writer(int* out, int writer) {
  __shared__ SharedArray<int, 1> value;
  if (threadIdx.x == 0) value[0] = 7;
  __syncthreads();
  out[threadIdx.x] = value[0];
  if (static_cast<int>(threadIdx.x) == writer) value[0] = 8;
}

TEST(Race, AWriteIsHeldAgainstEveryReader) {
  std::vector<int> out(96);
  EXPECT_FAULT(fault_of(many_readers_one_writer, 1, 96, 0, out.data(), 95), "which thread 0 read");
  EXPECT_EQ(fault_of(many_readers_one_writer, 1, 96, 0, out.data(), -1), "");
  EXPECT_EQ(out, std::vector<int>(96, 7));
  EXPECT_EQ(fault_of(many_readers_one_writer, 1, 1, 0, out.data(), 0), "");
}

__global__ void exchange_in_warp(int* out, bool synchronised) {
  __shared__ SharedArray<int, 64> values;
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (synchronised) {
    __syncwarp();
  } else {
    __shfl_xor_sync(kFullWarp, 1, 1);  // lets the lanes meet, but promises nothing about memory
  }
  out[threadIdx.x] = values[threadIdx.x ^ 1];
}

TEST(Race, AWarpSyncOrdersItsWarpAndAShuffleDoesNot) {
  std::vector<int> out(64);
  EXPECT_EQ(fault_of(exchange_in_warp, 1, 64, 0, out.data(), true), "");
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(out[i], static_cast<int>(i ^ 1));
  EXPECT_FAULT(fault_of(exchange_in_warp, 1, 64, 0, out.data(), false),
               "race on shared memory: reads element [1]");
}

__global__ void sync_half_warps(int* out, int distance) {
  __shared__ SharedArray<int, 32> values;
  values[threadIdx.x] = 3;
  __syncwarp(threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u);
  __shfl_xor_sync(kFullWarp, 1, 1);
  out[threadIdx.x] = values[threadIdx.x ^ static_cast<unsigned>(distance)];
}

TEST(Race, AWarpSyncOrdersOnlyTheLanesThatItNames) {
  std::vector<int> out(32);
  EXPECT_EQ(fault_of(sync_half_warps, 1, 32, 0, out.data(), 8), "");
  EXPECT_FAULT(fault_of(sync_half_warps, 1, 32, 0, out.data(), 16), "race on shared memory");
}

__global__ void count_in_shared(unsigned* out, bool plain) {
  __shared__ SharedArray<unsigned, 4> counts;
  if (threadIdx.x < 4) counts[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&counts[threadIdx.x % 4], threadIdx.x);
  if (plain && threadIdx.x == 5) counts[2] += 1;
  __syncthreads();
  if (threadIdx.x < 4) out[threadIdx.x] = counts[threadIdx.x];
}

TEST(Race, AtomicsDoNotRaceWithEachOther) {
  std::vector<unsigned> out(4);
  EXPECT_EQ(fault_of(count_in_shared, 1, 64, 0, out.data(), false), "");
  EXPECT_EQ(out, (std::vector<unsigned>{480, 496, 512, 528}));
  EXPECT_FAULT(fault_of(count_in_shared, 1, 64, 0, out.data(), true), "race on shared memory");
}

__global__ void read_unwritten(int* out, bool write_first_block) {
  __shared__ SharedArray<int, 4> values;
  if (write_first_block && blockIdx.x == 1) values[2] = 5;  // the block that runs first
  out[blockIdx.x] = values[2];
}

TEST(SharedMemory, ReadingWhatTheBlockNeverWroteIsAFault) {
  std::vector<int> out(2);
  EXPECT_FAULT(fault_of(read_unwritten, 2, 1, 0, out.data(), false), "block (1,0,0)");
  EXPECT_FAULT(fault_of(read_unwritten, 2, 1, 0, out.data(), true),
               "block (0,0,0): thread 0: reads shared element [2]");
}

__global__ void index_out_of_bounds(int* out, int index) {
  __shared__ SharedArray<int, 4> values;
  values[index] = 1;
  out[0] = values[index];
}

TEST(SharedMemory, IndicesAreChecked) {
  int out = 0;
  EXPECT_EQ(fault_of(index_out_of_bounds, 1, 1, 0, &out, 3), "");
  EXPECT_FAULT(fault_of(index_out_of_bounds, 1, 1, 0, &out, 4), "shared element [4] of 4");
  EXPECT_FAULT(fault_of(index_out_of_bounds, 1, 1, 0, &out, -1), "shared element [-1] of 4");
}

__global__ void use_dynamic(float* out, int count, int offset) {
  const DynamicShared<float> values = dynamic_shared<float>(count, offset);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    values[i] = static_cast<float>(i);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    out[i] = values[count - 1 - i];
  }
}

TEST(SharedMemory, DynamicIsAsLargeAsTheLaunchSays) {
  std::vector<float> out(100);
  EXPECT_EQ(fault_of(use_dynamic, 2, 64, 100 * 4 + 8, out.data(), 100, 8), "");
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(out[i], static_cast<float>(99 - i));
  EXPECT_FAULT(fault_of(use_dynamic, 1, 64, 100 * 4, out.data(), 100, 8),
               "dynamic shared memory: bytes 8 to 408 of the 400");
  EXPECT_FAULT(fault_of(use_dynamic, 1, 64, 100 * 4 + 8, out.data(), 100, 2), "misaligned");
  EXPECT_FAULT(fault_of(use_dynamic, 1, 64, 300 * 1024, out.data(), 100, 0), "more than 232448");
}

__global__ void overlapping_views(float* out) {
  const DynamicShared<float> numbers = dynamic_shared<float>(2);
  const DynamicShared<unsigned short> halves = dynamic_shared<unsigned short>(4);
  if (threadIdx.x == 0) numbers[1] = 1.0f;
  if (threadIdx.x == 1) halves[3] = 1;
  out[0] = 0.0f;
}

TEST(SharedMemory, ARaceBetweenTwoViewsIsSeen) {
  float out = 0.0f;
  EXPECT_FAULT(fault_of(overlapping_views, 1, 2, 8, &out), "race on shared memory");
}

__global__ void barrier_for_some(int limit) {
  if (static_cast<int>(threadIdx.x) < limit) __syncthreads();
}

TEST(Barrier, ThreadsThatLeaveAreReported) {
  EXPECT_EQ(fault_of(barrier_for_some, 1, 96, 0, 96), "");
  const std::string fault = fault_of(barrier_for_some, 1, 96, 0, 40);
  EXPECT_FAULT(fault, "divergent barrier: threads 0-39 wait at __syncthreads");
  EXPECT_FAULT(fault, "threads 40-95 have left the kernel");
}

__global__ void two_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST(Barrier, DifferentBarriersAreReported) {
  EXPECT_FAULT(fault_of(two_barriers, 1, 64, 0), "divergent barrier: threads 0-31 wait");
}

__global__ void warp_waits_for_block() {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

TEST(Barrier, ADeadlockBetweenWarpAndBlockIsReported) {
  const std::string fault = fault_of(warp_waits_for_block, 1, 4, 0);
  EXPECT_FAULT(fault, "threads 1-1 wait at __syncwarp");
  EXPECT_FAULT(fault, "threads 0-0 wait at __syncthreads");
}

TEST(Barrier, TheNextLaunchAfterAFaultIsFresh) {
  EXPECT_NE(fault_of(barrier_for_some, 1, 96, 0, 40), "");
  EXPECT_EQ(fault_of(barrier_for_some, 2, 96, 0, 96), "");
}

// ---- Warp operations ----

struct WarpAnswers {
  int broadcast, up, down, across, narrow;
  unsigned ballot;
  int any, all;
  double of_double;
};

__global__ void all_warp_operations(WarpAnswers* answers) {
  const int lane = static_cast<int>(threadIdx.x % 32), value = 100 + static_cast<int>(threadIdx.x);
  WarpAnswers& a = answers[threadIdx.x];
  a.broadcast = __shfl_sync(kFullWarp, value, 5);
  a.up = __shfl_up_sync(kFullWarp, value, 3);
  a.down = __shfl_down_sync(kFullWarp, value, 3);
  a.across = __shfl_xor_sync(kFullWarp, value, 9);
  a.narrow = __shfl_sync(kFullWarp, value, 2, 8);
  a.ballot = __ballot_sync(kFullWarp, lane % 3 == 0);
  a.any = __any_sync(kFullWarp, lane == 17);
  a.all = __all_sync(kFullWarp, lane != 17);
  a.of_double = __shfl_xor_sync(kFullWarp, 0.1 * value, 1);
}

TEST(Warp, OperationsGiveWhatCudaDocuments) {
  std::vector<WarpAnswers> answers(64);
  EXPECT_EQ(fault_of(all_warp_operations, 1, 64, 0, answers.data()), "");
  for (int i = 0; i < 64; ++i) {
    const int lane = i % 32, first = 100 + i - lane;
    const WarpAnswers& a = answers[static_cast<std::size_t>(i)];
    ASSERT_EQ(a.broadcast, first + 5);
    ASSERT_EQ(a.up, first + (lane < 3 ? lane : lane - 3));
    ASSERT_EQ(a.down, first + (lane + 3 > 31 ? lane : lane + 3));
    ASSERT_EQ(a.across, first + (lane ^ 9));
    ASSERT_EQ(a.narrow, first + lane / 8 * 8 + 2);
    ASSERT_EQ(a.ballot, 0x49249249u);
    ASSERT_EQ(a.any, 1);
    ASSERT_EQ(a.all, 0);
    ASSERT_EQ(a.of_double, 0.1 * (first + (lane ^ 1)));
  }
}

__global__ void ballot_of_partial_warp(unsigned* ballots) {
  ballots[threadIdx.x] = __ballot_sync(kFullWarp, 1);
  ballots[threadIdx.x] += static_cast<unsigned>(__all_sync(kFullWarp, 1));
}

TEST(Warp, TheLastWarpMayBePartial) {
  std::vector<unsigned> ballots(37);
  EXPECT_EQ(fault_of(ballot_of_partial_warp, 1, 37, 0, ballots.data()), "");
  EXPECT_EQ(ballots[31], 0u);   // all 32 lanes, plus 1
  EXPECT_EQ(ballots[32], 32u);  // five lanes, plus 1
}

__global__ void sum_of_warp(float* out) { out[threadIdx.x] = warp_sum(1.0f); }

TEST(Warp, TakingTheValueOfAMissingLaneIsAFault) {
  std::vector<float> out(37);
  EXPECT_FAULT(fault_of(sum_of_warp, 1, 37, 0, out.data()), "takes the value of lane 16 in __shfl_xor_sync");
}

__global__ void shuffle_of_some(int* out, int limit, bool leave) {
  if (static_cast<int>(threadIdx.x) >= limit) {
    if (leave) return;
    out[threadIdx.x] = __any_sync(kFullWarp, 1);
    return;
  }
  out[threadIdx.x] = __shfl_sync(kFullWarp, 1, 0);
}

TEST(Warp, DivergenceIsReported) {
  std::vector<int> out(32);
  EXPECT_FAULT(fault_of(shuffle_of_some, 1, 32, 0, out.data(), 20, true),
               "thread 20, which has left the kernel");
  const std::string fault = fault_of(shuffle_of_some, 1, 32, 0, out.data(), 20, false);
  EXPECT_FAULT(fault, "divergent warp: thread 0 waits at __shfl_sync");
  EXPECT_FAULT(fault, "thread 20 at __any_sync");
}

__global__ void mask_without_caller(int* out) { out[threadIdx.x] = __shfl_sync(0x2u, 1, 1); }

TEST(Warp, TheMaskMustNameTheCaller) {
  std::vector<int> out(32);
  EXPECT_FAULT(fault_of(mask_without_caller, 1, 32, 0, out.data()),
               "the mask leaves out the lane that calls");
}

// ---- The vocabulary's reductions and vectors ----

__global__ void reduce_everything(const float* in, double* totals, float* sums, int* scans,
                                  ReductionScratch scratch) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const double sum = block_sum(static_cast<double>(in[i]));
  if (threadIdx.x == blockDim.x - 1) sums[blockIdx.x] = static_cast<float>(sum);
  int total = 0;
  scans[i] = block_inclusive_scan(static_cast<int>(threadIdx.x), total);
  if (threadIdx.x == 0) scans[i] = total;
  const double values[2] = {sum, 1.0};
  double both[2];
  if (grid_sum(values, scratch, both) && threadIdx.x == 33) {
    totals[0] = both[0];
    totals[1] = both[1];
  }
}

TEST(Reductions, AddUp) {
  const unsigned blocks = 300, threads = 96;  // more blocks than threads
  std::vector<float> in(blocks * threads), sums(blocks);
  std::vector<int> scans(in.size());
  double expected = 0.0;
  for (std::size_t i = 0; i < in.size(); ++i)
    expected += static_cast<double>(in[i] = static_cast<float>(i % 17) * 0.3f);
  for (int run = 0; run < 2; ++run) {  // the second finds the scratch as the first did
    double totals[2] = {};
    EXPECT_EQ(fault_of(reduce_everything, blocks, threads, 0, in.data(), totals, sums.data(), scans.data(),
                       reduction_scratch(Stream{})),
              "");
    EXPECT_NEAR(totals[0], expected, 1e-9 * expected);
    EXPECT_EQ(totals[1], 300.0);
  }
  double of_block = 0.0;
  for (std::size_t i = 0; i < threads; ++i) of_block += static_cast<double>(in[i]);
  EXPECT_EQ(sums[0], static_cast<float>(of_block));
  EXPECT_EQ(scans[threads], 95 * 96 / 2);
  for (std::size_t i = 1; i < threads; ++i) EXPECT_EQ(scans[i], static_cast<int>(i * (i + 1) / 2));
}

__global__ void groups(float* out, int lanes) {
  out[threadIdx.x] = group_sum(static_cast<float>(threadIdx.x), lanes);
}

TEST(Reductions, GroupsOfLanes) {
  std::vector<float> out(32);
  for (const int lanes : {1, 2, 8, 32}) {
    EXPECT_EQ(fault_of(groups, 1, 32, 0, out.data(), lanes), "");
    for (int i = 0; i < 32; ++i) {
      const int first = i / lanes * lanes;
      EXPECT_EQ(out[static_cast<std::size_t>(i)],
                static_cast<float>(lanes * first + lanes * (lanes - 1) / 2));
    }
  }
}

template <int N, class T>
__global__ void copy_vectors(const T* from, T* to, std::int64_t count) {
  const std::int64_t first = std::int64_t{threadIdx.x} * N;
  if (first + N <= count) {
    store<N>(to + first, load<N>(from + first));
  } else if (first < count) {
    store_upto<N>(to + first, load_upto<N>(from + first, count - first), count - first);
  }
}

template <int N, class T>
void check_copy() {
  for (const std::int64_t count : {1, 7, 8, 9, 100}) {
    std::vector<T> from(static_cast<std::size_t>(count)), to(from.size());
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = from_float<T>(static_cast<float>(i) - 3.5f);
    EXPECT_EQ(fault_of(copy_vectors<N, T>, 1, 128, 0, from.data(), to.data(), count), "");
    for (std::size_t i = 0; i < from.size(); ++i) ASSERT_EQ(to_float(to[i]), to_float(from[i]));
  }
}

TEST(Vectors, CopyWholeAndTails) {
  check_copy<4, float>();
  check_copy<8, float>();
  check_copy<8, bf16>();
  check_copy<4, bf16>();
  check_copy<2, bf16>();
  check_copy<1, bf16>();
  check_copy<1, float>();
  EXPECT_EQ(kVector<bf16>, 8);
  EXPECT_EQ((kAlignmentOf<4, bf16>), 8);
  EXPECT_EQ((kAlignmentOf<8, float>), 16);
}

// ---- Global memory: the sanitizers' part ----

using GlobalMemoryDeathTest = ::testing::Test;

__global__ void write_at(float* out, int index) {
  __syncthreads();  // so that the write runs on a resumed fiber
  if (threadIdx.x == 40) out[index] = 1.0f;
}

TEST(GlobalMemoryDeathTest, AnAccessOutOfBoundsEndsTheProgram) {
  std::vector<float> out(64);
  EXPECT_EQ(fault_of(write_at, 1, 64, 0, out.data(), 63), "");
  EXPECT_DEATH(fault_of(write_at, 1, 64, 0, out.data(), 64), "heap-buffer-overflow");
}

TEST(GlobalMemoryDeathTest, AMisalignedVectorEndsTheProgram) {
  std::vector<float> values(64);
  EXPECT_DEATH(fault_of(copy_vectors<4, float>, 1, 1, 0, values.data() + 1, values.data() + 32, 4),
               "misaligned");
}

__global__ void overflow(int* value) { *value += 1; }

TEST(GlobalMemoryDeathTest, UndefinedArithmeticEndsTheProgram) {
  int value = 0x7fffffff;
  EXPECT_DEATH(fault_of(overflow, 1, 1, 0, &value), "signed integer overflow");
}

}  // namespace
}  // namespace ddpmts::kernels::cuda
