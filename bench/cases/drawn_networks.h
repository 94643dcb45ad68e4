// The four networks with drawn weights, as the cases of convolutions, networks and pipelines use them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/files/safetensors.h"
#include "engine/primitive_trace.h"
#include "models/detector.h"
#include "models/unet.h"

namespace ddpmts::bench {

/// A teacher's file with weights drawn from a seed; made once, in memory from then on.
const SafetensorsFile& teacher_file();
ResNetTeacher make_teacher(DType type, Device device);
/// Teacher, student and head, started from a seed, with a feature memory of `memory` vectors (0: none).
std::unique_ptr<Detector> make_detector(const std::string& head, std::int64_t size, DType type, Device device,
                                        std::int64_t memory);
/// A UNet with drawn weights also where training starts from zeros: as it starts, its answer is 0 whatever it computes.
std::unique_ptr<UNet> make_unet(const std::string& preset, std::int64_t size, Device device);

/// FLOPs of convolutions, matrix products and attention in one call.
template <class F>
double flops_of(F&& f) {
  const PrimitiveTrace trace;
  f();
  return trace.flops();
}

/// A convolution and how often the networks of a list run it in one forward pass.
struct UsedConv {
  ConvShape shape;  ///< of one picture
  bool relu = false;
  std::int64_t uses = 0;                         ///< of all networks together; 1 where there is none
  std::map<std::string, std::int64_t> networks;  ///< "teacher/256" → uses
};
/// All different convolutions of a list of bench/shapes.h, in the order in which the networks first run them; found by
/// running the networks once on one picture. `odd` has no network: 3×3 and strided ones on its maps.
std::vector<UsedConv> convs_of(const std::string& list, const std::vector<std::string>& heads,
                               const std::vector<std::string>& unets, Device device);

}  // namespace ddpmts::bench
