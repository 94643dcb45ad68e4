#include "bench/case.h"

#include <fmt/format.h>

namespace ddpmts::bench {

std::vector<DType> CasePlan::precisions() const {
  if (!sweep_.precision.empty()) return sweep_.precision;
  if (!has_fast_bf16(device_)) return {DType::f32};
  return quick_ ? std::vector{DType::bf16} : std::vector{DType::bf16, DType::f32};
}

Case make_case(const CasePlan& plan, const std::string& group, const std::string& what, DType type,
               std::int64_t batch) {
  Case c;
  c.group = group;
  c.device = plan.device();
  c.type = type;
  c.name = fmt::format("{}/{}/{}/b{}/{}", group, what, name_of(type), batch, c.device.name());
  c.axes = {{"precision", name_of(type)}, {"batch", std::to_string(batch)}};
  return c;
}

Cases all_cases(const CasePlan& plan) {
  Cases cases;
  add_elementwise_cases(plan, cases);
  add_norm_cases(plan, cases);
  add_feature_cases(plan, cases);
  add_map_cases(plan, cases);
  add_diffusion_cases(plan, cases);
  add_synthesis_cases(plan, cases);
  add_pretraining_cases(plan, cases);
  add_primitive_cases(plan, cases);
  add_conv_cases(plan, cases);
  add_network_cases(plan, cases);
  add_pipeline_cases(plan, cases);
  return cases;
}

}  // namespace ddpmts::bench
