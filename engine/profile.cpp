#include "engine/profile.h"

namespace ddpmts {

void profiled(Device device, const std::string& name, const std::function<void()>& work) {
  device.is_cuda() ? cuda::profiled(device.index, name, work) : work();
}

}  // namespace ddpmts
