// The good pictures of a run, divided into those it learns from and those that only set its threshold.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/tensor.h"

namespace ddpmts::app {

struct TrainingData {
  Tensor training, held_out;       ///< u8 [count,size,size,3]
  std::vector<std::string> names;  ///< file names of `training`
  bool grey = true;                ///< no picture has colour

  std::int64_t count() const { return training.dim(0) + held_out.dim(0); }
};

/// Loads the dataset's good pictures at size×size; which are held out depends on (their number, share, seed) alone. Files that
/// cannot be used, of the whole dataset, are listed on stderr. Throws Error when fewer than four are left.
TrainingData load_training_data(const Dataset& dataset, std::int64_t size, double held_out,
                                std::uint64_t seed, Device device);

/// The usable pictures of a folder, u8 [count,size,size,3]. Throws DatasetError, or Error naming `option` when there is none.
Tensor load_folder_pictures(const std::string& folder, const char* option, std::int64_t size, Device device);

}  // namespace ddpmts::app
