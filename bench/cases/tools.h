// What the cases are written with: reproducible inputs, comparison with a reference, and the loops over shapes.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "bench/case.h"
#include "engine/tensor.h"

namespace ddpmts::bench {

/// Numbers in [low, high), rounded to the type; the same for the same step.
Tensor random_tensor(const Shape& shape, DType type, Device device, std::uint64_t step, float low = -1.0f,
                     float high = 1.0f);
/// u8 noise in 0–255.
Tensor random_levels(const Shape& shape, Device device, std::uint64_t step);
/// u8 mask with that share of ones.
Tensor random_mask(const Shape& shape, Device device, std::uint64_t step, float share);
/// Parts that the program draws itself, u8 [count, size, size, 3]: the `first`, those after it, and after four the same again.
Tensor drawn_pictures(std::int64_t count, std::int64_t size, Device device, std::uint64_t first = 0);

/// One rounding to the type after a sum in f32; what kernels are held to.
inline double rounding(DType type) { return type == DType::bf16 ? 0x1p-8 : 2e-5; }

/// Up to `wanted` places in [0, count), the first and the last among them.
std::vector<std::size_t> places(std::size_t count, std::size_t wanted);
/// |actual − expected| ≤ allowed·(|expected| + root mean square of all expected) at up to 1000 places of the tensor.
Check compare_at(const std::string& what, const Tensor& actual, double allowed,
                 const std::function<double(std::size_t)>& expected);
/// The same at all places. scale: the least that counts as the root mean square, where the expected values are small
/// differences of larger ones.
Check compare_all(const std::string& what, const std::vector<float>& actual,
                  const std::vector<double>& expected, double allowed, double scale = 0.0);
/// Norm of the difference ≤ allowed·norm of expected: for networks, in which the error of one value says little.
Check compare_norms(const std::string& what, const std::vector<float>& actual,
                    const std::vector<float>& expected, double allowed);
/// Bit by bit.
Check compare_bits(const std::string& what, const Tensor& actual, const Tensor& expected);
/// The first that is wrong; else the last.
Check all_of(std::initializer_list<Check> checks);

/// Completes a case that make_case began.
void add_case(Cases& cases, Case base, double memory, std::int64_t pictures,
              std::function<Prepared()> prepare);

/// A kernel at every map shape of the lists, batch and precision: make(device, type, batch, shape). --quick takes the
/// first shape of `own`. `memory`: how many values the case holds for a picture.
using MapMemory = std::function<double(const MapShape&)>;
/// As many arrays of the map's size.
inline MapMemory arrays(double count) {
  return [count](const MapShape& map) { return count * static_cast<double>(map.count()); };
}
using MakeMapCase = std::function<Prepared(Device, DType, std::int64_t, const MapShape&)>;
void add_map_shaped(const CasePlan& plan, Cases& cases, const std::string& kernel,
                    std::vector<std::string> own, const MapMemory& memory, const MakeMapCase& make);

/// A kernel on pictures of every size of the sweep (256 of its own): make(device, type, batch, size). typed: it has a form
/// for each precision; else only f32 is run.
using MakeSizedCase = std::function<Prepared(Device, DType, std::int64_t, std::int64_t)>;
void add_sized(const CasePlan& plan, Cases& cases, const std::string& kernel, double bytes_a_pixel,
               bool typed, const MakeSizedCase& make);

/// Bytes of tensors, for counting what a run moves.
inline double bytes_of(std::initializer_list<Tensor> tensors) {
  double bytes = 0.0;
  for (const Tensor& tensor : tensors) bytes += static_cast<double>(tensor.bytes());
  return bytes;
}

}  // namespace ddpmts::bench
