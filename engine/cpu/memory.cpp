#include "engine/memory.h"

#include <cstdlib>

namespace ddpmts::cpu {

void* allocate(std::size_t bytes) { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }
void release(void* data) { std::free(data); }

}  // namespace ddpmts::cpu
