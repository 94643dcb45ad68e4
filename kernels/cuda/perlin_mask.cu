// Perlin-noise masks (contract: kernels/perlin_mask.h), bit for bit those of the CPU: compiled without fused multiply-adds.
// Layout: mask [N, H, W] u8, noise f32; a block has a run of one picture's pixels and the picture's lattice in shared
//   memory (8.5 KB).
// Bytes moved: H·W written an image, five times that where the noise is wanted.
// Variants: none. One launch also with retries: each block finds the attempt that its picture stops at by itself
//   (any_pixel); with one try there is nothing to find.
#include "kernels/cuda/mask_drawing.cuh"
#include "kernels/perlin_mask.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPixelsPerBlock = 16 * kThreads;

__global__ void __launch_bounds__(kThreads)
    perlin_mask_kernel(const __grid_constant__ PerlinMaskArgs args, unsigned blocks_per_picture) {
  const unsigned picture = blockIdx.x / blocks_per_picture;
  const int h = static_cast<int>(args.h), w = static_cast<int>(args.w);
  const float width = static_cast<float>(w), height = static_cast<float>(h);
  const Philox random{args.seed, RandomStream::perlin, args.first_sample + picture};
  SharedLattice lattice = shared_lattice();
  for (int attempt = 0; attempt < args.config.max_tries; ++attempt) {
    fill(lattice, random, static_cast<std::uint32_t>(attempt), args.config);
    if (attempt == args.config.max_tries - 1) break;  // it stands, empty or not
    const bool found = any_pixel(h, w, w / 2, h / 2, [&](float x, float y) {
      return perlin_at_pixel(lattice, x, y, width, height) > args.config.threshold;
    });
    if (found) break;
  }
  const std::int64_t pixels = args.h * args.w;
  std::uint8_t* mask = args.mask + picture * pixels;
  float* noise = args.noise == nullptr ? nullptr : args.noise + picture * pixels;
  const std::int64_t begin =
      std::int64_t{blockIdx.x - picture * blocks_per_picture} * kPixelsPerBlock + threadIdx.x;
  const std::int64_t end = smaller(begin + kPixelsPerBlock, pixels);
  for (std::int64_t p = begin; p < end; p += kThreads) {
    const int y = static_cast<int>(static_cast<unsigned>(p) / static_cast<unsigned>(w));
    const int x = static_cast<int>(p) - y * w;
    const float value = perlin_at_pixel(lattice, static_cast<float>(x), static_cast<float>(y), width, height);
    mask[p] = value > args.config.threshold ? 1 : 0;
    if (noise != nullptr) noise[p] = value;
  }
}

}  // namespace

void perlin_mask(const PerlinMaskArgs& args, Stream stream) {
  const PerlinConfig& config = args.config;
  if (config.min_exponent < 0 || config.max_exponent < config.min_exponent || config.max_exponent > 5) {
    throw std::invalid_argument("perlin_mask: lattice exponents must satisfy 0 <= min <= max <= 5");
  }
  if (config.max_tries < 1) throw std::invalid_argument("perlin_mask: max_tries must be at least 1");
  const std::int64_t blocks = ceil_div(args.h * args.w, kPixelsPerBlock);
  if (args.h * args.w > 0x7fffffff) {
    throw std::invalid_argument("perlin_mask: a picture has more than 2^31 - 1 pixels");
  }
  launch("perlin_mask", perlin_mask_kernel, blocks_for(args.n * blocks, 1), kThreads, SharedLattice::kBytes,
         stream, args, static_cast<unsigned>(blocks));
}

}  // namespace ddpmts::kernels::cuda
