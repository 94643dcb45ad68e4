#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels/launch.h"

namespace ddpmts::kernels {
namespace {

CpuIsa widest_on_this_machine() {
#ifdef DDPMTS_X86_VARIANTS
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd")) {
    return CpuIsa::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    return CpuIsa::avx2;
  }
#endif
  return CpuIsa::baseline;
}

CpuIsa choose() {
  const CpuIsa widest = widest_on_this_machine();
  const char* wanted = std::getenv("DDPMTS_ISA");
  if (wanted == nullptr || *wanted == '\0') return widest;
  for (const CpuIsa isa : {CpuIsa::baseline, CpuIsa::avx2, CpuIsa::avx512}) {
    if (std::string(wanted) == name_of(isa)) {
      if (isa > widest) {
        throw std::runtime_error(std::string("DDPMTS_ISA=") + wanted + ": this machine has only " + name_of(widest));
      }
      return isa;
    }
  }
  throw std::runtime_error(std::string("DDPMTS_ISA=") + wanted + ": expected baseline, avx2 or avx512");
}

}  // namespace

CpuIsa cpu_isa() {
  static const CpuIsa isa = choose();
  return isa;
}

const char* name_of(CpuIsa isa) {
  return isa == CpuIsa::avx512 ? "avx512" : isa == CpuIsa::avx2 ? "avx2" : "baseline";
}

}  // namespace ddpmts::kernels
