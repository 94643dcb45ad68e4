// Inspects a list of pictures in batches and hands each result over as soon as it is there.
#pragma once

#include <functional>
#include <span>

#include "data/dataset_load.h"
#include "engine/tensor.h"
#include "eval/summary.h"
#include "models/model_file.h"

namespace ddpmts::app {

/// Whatever judges pictures.
struct Inspector {
  /// One of the maps that the judgement is combined from.
  struct Part {
    std::string name;
    Tensor maps;  ///< [N,size,size] f32, in units of its own
  };
  struct Maps {
    Tensor anomaly;             ///< [N,size,size] f32, higher is more defective
    std::vector<float> scores;  ///< one a picture
    std::vector<Part> parts;    ///< may be empty
  };
  std::int64_t size = 0;   ///< side of the pictures it takes
  std::int64_t top_k = 0;  ///< pixels that a part's image score is the mean of; unused without parts
  std::string name;        ///< how it judges, for reports
  Device device;
  eval::Calibration threshold;
  std::function<Maps(const Tensor& pictures)> inspect;  ///< of u8 [N,size,size,3] on `device`
};

/// Refers to the model, which must live as long. with_parts: also gives distance, segmentation and memory map.
Inspector inspector_of(const Model& model, bool with_parts = false);

struct InspectedPicture {
  const Sample* sample = nullptr;
  eval::PictureResult result;  ///< judged; `error` when the file could not be used
  LoadedPicture loaded;        ///< pixels at the model's size, and the mask where there is one
  std::vector<float> anomaly;  ///< [size, size]; empty on error
  struct Part {
    std::string name;
    float score;             ///< from this map alone
    std::vector<float> map;  ///< [size, size]
  };
  std::vector<Part> parts;  ///< as the inspector gives them
};

struct InspectOptions {
  std::int64_t batch = 8;
  bool with_masks = false;          ///< load the samples' masks too
  std::int64_t min_blob_area = 16;  ///< pixels of the map; smaller regions are not reported as boxes
};

/// Calls `take` once a sample, in order. Files that cannot be used come with an error and no map; nothing is thrown for
/// them. Stops early when the program is asked to end (app/interrupt.h); returns how many were handed over.
std::size_t inspect_samples(const Inspector& inspector, std::span<const Sample> samples,
                            const InspectOptions& options,
                            const std::function<void(InspectedPicture&&)>& take);

/// u8 [count, size, size, 3] on `device` from loaded pictures; all must be loaded and of that size.
Tensor stack_pictures(std::span<const LoadedPicture* const> pictures, std::int64_t size, Device device);

}  // namespace ddpmts::app
