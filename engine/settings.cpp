#include "engine/settings.h"

namespace ddpmts {

EngineSettings& engine_settings() {
  static EngineSettings settings;
  return settings;
}

}  // namespace ddpmts
