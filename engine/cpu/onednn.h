// What the CPU's primitives share: oneDNN's engine and stream, memory descriptions, and plans kept for shapes that come
// again. Only engine/cpu includes this, and the benchmark's convolution by oneDNN alone.
#pragma once

#include <dnnl.hpp>
#include <functional>
#include <list>
#include <unordered_map>
#include <utility>

#include "engine/error.h"
#include "engine/memory.h"

namespace ddpmts::cpu {

inline dnnl::engine& onednn_engine() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

inline dnnl::stream& onednn_stream() {
  thread_local dnnl::stream stream(onednn_engine());
  return stream;
}

inline dnnl::memory::data_type data_type(DType type) {
  return type == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

inline dnnl::memory wrap(const dnnl::memory::desc& desc, const void* data) {
  return {desc, onednn_engine(), const_cast<void*>(data)};
}

/// Turns a oneDNN exception into ours, with what was being computed: `what()` makes the text.
template <class What, class F>
auto checked(What&& what, F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const dnnl::error& e) {
    throw_error<DeviceError>("oneDNN could not compute {} on the CPU: {}", what(), e.what());
  }
}

/// A primitive with what must be handed to it on each call.
struct Plan {
  dnnl::primitive primitive;
  dnnl::memory::desc weights;  // the layout wanted, for convolutions
  dnnl::memory::desc scratch;
  dnnl::memory::desc workspace;  // pooling
  dnnl::memory::desc x{}, y{};   // the layouts of a convolution's activations
};

/// Copies values from one layout to another of the same shape.
inline void reorder(const dnnl::memory& from, const dnnl::memory& to) {
  if (from.get_desc() == to.get_desc()) {
    copy_bytes(to.get_data_handle(), {}, from.get_data_handle(), {}, to.get_desc().get_size());
    return;
  }
  const dnnl::reorder::primitive_desc desc(from, to);
  dnnl::reorder(desc).execute(onednn_stream(), const_cast<dnnl::memory&>(from),
                              const_cast<dnnl::memory&>(to));
  onednn_stream().wait();
}

inline void execute(const Plan& plan, std::unordered_map<int, dnnl::memory> args) {
  const Buffer scratch({}, plan.scratch.get_size());
  args.emplace(DNNL_ARG_SCRATCHPAD, wrap(plan.scratch, scratch.data()));
  plan.primitive.execute(onednn_stream(), args);
  onednn_stream().wait();
}

inline void hash_combine(std::size_t& seed, std::int64_t value) {
  seed ^= std::hash<std::int64_t>{}(value) + 0x9e3779b97f4a7c15ULL + (seed << 6) + (seed >> 2);
}

/// Least recently used plans, keyed by a plain struct. 512 holds every shape of a training run and an inspection.
template <class Key, class Hash>
class PlanCache {
 public:
  const Plan& get(const Key& key, const std::function<Plan()>& make) {
    const auto found = index_.find(key);
    if (found != index_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return found->second->second;
    }
    order_.emplace_front(key, make());
    index_[key] = order_.begin();
    if (order_.size() > kCapacity) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return order_.front().second;
  }

 private:
  static constexpr std::size_t kCapacity = 512;
  std::list<std::pair<Key, Plan>> order_;
  std::unordered_map<Key, typename std::list<std::pair<Key, Plan>>::iterator, Hash> index_;
};

}  // namespace ddpmts::cpu
