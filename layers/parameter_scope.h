// Gives parameters their names: `scope.child("layer1").parameter("weight", …)` is "encoder.layer1.weight".
#pragma once

#include <string>

#include "engine/parameter.h"

namespace ddpmts {

class ParameterScope {
 public:
  /// Parameters are appended to `list`, which must outlive the scope, in the order they are made.
  ParameterScope(ParameterList& list, Device device, std::string prefix = "")
      : list_(&list), device_(device), prefix_(std::move(prefix)) {}

  ParameterScope child(const std::string& name) const { return {*list_, device_, prefix_ + name + "."}; }
  ParameterPtr parameter(const std::string& name, const Shape& shape, bool trainable = true) const {
    list_->push_back(std::make_shared<Parameter>(prefix_ + name, shape, trainable, device_));
    return list_->back();
  }

 private:
  ParameterList* list_;
  Device device_;
  std::string prefix_;
};

}  // namespace ddpmts
