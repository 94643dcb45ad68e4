// Settings as JSON and back, from one list of names: `visit(config, visitor)` calls visitor(name, field) for every field.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>

#include "data/defect_recipe.h"
#include "data/view.h"
#include "models/detector_trainer.h"
#include "models/diffusion.h"
#include "models/unet.h"

namespace ddpmts::app {

const char* name_of(TrainingSchedule schedule);
TrainingSchedule parse_schedule(const std::string& text);
const char* name_of(kernels::OptimizerKind kind);
kernels::OptimizerKind parse_optimizer(const std::string& text);
const char* name_of(kernels::BorderRule rule);
kernels::BorderRule parse_border(const std::string& text);

/// How a field is stored: numbers, booleans and text as themselves, ranges as [low, high], choices by name.
template <class T>
nlohmann::ordered_json stored(const T& field) {
  if constexpr (std::is_enum_v<T>) {
    return name_of(field);
  } else if constexpr (std::is_same_v<T, FloatRange>) {
    return {field.low, field.high};
  } else {
    return field;
  }
}

inline void restore(HeadSize& field, const std::string& name) { field = parse_head_size(name); }
inline void restore(Precision& field, const std::string& name) { field = precision_named(name); }
inline void restore(TrainingSchedule& field, const std::string& name) { field = parse_schedule(name); }
inline void restore(kernels::OptimizerKind& field, const std::string& name) { field = parse_optimizer(name); }
inline void restore(kernels::BorderRule& field, const std::string& name) { field = parse_border(name); }
inline void restore(Augmentation& field, const std::string& name) { field = augmentation_named(name); }
inline void restore(UNetPreset& field, const std::string& name) { field = parse_unet_preset(name); }
inline void restore(ViewScales& field, const std::string& name) { field = parse_view_scales(name); }
inline void restore(ScheduleKind& field, const std::string& name) { field = parse_schedule_kind(name); }
inline void restore(Prediction& field, const std::string& name) { field = parse_prediction(name); }

/// Whatever bytes a path holds, the text is UTF-8.
inline std::string text_of(const nlohmann::ordered_json& json, int indent = -1) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// visit(name, field) for what all trainings' optimisers have.
template <class Config, class Visit>
void visit_optimizer(Config& c, Visit&& visit) {
  visit("optimizer", c.kind);
  visit("momentum", c.momentum);
  visit("beta1", c.beta1);
  visit("beta2", c.beta2);
  visit("epsilon", c.epsilon);
  visit("weight_decay", c.weight_decay);
  visit("decay_all", c.decay_all);
  visit("max_grad_norm", c.max_grad_norm);
  visit("average_decay", c.average_decay);
  visit("average_warmup", c.average_warmup);
}

struct SettingsWriter {
  nlohmann::ordered_json json;

  template <class T>
  void operator()(const char* name, const T& field) {
    json[name] = stored(field);
  }
};

/// A missing name or a value of another type is a json::exception, an unknown choice or a count that is none an Error.
struct SettingsReader {
  const nlohmann::ordered_json& json;

  template <class T>
  void operator()(const char* name, T& field) const {
    const nlohmann::ordered_json& value = json.at(name);
    if constexpr (std::is_enum_v<T>) {
      restore(field, value.get<std::string>());
    } else if constexpr (std::is_same_v<T, FloatRange>) {
      field = {value.at(0), value.at(1)};
    } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      // A file from outside: what stands for a count must be one, not something that would be rounded to it.
      if (!value.is_number_integer()) throw_error("'{}' is {}, no whole number", name, value.dump());
      field = value.get<T>();
    } else {
      field = value.get<T>();
    }
  }
};

}  // namespace ddpmts::app
