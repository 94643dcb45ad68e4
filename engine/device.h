// Where tensors live and work runs.
#pragma once

#include <string>
#include <vector>

#include "kernels/types.h"

namespace ddpmts {

enum class DeviceType : std::uint8_t { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;

  bool is_cuda() const { return type == DeviceType::cuda; }
  bool operator==(const Device&) const = default;
  std::string name() const { return is_cuda() ? "cuda:" + std::to_string(index) : "cpu"; }
};

/// The stream that the calling thread's work on this device goes to; empty on the CPU.
kernels::Stream current_stream(Device device);

/// True when this machine computes on bf16 in hardware: AMX or AVX512_BF16 on a CPU, sm_80 or later on a GPU.
bool has_fast_bf16(Device device);

/// One line for people: instruction sets, threads, or the GPU's name.
std::string describe(Device device);

/// Throws DeviceError that names all that is missing (driver, GPU, library, with the versions needed and found) unless the
/// device can be used.
void require_device(Device device);

/// Waits until all work enqueued on the device is done; returns at once on the CPU.
void synchronize(Device device);

/// Whether this program holds the CUDA device at all.
bool built_with_cuda();

/// For `ddpmts check`: one line for each GPU that can be used, or why there is none.
std::vector<std::string> cuda_report();

}  // namespace ddpmts
