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

/// What a memory-bound case is held against: the plainest program with the same kind of traffic.
enum class Traffic : std::uint8_t {
  copy,    ///< reads some blocks and writes others
  update,  ///< changes blocks where they are
  read     ///< reads blocks and writes next to nothing
};
const char* name_of(Traffic traffic);

/// What binds a case, and how near to it the case comes.
struct RoofShare {
  std::string roof;  ///< a traffic's name, "product", or empty where the case counts nothing
  double share = 0.0;
};

/// The roofs of one device.
class Roofs {
 public:
  struct Memory {
    Traffic traffic = Traffic::copy;
    double footprint = 0.0;  ///< bytes touched: of a copy both blocks
    double bytes_per_second = 0.0;
  };

  Roofs() = default;
  Roofs(std::vector<Memory> memory, std::map<DType, double> products)
      : memory_(std::move(memory)), products_(std::move(products)) {}

  /// Every traffic over footprints from 1 to 256 MiB, read and written bytes counted, and the most that large matrix
  /// products and 3×3 convolutions reach; the best of a few runs each. bf16 where the device computes on it in hardware.
  /// A few seconds.
  static Roofs measure(Device device);

  /// Bytes a second of this traffic where it touches at least as much; of the largest footprint for more than that.
  double memory_rate(Traffic traffic, double footprint) const;
  /// FLOP/s; of f32 where the type's was not measured.
  double product_rate(DType type) const;
  /// One run of a case.
  struct Work {
    Traffic traffic = Traffic::copy;
    double bytes = 0.0, footprint = 0.0, flops = 0.0;
    DType type = DType::f32;
  };
  /// The roof at which the work would take longer, and the share of `seconds` that it takes there.
  RoofShare share(const Work& work, double seconds) const;
  /// For the header, with the device's name in front: memory at 1, 16 and 256 MiB, and products.
  std::map<std::string, double> named(Device device) const;

 private:
  std::vector<Memory> memory_;  // of one traffic smallest first
  std::map<DType, double> products_;
};

}  // namespace ddpmts::bench
