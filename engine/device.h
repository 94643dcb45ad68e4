// Where tensors live and work runs.
#pragma once

#include <string>

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

}  // namespace ddpmts

/// Calls a kernel's launcher on the device that holds the data.
#define DDPMTS_LAUNCH(device, name, args)                                                     \
  ((device).is_cuda() ? ::ddpmts::kernels::cuda::name(args, ::ddpmts::current_stream(device)) \
                      : ::ddpmts::kernels::cpu::name(args))
