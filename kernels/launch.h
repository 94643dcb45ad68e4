// How a contract names its launchers: one per device, and on the CPU one per instruction set.
//
// DDPMTS_KERNEL(cosine_loss_forward, CosineLossArgs) declares
//   kernels::cpu::cosine_loss_forward(const CosineLossArgs&)           picks the best variant for this machine
//   kernels::cuda::cosine_loss_forward(const CosineLossArgs&, Stream)  the CUDA launcher, or the no_cuda stub
// The argument struct itself lies on the host and is copied by the call. Every pointer in it is memory of the launcher's
// device, also those to single numbers (a loss, a norm) and to arrays of structs (optimizer slots, triplet recipes).
// A CUDA launcher returns before the work is done; the memory stays as it is until the stream has passed it.
// kernels/cpu/*.cpp are compiled once per instruction set, with DDPMTS_ISA set to baseline, avx2 or avx512, and
// define their launchers in `namespace ddpmts::kernels::cpu::DDPMTS_ISA`.
#pragma once

#include "kernels/types.h"

namespace ddpmts::kernels {

enum class CpuIsa : std::uint8_t { baseline, avx2, avx512 };

/// The widest instruction set that this build holds kernels for, this machine runs, and the environment variable
/// DDPMTS_ISA (baseline, avx2, avx512) allows. Decided at the first call; an unknown value is an error there.
CpuIsa cpu_isa();
const char* name_of(CpuIsa isa);

}  // namespace ddpmts::kernels

#if defined(DDPMTS_ISA)  // inside a kernel source
#define DDPMTS_KERNEL(name, Args) \
  namespace cpu::DDPMTS_ISA {     \
  void name(const Args& args);    \
  }
#elif defined(DDPMTS_X86_VARIANTS)
#define DDPMTS_KERNEL(name, Args)                         \
  namespace cpu {                                         \
  namespace baseline {                                    \
  void name(const Args& args);                            \
  }                                                       \
  namespace avx2 {                                        \
  void name(const Args& args);                            \
  }                                                       \
  namespace avx512 {                                      \
  void name(const Args& args);                            \
  }                                                       \
  inline void name(const Args& args) {                    \
    switch (cpu_isa()) {                                  \
      case CpuIsa::avx512: return avx512::name(args);     \
      case CpuIsa::avx2: return avx2::name(args);         \
      case CpuIsa::baseline: return baseline::name(args); \
    }                                                     \
  }                                                       \
  }                                                       \
  namespace cuda {                                        \
  void name(const Args& args, Stream stream);             \
  }
#else
#define DDPMTS_KERNEL(name, Args)                                \
  namespace cpu {                                                \
  namespace baseline {                                           \
  void name(const Args& args);                                   \
  }                                                              \
  inline void name(const Args& args) { baseline::name(args); }   \
  }                                                              \
  namespace cuda {                                               \
  void name(const Args& args, Stream stream);                    \
  }
#endif
