#include "engine/cuda/plan_key.h"

#include <fmt/format.h>

#include <functional>

namespace ddpmts::cuda {

std::size_t ConvPlanKeyHash::operator()(const ConvPlanKey& key) const {
  const ConvShape& s = key.shape;
  std::size_t seed = static_cast<std::size_t>(key.pass);
  const auto flag = [](bool value) { return static_cast<std::int64_t>(value); };
  for (const std::int64_t value : {static_cast<std::int64_t>(key.device),
                                   s.n,
                                   s.h,
                                   s.w,
                                   s.c,
                                   s.k,
                                   s.r,
                                   s.s,
                                   s.stride,
                                   s.padding,
                                   s.dilation,
                                   static_cast<std::int64_t>(s.type),
                                   static_cast<std::int64_t>(key.result),
                                   flag(key.bias),
                                   flag(key.residual),
                                   flag(key.relu),
                                   flag(key.tf32),
                                   flag(key.deterministic),
                                   flag(key.autotune),
                                   key.workspace_limit}) {
    seed ^= std::hash<std::int64_t>{}(value) + 0x9e3779b97f4a7c15ULL + (seed << 6) + (seed >> 2);
  }
  return seed;
}

std::string text(const ConvPlanKey& key) {
  constexpr const char* passes[] = {"forward", "data gradient", "weight gradient"};
  const ConvShape& s = key.shape;
  std::string line = fmt::format("{} {}x{}x{}x{} {} -> {}, {}x{}, stride {}, padding {}, dilation {}, to {}",
                                 passes[static_cast<int>(key.pass)], s.n, s.h, s.w, s.c, name_of(s.type), s.k,
                                 s.r, s.s, s.stride, s.padding, s.dilation, name_of(key.result));
  const char* separator = ", ";
  for (const auto& [present, name] :
       {std::pair{key.bias, "bias"}, {key.residual, "residual"}, {key.relu, "relu"}}) {
    if (!present) continue;
    line += separator;
    line += name;
    separator = "+";
  }
  if (key.tf32) line += ", tf32";
  if (key.deterministic) line += ", deterministic";
  return line;
}

}  // namespace ddpmts::cuda
