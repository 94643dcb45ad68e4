#include "engine/cpu/packed_weights.h"

#include <list>
#include <mutex>

namespace ddpmts::cpu {
namespace {

struct PackedCopies : PackedWeights {
  struct Entry {
    PackedForm form;
    Buffer data;
    std::int64_t version = 0;
  };
  std::list<Entry> entries;
  std::mutex mutex;  // several threads may inspect with one network
};

PackedCopies& copies_of(Parameter& weight) {
  static std::mutex creation;
  const std::lock_guard lock(creation);
  if (!weight.packed) weight.packed = std::make_unique<PackedCopies>();
  return static_cast<PackedCopies&>(*weight.packed);
}

}  // namespace

const void* packed_weight(Parameter& weight, const PackedForm& form, std::size_t bytes,
                          const std::function<void(void*)>& pack) {
  PackedCopies& copies = copies_of(weight);
  const std::lock_guard lock(copies.mutex);
  PackedCopies::Entry* entry = nullptr;
  for (auto& candidate : copies.entries) {
    if (candidate.form == form) entry = &candidate;
  }
  if (entry == nullptr) {
    const LastingMemory kept;
    entry = &copies.entries.emplace_back(form, Buffer({}, bytes), 0);
  }
  if (entry->version != weight.version()) {
    pack(entry->data.data());
    entry->version = weight.version();
  }
  return entry->data.data();
}

}  // namespace ddpmts::cpu
