// What the machine can do at best, measured: copying memory and multiplying matrices. And what timing needs: empty caches.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/memory.h"

namespace ddpmts::bench {

/// Copies on every core of a CPU, or on a GPU.
void copy_with_all(Device device, void* dst, const void* src, std::size_t bytes);

/// Makes the caches hold nothing of what a case works on: writes a buffer as large as the last of them (at most 512 MiB; 256
/// MiB where its size is not known, which covers every GPU's).
class CacheFlush {
 public:
  explicit CacheFlush(Device device);
  void operator()() const;
  double bytes() const { return static_cast<double>(to_.bytes()); }

 private:
  Buffer to_;
};

/// What binds a case, and how near to it the case comes.
struct RoofShare {
  std::string roof;  ///< "copy", "product", or empty where the case counts nothing
  double share = 0.0;
};

/// The roofs of one device.
class Roofs {
 public:
  struct Copy {
    std::size_t bytes = 0;  ///< of the copied block; 2·bytes are moved
    double bytes_per_second = 0.0;
  };

  Roofs() = default;
  Roofs(std::vector<Copy> copies, std::map<DType, double> products)
      : copies_(std::move(copies)), products_(std::move(products)) {}

  /// Copies of 512 KiB, 8 MiB and 128 MiB, read and written bytes counted, and products of large matrices; the best of a
  /// few runs each. bf16 where the device computes on it in hardware. About a second.
  static Roofs measure(Device device);

  /// Bytes a second of a copy that moves at least as much; of the largest for more than that.
  double copy_rate(double bytes) const;
  /// FLOP/s; of f32 where the type's was not measured.
  double product_rate(DType type) const;
  /// The roof at which `bytes` and `flops` of one run take longer, and the share of `seconds` that they take there.
  RoofShare share(double bytes, double flops, DType type, double seconds) const;
  /// For the header, with the device's name in front.
  std::map<std::string, double> named(Device device) const;

 private:
  std::vector<Copy> copies_;  // smallest first
  std::map<DType, double> products_;
};

}  // namespace ddpmts::bench
