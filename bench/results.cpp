#include "bench/results.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/files/input_file.h"

namespace ddpmts::bench {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Summary& s) {
  return {{"samples", s.count},
          {"median_s", s.median},
          {"p5_s", s.low},
          {"p95_s", s.high},
          {"spread", s.spread()}};
}

Summary summary_from(const Json& j) {
  return {j.at("samples").get<std::size_t>(), j.at("median_s").get<double>(), j.at("p5_s").get<double>(),
          j.at("p95_s").get<double>()};
}

// What can be derived is written for those who read the file with other tools, and not read back.
Json json_of(const Row& row) {
  Json j{{"name", row.name},
         {"group", row.group},
         {"device", row.device},
         {"axes", row.axes},
         {"status", name_of(row.status)},
         {"check", row.check},
         {"hot", json_of(row.hot)}};
  if (row.gpu) j["gpu"] = json_of(*row.gpu);
  if (row.cold) j["cold"] = json_of(*row.cold);
  if (row.onednn) {
    j["onednn"] = json_of(*row.onednn);
    j["of_onednn"] = row.of_onednn();
  }
  if (!row.networks.empty()) j["networks"] = row.networks;
  j.update(Json{{"pictures", row.pictures},
                {"pictures_per_s", row.pictures_per_second()},
                {"bytes", row.bytes},
                {"bytes_per_s", row.bytes_per_second()},
                {"flops", row.flops},
                {"flops_per_s", row.flops_per_second()},
                {"roof", row.roof},
                {"roof_share", row.roof_share},
                {"peak_bytes", row.peak_bytes},
                {"command", row.command}});
  for (const Part& part : row.parts)
    j["parts"].push_back({{"name", part.name}, {"calls", part.calls}, {"seconds", part.seconds}});
  return j;
}

Status status_from(const std::string& text) {
  for (const Status status : {Status::ok, Status::fail, Status::skip}) {
    if (text == name_of(status)) return status;
  }
  throw_error("status '{}' is none of ok, FAIL, SKIP", text);
}

Row row_from(const Json& j) {
  Row row;
  row.name = j.at("name").get<std::string>();
  row.group = j.at("group").get<std::string>();
  row.device = j.at("device").get<std::string>();
  row.axes = j.at("axes").get<std::map<std::string, std::string>>();
  row.status = status_from(j.at("status").get<std::string>());
  row.check = j.at("check").get<std::string>();
  row.hot = summary_from(j.at("hot"));
  if (j.contains("gpu")) row.gpu = summary_from(j.at("gpu"));
  if (j.contains("cold")) row.cold = summary_from(j.at("cold"));
  if (j.contains("onednn")) row.onednn = summary_from(j.at("onednn"));
  if (j.contains("networks")) row.networks = j.at("networks").get<std::map<std::string, std::int64_t>>();
  row.pictures = j.at("pictures").get<double>();
  row.bytes = j.at("bytes").get<double>();
  row.flops = j.at("flops").get<double>();
  row.roof = j.at("roof").get<std::string>();
  row.roof_share = j.at("roof_share").get<double>();
  row.peak_bytes = j.at("peak_bytes").get<double>();
  row.command = j.at("command").get<std::string>();
  if (!j.contains("parts")) return row;
  for (const Json& part : j.at("parts"))
    row.parts.push_back({part.at("name").get<std::string>(), part.at("calls").get<double>(),
                         part.at("seconds").get<double>()});
  return row;
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

}  // namespace

const char* name_of(Status status) {
  return status == Status::ok ? "ok" : status == Status::fail ? "FAIL" : "SKIP";
}

std::string to_json(const Results& results) {
  Json j{{"schema", kSchema}, {"version", kSchemaVersion}, {"program", results.program}};
  j["machine"] = Json::object();
  for (const auto& [key, value] : results.machine) j["machine"][key] = value;
  j["roofs"] = results.roofs;
  j["warnings"] = results.warnings;
  j["rows"] = Json::array();
  for (const Row& row : results.rows) j["rows"].push_back(json_of(row));
  return j.dump(1) + "\n";
}

Results from_json(const std::string& text, const std::filesystem::path& file) {
  Json j;
  try {
    j = Json::parse(text);
  } catch (const Json::parse_error& e) {
    throw_error(
        "{}: not a whole JSON file (it breaks off or goes wrong at byte {} of {}); measure again with --json",
        file.string(), e.byte, text.size());
  }
  const bool has_schema = j.is_object() && j.contains("schema") && j["schema"].is_string() &&
                          j.contains("version") && j["version"].is_number_integer();
  if (!has_schema || j["schema"] != kSchema) {
    throw_error("{}: a JSON file, but not of ddpmts_bench (no \"schema\": \"{}\"); write one with --json",
                file.string(), kSchema);
  }
  if (j["version"] != kSchemaVersion) {
    throw_error("{}: version {} of the schema, this program reads {}; measure again with this program",
                file.string(), j["version"].dump(), kSchemaVersion);
  }
  try {
    Results results;
    results.program = j.at("program").get<std::string>();
    for (const auto& [key, value] : j.at("machine").items())
      results.machine.emplace_back(key, value.get<std::string>());
    results.roofs = j.at("roofs").get<std::map<std::string, double>>();
    results.warnings = j.at("warnings").get<std::vector<std::string>>();
    for (const Json& row : j.at("rows")) results.rows.push_back(row_from(row));
    return results;
  } catch (const Json::exception& e) {
    throw_error("{}: does not hold what ddpmts_bench writes: {}", file.string(), e.what());
  } catch (const Error& e) {
    throw_error("{}: {}", file.string(), e.what());
  }
}

Results read_results(const std::filesystem::path& path) {
  const InputFile file(path);
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return from_json(text, path);
}

std::string to_csv(const Results& results) {
  std::string csv =
      "name,status,samples,median_s,p5_s,p95_s,spread,gpu_median_s,cold_median_s,onednn_median_s,of_onednn,"
      "pictures_per_s,"
      "bytes,bytes_per_s,flops,"
      "flops_per_s,roof,roof_share,peak_bytes,check,command\n";
  for (const Row& row : results.rows) {
    csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", quoted(row.name),
                       name_of(row.status), row.hot.count, row.hot.median, row.hot.low, row.hot.high,
                       row.hot.spread(), row.gpu ? fmt::format("{}", row.gpu->median) : "",
                       row.cold ? fmt::format("{}", row.cold->median) : "",
                       row.onednn ? fmt::format("{}", row.onednn->median) : "",
                       row.onednn ? fmt::format("{}", row.of_onednn()) : "", row.pictures_per_second(),
                       row.bytes, row.bytes_per_second(), row.flops, row.flops_per_second(), row.roof,
                       row.roof_share, row.peak_bytes, quoted(row.check), quoted(row.command));
  }
  return csv;
}

}  // namespace ddpmts::bench
