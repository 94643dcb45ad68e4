// What a run of the benchmark found, and its file: JSON with a schema name and version, which bench/twins write too.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/statistics.h"

namespace ddpmts::bench {

inline constexpr const char* kSchema = "ddpmts_bench";
inline constexpr int kSchemaVersion = 1;

enum class Status { ok, fail, skip };
const char* name_of(Status status);  ///< "ok", "FAIL", "SKIP"

/// One kernel's or primitive's share of a case.
struct Part {
  std::string name;      ///< as in engine/time_trace.h
  double calls = 0.0;    ///< in one run of the case
  double seconds = 0.0;  ///< of all of them together
  bool operator==(const Part&) const = default;
};

/// One case's row. Times in seconds, of one run of the case.
struct Row {
  std::string name;  ///< unique in a file
  std::string group, device;
  std::map<std::string, std::string> axes;  ///< precision, batch, size, …
  Status status = Status::ok;
  std::string check;  ///< what was compared with what and how far apart it was; or why not
  Summary hot;        ///< runs one after the other
  std::optional<Summary>
      gpu;  ///< of a GPU's rows: the same by its own clock (engine/event_time.h); `hot` is by the host's
  std::optional<Summary> cold;    ///< with every cache flushed before each
  std::optional<Summary> onednn;  ///< oneDNN alone on the same convolution, timed in turns with `hot`
  std::map<std::string, std::int64_t>
      networks;             ///< of a convolution: how often each network runs it in one pass
  double pictures = 0.0;    ///< of one run; 0: the case is not about pictures
  double bytes = 0.0;       ///< moved by one run, as the case counts them; 0: not counted
  double flops = 0.0;       ///< of one run, as the case counts them; 0: not counted
  std::string roof;         ///< the one that binds, "copy" or "product"; empty: nothing is counted
  double roof_share = 0.0;  ///< time at that roof over the median
  double peak_bytes = 0.0;  ///< of the device's memory, at the highest
  std::vector<Part> parts;  ///< where the time goes, longest first; empty: not asked for
  std::string command;      ///< repeats this row alone

  bool timed() const { return status == Status::ok && hot.count > 0; }
  double pictures_per_second() const { return timed() ? pictures / hot.median : 0.0; }
  /// What rates and roofs are taken from: a GPU's own time, where there is one.
  double seconds() const { return gpu ? gpu->median : hot.median; }
  double bytes_per_second() const { return timed() ? bytes / seconds() : 0.0; }
  /// oneDNN's time over ours: 1 is as fast as oneDNN alone, 0.8 takes a quarter longer; 0: not measured.
  double of_onednn() const { return timed() && onednn ? onednn->median / hot.median : 0.0; }
  double flops_per_second() const { return timed() ? flops / seconds() : 0.0; }
  bool operator==(const Row&) const = default;
};

struct Results {
  std::string program;                                       ///< "ddpmts_bench 0.1.0", "torch 2.15"
  std::vector<std::pair<std::string, std::string>> machine;  ///< facts, in the order shown
  std::map<std::string, double> roofs;  ///< "cpu copy 1 MiB", bytes/s; "cpu product bf16", FLOP/s
  std::vector<std::string> warnings;
  std::vector<Row> rows;

  bool operator==(const Results&) const = default;
};

/// JSON text that ends in a newline.
std::string to_json(const Results& results);
/// The reverse. `file` is for messages. Throws Error: not JSON (half a file), another schema or version, or a value that
/// is missing or of another kind.
Results from_json(const std::string& text, const std::filesystem::path& file);
/// Throws FileError, or as from_json.
Results read_results(const std::filesystem::path& path);
/// One line a row, a header first; commas in texts are quoted.
std::string to_csv(const Results& results);

}  // namespace ddpmts::bench
