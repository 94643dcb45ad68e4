#include "app/settings_json.h"

#include <array>
#include <utility>

namespace ddpmts::app {
namespace {

template <class Choice, std::size_t kCount>
using Names = std::array<std::pair<Choice, const char*>, kCount>;

constexpr Names<TrainingSchedule, 2> kSchedules = {
    {{TrainingSchedule::joint, "joint"}, {TrainingSchedule::two_stage, "two-stage"}}};
constexpr Names<kernels::OptimizerKind, 2> kOptimizers = {
    {{kernels::OptimizerKind::adamw, "adamw"}, {kernels::OptimizerKind::sgd, "sgd"}}};
constexpr Names<kernels::BorderRule, 4> kBorders = {{{kernels::BorderRule::reflect, "reflect"},
                                                     {kernels::BorderRule::replicate, "replicate"},
                                                     {kernels::BorderRule::constant, "constant"},
                                                     {kernels::BorderRule::wrap, "wrap"}}};

template <class Choice, std::size_t kCount>
const char* name_in(const Names<Choice, kCount>& names, Choice wanted) {
  for (const auto& [choice, name] : names) {
    if (choice == wanted) return name;
  }
  throw std::logic_error("a choice without a name");
}

template <class Choice, std::size_t kCount>
Choice choice_in(const Names<Choice, kCount>& names, const char* what, const std::string& wanted) {
  std::string known;
  for (const auto& [choice, name] : names) {
    if (wanted == name) return choice;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw_error("unknown {} '{}': expected one of {}", what, wanted, known);
}

}  // namespace

const char* name_of(TrainingSchedule schedule) { return name_in(kSchedules, schedule); }
TrainingSchedule parse_schedule(const std::string& text) { return choice_in(kSchedules, "schedule", text); }
const char* name_of(kernels::OptimizerKind kind) { return name_in(kOptimizers, kind); }
kernels::OptimizerKind parse_optimizer(const std::string& text) {
  return choice_in(kOptimizers, "optimizer", text);
}
const char* name_of(kernels::BorderRule rule) { return name_in(kBorders, rule); }
kernels::BorderRule parse_border(const std::string& text) { return choice_in(kBorders, "border rule", text); }

}  // namespace ddpmts::app
