#include "engine/cuda/plan_cache.h"

#include <algorithm>
#include <cstdio>
#include <list>
#include <mutex>
#include <set>
#include <unordered_map>

#include "engine/cuda/autotune_store.h"
#include "engine/cuda/availability.h"
#include "engine/cuda/check.h"
#include "engine/cuda/context.h"
#include "engine/memory.h"

namespace ddpmts::cuda {
namespace {

// 512 holds every shape of a training run and an inspection.
constexpr std::size_t kKeptPlans = 512;
// The heuristics' first guesses hold the best almost always; more only costs compilation.
constexpr int kTimedCandidates = 8;
constexpr int kTimedRuns = 5;

void say_once(const std::string& line) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard lock(mutex);
  if (said.insert(line).second) std::fprintf(stderr, "%s\n", line.c_str());
}

// cuDNN's reasons fill pages; the first line names the cause.
std::string first_line(const std::string& reason) {
  return reason.substr(0, std::min(reason.find('\n'), std::size_t{160}));
}

class EventPair {
 public:
  EventPair() {
    DDPMTS_CUDA_CHECK(cudaEventCreate(&begin_));
    DDPMTS_CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~EventPair() {
    DDPMTS_CUDA_REPORT(cudaEventDestroy(begin_));
    DDPMTS_CUDA_REPORT(cudaEventDestroy(end_));
  }
  EventPair(const EventPair&) = delete;
  EventPair& operator=(const EventPair&) = delete;

  template <class F>
  float milliseconds(cudaStream_t on, F&& run) {
    DDPMTS_CUDA_CHECK(cudaEventRecord(begin_, on));
    run();
    DDPMTS_CUDA_CHECK(cudaEventRecord(end_, on));
    DDPMTS_CUDA_CHECK(cudaEventSynchronize(end_));
    float elapsed = 0;
    DDPMTS_CUDA_CHECK(cudaEventElapsedTime(&elapsed, begin_, end_));
    return elapsed;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// The fastest of a candidate's runs, the first (which loads its code) left out.
float time_candidate(const ConvGraph& graph, const ConvPlanKey& key, const ConvPointers& pointers) {
  const Buffer workspace({DeviceType::cuda, key.device}, graph.workspace_bytes());
  cudnnContext* handle = cudnn_handle(key.device);
  const auto run = [&] { graph.execute(handle, pointers, workspace.data()); };
  run();
  EventPair events;
  float best = events.milliseconds(stream(key.device), run);
  for (int i = 1; i < kTimedRuns; ++i) best = std::min(best, events.milliseconds(stream(key.device), run));
  return best;
}

AutotuneStore& store() {
  static auto* store = new AutotuneStore(autotune_file());
  return *store;
}

void tune(ConvGraph& graph, const ConvPlanKey& key, const ConvPointers& pointers) {
  const CudaStatus& status = cuda_status();
  const std::string machine =
      machine_key(status.gpus[static_cast<std::size_t>(key.device)].name, status.cudnn.version);
  if (const std::optional<std::string> known = store().find(machine, text(key))) {
    for (std::int64_t i = 0; i < graph.count(); ++i) {
      if (graph.name(i) == *known && graph.build(i)) return graph.choose(i);
    }
  }
  std::int64_t best = -1;
  float best_time = 0;
  int timed = 0;
  for (std::int64_t i = 0; i < graph.count() && timed < kTimedCandidates; ++i) {
    if (!graph.build(i)) continue;
    graph.choose(i);
    const float time = time_candidate(graph, key, pointers);
    ++timed;
    if (best < 0 || time < best_time) {
      best = i;
      best_time = time;
    }
  }
  if (best < 0) throw NotSupported("no engine is left under these settings");
  graph.choose(best);
  store().remember(machine, text(key), graph.name(best));
}

ConvGraph ready_graph(const ConvPlanKey& key, const ConvPointers& pointers) {
  ConvGraph graph(key, {cudnn_handle(key.device), {}});
  key.autotune ? tune(graph, key, pointers) : graph.build_first();
  return graph;
}

ConvPlan make_plan(const ConvPlanKey& key, const ConvPointers& pointers) {
  std::string reason;
  try {
    return {ConvWay::fused, ready_graph(key, pointers)};
  } catch (const NotSupported& e) {
    reason = first_line(e.what());
  }
  if (key.has_epilogue()) {
    const ConvPlanKey plain = plain_key(key);
    const ConvShape& s = key.shape;
    const Buffer sum({DeviceType::cuda, key.device},
                     static_cast<std::size_t>(s.n * s.out_h() * s.out_w() * s.k) * 4);
    ConvPointers to_sum = pointers;
    to_sum.bias = to_sum.residual = nullptr;
    to_sum.out = sum.data();
    try {
      ConvPlan plan{ConvWay::unfused, ready_graph(plain, to_sum)};
      say_once(fmt::format(
          "cuda:{}: cuDNN has no fused engine for the convolution {} ({}): the plain convolution and "
          "our epilogue kernel compute it",
          key.device, text(key), reason));
      return plan;
    } catch (const NotSupported& e) {
      reason = first_line(e.what());
    }
  }
  say_once(
      fmt::format("cuda:{}: cuDNN has no engine for the convolution {} ({}): a matrix product computes it",
                  key.device, text(key), reason));
  return {ConvWay::product, std::nullopt};
}

}  // namespace

ConvPlanKey plain_key(ConvPlanKey key) {
  key.bias = key.residual = key.relu = false;
  key.result = DType::f32;
  return key;
}

const ConvPlan& conv_plan(const ConvPlanKey& key, const ConvPointers& pointers) {
  using Entry = std::pair<ConvPlanKey, ConvPlan>;
  cudnn_handle(key.device);  // before the plans, so that they are destroyed first
  thread_local std::list<Entry> order;
  thread_local std::unordered_map<ConvPlanKey, std::list<Entry>::iterator, ConvPlanKeyHash> index;
  const auto found = index.find(key);
  if (found != index.end()) {
    order.splice(order.begin(), order, found->second);
    return found->second->second;
  }
  order.emplace_front(key, make_plan(key, pointers));
  index[key] = order.begin();
  if (order.size() > kKeptPlans) {
    index.erase(order.back().first);
    order.pop_back();
  }
  return order.front().second;
}

ConvWay way_on(const ConvPlanKey& key, const std::string& described_device) {
  const auto takes = [&](const ConvPlanKey& asked) {
    try {
      return ConvGraph(asked, {nullptr, described_device}).count() > 0;
    } catch (const NotSupported&) {
      return false;
    }
  };
  if (takes(key)) return ConvWay::fused;
  return key.has_epilogue() && takes(plain_key(key)) ? ConvWay::unfused : ConvWay::product;
}

}  // namespace ddpmts::cuda
