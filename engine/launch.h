// How a kernel of kernels/ is called: on the device that holds the data, and seen by a TimeTrace.
#pragma once

#include "engine/time_trace.h"

/// Calls a kernel's launcher on the device that holds the data.
#define DDPMTS_LAUNCH(device, name, args)                                                      \
  ::ddpmts::traced((device), #name, [&] {                                                      \
    (device).is_cuda() ? ::ddpmts::kernels::cuda::name(args, ::ddpmts::current_stream(device)) \
                       : ::ddpmts::kernels::cpu::name(args);                                   \
  })
