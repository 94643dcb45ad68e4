// One convolution as a cuDNN graph with the plan chosen for it. The only header that conv_graph.cpp, where
// cudnn-frontend is included, shares with the rest.
#pragma once

#include <memory>
#include <string>

#include "engine/cuda/plan_key.h"
#include "engine/error.h"

struct cudnnContext;

namespace ddpmts::cuda {

/// cuDNN has no engine for this graph under these settings: the caller takes another way.
struct NotSupported : Error {
  using Error::Error;
};

/// Device pointers of one call. Forward: x, w → out (+ bias, residual). Data gradient: dy, w → out = dx.
/// Weight gradient: x, dy → out = dw. What a pass does not use stays null. `out` must not overlap an input.
struct ConvPointers {
  const void* x = nullptr;
  const void* w = nullptr;
  const void* dy = nullptr;
  const void* bias = nullptr;
  const void* residual = nullptr;
  void* out = nullptr;
};

/// What cuDNN must know of a GPU to choose engines for it: a handle on one that is there, or a description (the
/// JSON form of cuDNN's device properties) of one that need not be.
struct GraphTarget {
  cudnnContext* handle = nullptr;
  std::string described_device;
};

class ConvGraph {
 public:
  /// Asks cuDNN's heuristics (mode A, then B, then the fallback list) which engines take the graph, and strikes
  /// out those that the key's settings exclude. Throws NotSupported when there is none, DeviceError when cuDNN
  /// fails.
  ConvGraph(const ConvPlanKey& key, const GraphTarget& target);
  ~ConvGraph();
  ConvGraph(ConvGraph&&) noexcept;
  ConvGraph& operator=(ConvGraph&&) noexcept;

  /// Engines that the heuristics named, best guess first: candidates are 0 … count() − 1.
  std::int64_t count() const;
  /// cuDNN's name of a candidate: engine and its settings, stable within one cuDNN version.
  std::string name(std::int64_t candidate) const;
  /// Compiles one; false when the key's settings exclude it or cuDNN refuses it after all.
  bool build(std::int64_t candidate);
  /// Compiles the first that cuDNN accepts and makes it the one that execute() runs; throws NotSupported when none is.
  void build_first();
  /// Makes a built candidate the one that execute() runs.
  void choose(std::int64_t candidate);

  /// Bytes that execute() wants as scratch, for the chosen candidate.
  std::size_t workspace_bytes() const;
  /// Enqueues the chosen candidate on the handle's stream.
  void execute(cudnnContext* handle, const ConvPointers& pointers, void* workspace) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace ddpmts::cuda
