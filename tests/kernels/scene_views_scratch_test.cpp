// What drawing views takes from the system beside their pictures: as much as threads draw at a time, however many views.
#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "kernels/scene_views.h"

namespace {
std::atomic<std::size_t> largest_block{0};
}

// The kernels' scratch memory is what this program asks for with an alignment.
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  std::size_t seen = largest_block;
  while (seen < bytes && !largest_block.compare_exchange_weak(seen, bytes)) {
  }
  const auto step = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(step, (bytes + step - 1) / step * step)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace ddpmts::kernels {
namespace {

/// The largest block that drawing `count` views of 40×30 pixels with `threads` threads asks for.
std::size_t block_for(std::size_t count, int threads) {
  const SceneRecipe scene;
  const std::vector<SceneViewRecipe> views(count);
  std::vector<std::uint8_t> pictures(count * 40 * 30 * 3);
  SceneViewsArgs args;
  args.n = static_cast<std::int64_t>(count);
  args.h = 40;
  args.w = 30;
  args.scene_count = 1;
  args.scenes = &scene;
  args.views = views.data();
  args.pictures = pictures.data();
  omp_set_num_threads(threads);
  largest_block = 0;
  cpu::scene_views(args);
  return largest_block;
}

TEST(SceneViewsScratch, GrowsWithThreadsNotWithViews) {
  const int threads = omp_get_max_threads();
  constexpr std::size_t kOfOne = 4 * 40 * 30 * sizeof(float);
  EXPECT_EQ(block_for(1, 1), kOfOne);
  EXPECT_EQ(block_for(64, 1), kOfOne);
  EXPECT_EQ(block_for(64, 3), 3 * kOfOne);
  EXPECT_EQ(block_for(2, 3), 2 * kOfOne) << "no more threads than views";
  omp_set_num_threads(threads);
}

}  // namespace
}  // namespace ddpmts::kernels
