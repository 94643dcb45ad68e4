// Painted defects on disk: an ordinary good-and-bad folder (good/, bad/, masks/) that anything can train on, with bank.json
// (how it was painted) and bank.jsonl (one line a picture, written after its files).
#pragma once

#include "app/training_data.h"
#include "models/defect_painter.h"

namespace ddpmts::app {

struct PaintBankOptions {
  std::int64_t count = 200;
  std::int64_t batch = 8;
  bool overwrite = false;  ///< start over where another bank is
};

/// Paints until the bank holds `count` pictures, going on where an interrupted bank stopped. True when it is full, false when the
/// program was asked to end. Throws Error when the folder holds a bank painted with other settings, by another model or from
/// other pictures, or something else.
bool paint_bank(const std::filesystem::path& folder, const DiffusionModel& model, const TrainingData& data,
                const PaintConfig& config, DType type, const PaintBankOptions& options);

/// The bank's defects at size×size, for the trainer. Pictures whose base is not among `data.names` are left out, with a note.
/// Throws FileError or Error when the folder is no bank, or nothing fits.
PaintedDefects load_bank(const std::filesystem::path& folder, const TrainingData& data, Device device);

}  // namespace ddpmts::app
