// Perlin masks and training triplets.
#include <array>

#include "bench/cases/tools.h"
#include "data/defect_recipe.h"
#include "kernels/perlin_math.h"
#include "kernels/triplet.h"

namespace ddpmts::bench {
namespace {

// Bytes: one u8 written a pixel; the work is arithmetic.
Prepared prepare_perlin(Device device, DType, std::int64_t n, std::int64_t size) {
  const Tensor mask = Tensor::empty({n, size, size}, DType::u8, device);
  kernels::PerlinMaskArgs args;
  args.n = n;
  args.h = args.w = size;
  args.seed = 7;
  args.mask = mask.data<std::uint8_t>();
  Prepared p;
  p.held = {mask};
  p.bytes = bytes_of({mask});
  p.run = [=] { DDPMTS_LAUNCH(device, perlin_mask, args); };
  p.check = [=, run = p.run] {
    run();
    // One picture after the other, one pixel after the other, by the shared formula.
    std::vector<std::uint8_t> expected;
    for (std::int64_t i = 0; i < n; ++i) {
      const kernels::Philox random{args.seed, kernels::RandomStream::perlin, static_cast<std::uint64_t>(i)};
      const auto lattice = std::make_unique<kernels::PerlinLattice>();
      kernels::perlin_fill(*lattice, random, 0, args.config);
      const auto side = static_cast<float>(size);
      for (std::int64_t at = 0; at < size * size; ++at) {
        const float noise = kernels::perlin_at_pixel(*lattice, static_cast<float>(at % size),
                                                     static_cast<float>(at / size), side, side);
        expected.push_back(noise > args.config.threshold ? 1 : 0);
      }
    }
    return compare_bits("mask", mask, Tensor::from_host<std::uint8_t>(mask.shape(), expected, device));
  };
  return p;
}

// The recipes of training's first samples. Bytes: three u8 taps read once, two pictures and a mask written a pixel.
// Checked: the same on the plainest variant of the CPU's code, bit for bit; and outside of the mask nothing is painted.
Prepared prepare_triplet(Device device, DType type, std::int64_t n, std::int64_t size) {
  constexpr std::int64_t kPictures = 4;
  const Tensor pictures = drawn_pictures(kPictures, size, device);
  const Shape shape{n, size, size, 3};
  const Tensor normal = Tensor::empty(shape, type, device), defective = Tensor::empty(shape, type, device);
  const Tensor mask = Tensor::empty({n, size, size}, DType::u8, device);
  std::vector<kernels::TripletRecipe> recipes;
  for (std::int64_t i = 0; i < n; ++i) {
    recipes.push_back(draw_recipe({}, 1, static_cast<std::uint64_t>(i), kPictures, 0, size, size));
  }
  kernels::TripletArgs args;
  args.type = type;
  args.n = n;
  args.h = args.w = size;
  args.pictures = pictures.data<std::uint8_t>();
  args.normal = normal.raw();
  args.defective = defective.raw();
  args.mask = mask.data<std::uint8_t>();
  const auto on_device = std::make_shared<Buffer>(upload<kernels::TripletRecipe>(recipes, device));
  args.recipes = static_cast<const kernels::TripletRecipe*>(on_device->data());
  Prepared p;
  p.held = {pictures, normal, defective, mask};
  p.bytes = static_cast<double>(n * size * size * 3) + bytes_of({normal, defective, mask});
  p.run = [=, held = on_device] { DDPMTS_LAUNCH(device, triplet, args); };
  p.check = [=, run = p.run] {
    run();
    const Tensor on_host = pictures.to(Device{});
    const Tensor plain[] = {Tensor::empty(shape, type), Tensor::empty(shape, type),
                            Tensor::empty(mask.shape(), DType::u8)};
    kernels::TripletArgs twin = args;
    twin.pictures = on_host.data<std::uint8_t>();
    twin.recipes = recipes.data();
    twin.normal = plain[0].raw();
    twin.defective = plain[1].raw();
    twin.mask = plain[2].data<std::uint8_t>();
    kernels::cpu::baseline::triplet(twin);
    const std::vector<float> good = normal.to_floats(), bad = defective.to_floats();
    const std::vector<std::uint8_t> where = mask.to_host<std::uint8_t>();
    Check outside{true, "outside of the mask: unchanged"};
    for (std::size_t i = 0; i < good.size(); ++i) {
      if (where[i / 3] == 0 && good[i] != bad[i])
        outside = {false, "outside of the mask the picture was changed"};
    }
    return all_of({outside, compare_bits("normal", normal, plain[0]), compare_bits("mask", mask, plain[2]),
                   compare_bits("defective", defective, plain[1])});
  };
  return p;
}

}  // namespace

void add_synthesis_cases(const CasePlan& plan, Cases& cases) {
  add_sized(plan, cases, "perlin_mask", 1.0, false, prepare_perlin);
  add_sized(plan, cases, "triplet", 30.0, true, prepare_triplet);
}

}  // namespace ddpmts::bench
