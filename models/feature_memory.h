// A memory of how good parts look to the teacher (PatchCore, arXiv 2106.08265): the neighbourhoods of every position,
// thinned to a few thousand vectors that cover them all. What no good picture has shown is far from every one of them. It
// knows a defect without having seen one painted, which student and head do not; it cannot outline finely, which they can.
#pragma once

#include "engine/nearest_neighbour.h"
#include "models/resnet_teacher.h"

namespace ddpmts {

/// Channels of layer1, layer2 and layer3.
constexpr std::int64_t kMemoryChannels = 64 + 128 + 256;

struct FeatureMemoryConfig {
  std::int64_t vectors = 2048;       ///< kept; 0: no memory
  std::int64_t candidates = 40'000;  ///< drawn evenly from all pictures; the kept ones are chosen among them
};

/// The teacher's features as one vector a position of layer2: each level averaged over its neighbourhood (3×3 positions;
/// 6×6 of layer1, which has twice the resolution; zeros outside, which keeps the border's features small), layer3 upsampled
/// bilinearly. [N, h, w, 448] in the features' type.
Tensor memory_features(const std::vector<Tensor>& teacher_features);

/// Candidates for a memory: collects positions of one picture after the other.
class MemoryCandidates {
 public:
  /// `pictures` will be shown in all. Everything random is keyed by the seed.
  MemoryCandidates(const FeatureMemoryConfig& config, std::int64_t pictures, std::uint64_t seed);

  /// features: memory_features of the next N pictures.
  void add(const Tensor& features);
  /// The vectors that are kept, [≤ config.vectors, 448] f32 on the CPU: greedy k-centre selection (arXiv 2106.08265,
  /// eq. 5) on a random projection to 64 dimensions, made on `device`.
  Tensor choose(Device device) const;

 private:
  FeatureMemoryConfig config_;
  std::int64_t pictures_;
  std::uint64_t seed_;
  std::int64_t seen_ = 0;
  std::vector<float> vectors_;
};

}  // namespace ddpmts
