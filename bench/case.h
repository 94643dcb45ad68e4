// A benchmark case: what it is called, how it is made, checked and run, and how much work one run is.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bench/options.h"
#include "bench/roofs.h"
#include "bench/shapes.h"
#include "engine/tensor.h"

namespace ddpmts::bench {

/// How a result was held against its reference.
struct Check {
  bool right = true;
  std::string text;  ///< "y: off by 0.002 of 0.004 allowed"; of several, the first that is wrong or the last
};

/// The same work done by oneDNN alone, with its memory in place.
struct Rival {
  std::function<void()> run;
  std::function<Check()> check;  ///< runs it and compares with what the case's own check left
};

/// A case with its memory and its inputs in place.
struct Prepared {
  std::function<void()> run;
  std::function<Check()> check;  ///< runs the case and compares
  double bytes =
      0.0;  ///< moved by one run at least: every input read and every output written once, unless the
            ///< case's comment says otherwise; 0: not counted
  Traffic traffic = Traffic::copy;
  double footprint =
      0.0;  ///< distinct bytes touched by one run where a part is moved several times; 0: as many as moved
  double flops = 0.0;        ///< of one run, two for a multiplication with its addition; 0: not counted
  std::vector<Tensor> held;  ///< what run points into
  std::function<Rival()> onednn_alone;  ///< of convolutions on the CPU; empty: there is none
};

struct Case {
  std::string group;  ///< "kernels", "convs", "networks", "pipelines"
  std::string name;   ///< unique: group/what/…/precision/batch/device
  Device device;
  std::map<std::string, std::string> axes;
  DType type = DType::f32;    ///< of activations: decides the product roof
  std::int64_t pictures = 0;  ///< of one run; 0: not about pictures
  double memory = 0.0;        ///< bytes that it needs, about
  bool quick = false;         ///< part of --quick
  bool graph = true;          ///< what the program captures as a graph is captured
  bool cold = false;          ///< also timed with flushed caches
  bool has_onednn_alone = false;
  std::map<std::string, std::int64_t>
      networks;  ///< of a convolution: how often each network runs it in one pass
  std::function<Prepared()> prepare;
};

/// What cases are asked for, and where they run.
class CasePlan {
 public:
  CasePlan(Device device, const Sweep& sweep, bool quick) : device_(device), sweep_(sweep), quick_(quick) {}

  Device device() const { return device_; }
  const Sweep& sweep() const { return sweep_; }
  bool quick() const { return quick_; }

  /// The sweep's values, or the group's own where it has none.
  std::vector<std::int64_t> batches(std::vector<std::int64_t> own) const {
    return sweep_.batch.empty() ? own : sweep_.batch;
  }
  std::vector<std::int64_t> sizes(std::vector<std::int64_t> own) const {
    return sweep_.size.empty() ? own : sweep_.size;
  }
  std::vector<std::string> shapes(std::vector<std::string> own) const {
    return sweep_.shapes.empty() ? own : sweep_.shapes;
  }
  std::vector<std::string> heads(std::vector<std::string> own) const {
    return sweep_.head.empty() ? own : sweep_.head;
  }
  std::vector<std::string> unets(std::vector<std::string> own) const {
    return sweep_.unet.empty() ? own : sweep_.unet;
  }
  /// Whether what the program captures as graphs is captured: yes, unless asked otherwise on a GPU.
  std::vector<bool> graphs() const {
    return sweep_.graph.empty() || !device_.is_cuda() ? std::vector{true} : sweep_.graph;
  }
  /// Default: bf16 where the device has it in hardware, and f32; with --quick the first of these alone.
  std::vector<DType> precisions() const;

 private:
  Device device_;
  Sweep sweep_;
  bool quick_;
};

using Cases = std::vector<Case>;

/// Name, axes and quick flag from the parts that every case has.
Case make_case(const CasePlan& plan, const std::string& group, const std::string& what, DType type,
               std::int64_t batch);

// One for each file of bench/cases.
void add_elementwise_cases(const CasePlan& plan, Cases& cases);
void add_norm_cases(const CasePlan& plan, Cases& cases);
void add_feature_cases(const CasePlan& plan, Cases& cases);
void add_map_cases(const CasePlan& plan, Cases& cases);
void add_diffusion_cases(const CasePlan& plan, Cases& cases);
void add_synthesis_cases(const CasePlan& plan, Cases& cases);
void add_pretraining_cases(const CasePlan& plan, Cases& cases);
void add_primitive_cases(const CasePlan& plan, Cases& cases);
void add_conv_cases(const CasePlan& plan, Cases& cases);
void add_network_cases(const CasePlan& plan, Cases& cases);
void add_pipeline_cases(const CasePlan& plan, Cases& cases);

Cases all_cases(const CasePlan& plan);

}  // namespace ddpmts::bench
