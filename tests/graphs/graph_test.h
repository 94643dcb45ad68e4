// What the tests of graphs share: the GPU or its stand-in (recorder.cpp), and running things with and without graphs.
#pragma once

#include "engine/settings.h"
#include "tests/models/model_test.h"

namespace ddpmts::test {

inline const Device kGpu{DeviceType::cuda, 0};

/// While it lives, steps are captured or not, and give the same bits in every run.
class Graphs {
 public:
  explicit Graphs(bool on) : previous_(engine_settings()) {
    engine_settings().graphs = on;
    engine_settings().deterministic = true;
  }
  ~Graphs() { engine_settings() = previous_; }
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

 private:
  EngineSettings previous_;
};

/// Overwrites memory that is free: whoever still reads a block that is no longer his reads no numbers.
inline void spoil_free_memory() {
  std::vector<Buffer> blocks;
  for (std::size_t bytes = 512; bytes <= std::size_t{4} << 20; bytes *= 2) {
    for (int i = 0; i < 8; ++i) blocks.emplace_back(kGpu, bytes);
  }
  const std::vector<std::byte> ones(std::size_t{4} << 20, std::byte{0xff});
  for (const Buffer& block : blocks) copy_bytes(block.data(), kGpu, ones.data(), {}, block.bytes());
}

}  // namespace ddpmts::test
