// A trained detector in one file: written, read again, and refused where it is not one.
#include "models/model_file.h"

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "models/calibrate.h"
#include "tests/models/model_test.h"

namespace ddpmts::test {
namespace {

using nlohmann::json;

class ModelFile : public ::testing::Test {
 protected:
  static Model make_model(const TeacherFile& teacher) {
    Model model;
    model.detector = teacher.detector(small_config());
    FeatureMemoryConfig memory;
    memory.vectors = memory.candidates = 30;
    model.detector->remember(part_pictures(4, 64, 5), memory, 1, 4);
    calibrate_maps(*model.detector, part_pictures(4, 64, 5), 4);
    model.threshold.threshold = 2.625;
    model.threshold.scale = 0.375;
    model.threshold.false_alarm_rate = 0.02;
    model.threshold.good_count = 41;
    model.run_configuration = R"({"steps": 12, "data": "Käse"})";
    model.probe_pictures = part_pictures(3, 64, 6);
    model.probe_scores = scores_of(*model.detector, model.probe_pictures, 3);
    return model;
  }

  /// Writes the model with what `change` makes of its tensors and metadata.
  void write_changed(const std::function<void(NamedTensorList&, Metadata&)>& change) {
    const SafetensorsFile good(good_path());
    NamedTensorList tensors = model_.detector->tensors();
    tensors.emplace_back("probe_pictures", model_.probe_pictures);
    Metadata metadata = good.metadata();
    change(tensors, metadata);
    write_tensors(bad_path(), tensors, metadata);
  }

  /// Loading the changed file fails in one line that names the file and says `parts`.
  void expect_refused(const std::vector<std::string>& parts,
                      const std::function<void(NamedTensorList&, Metadata&)>& change) {
    write_changed(change);
    try {
      load_model(bad_path(), "auto", Device{});
    } catch (const Error& e) {
      const std::string message = e.what();
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      EXPECT_NE(message.find("bad.safetensors"), std::string::npos) << message;
      for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
      return;
    }
    FAIL() << "loaded a file that should be refused for " << ::testing::PrintToString(parts);
  }
  /// The same for a change to metadata that is looked at before any tensor, in a file without tensors.
  void expect_metadata_refused(const std::vector<std::string>& parts,
                               const std::function<void(Metadata&)>& change) {
    expect_refused(parts, [&](NamedTensorList& tensors, Metadata& metadata) {
      tensors.clear();
      change(metadata);
    });
  }
  /// The same for a change to the JSON that describes the detector.
  void expect_description_refused(const std::string& part, const std::function<void(json&)>& change) {
    expect_metadata_refused({"its description of the detector cannot be used", part},
                            [&](Metadata& metadata) {
                              json description = json::parse(metadata["detector"]);
                              change(description);
                              metadata["detector"] = description.dump();
                            });
  }

  std::filesystem::path good_path() const { return folder_ / "good.safetensors"; }
  std::filesystem::path bad_path() const { return folder_ / "bad.safetensors"; }

  void SetUp() override { save_model(good_path(), model_); }

  testing::ScratchFolder folder_;
  TeacherFile teacher_;
  Model model_ = make_model(teacher_);
};

TEST_F(ModelFile, RoundTripChangesNothing) {
  const Model read = load_model(good_path(), "f32", Device{});
  EXPECT_EQ(read.run_configuration, model_.run_configuration);
  EXPECT_EQ(read.threshold.threshold, model_.threshold.threshold);
  EXPECT_EQ(read.threshold.scale, model_.threshold.scale);
  EXPECT_EQ(read.threshold.false_alarm_rate, model_.threshold.false_alarm_rate);
  EXPECT_EQ(read.threshold.good_count, model_.threshold.good_count);
  EXPECT_EQ(read.probe_scores, model_.probe_scores);
  EXPECT_EQ(read.probe_pictures.to_host<std::uint8_t>(), model_.probe_pictures.to_host<std::uint8_t>());
  const MapCalibration &a = read.detector->calibration(), &b = model_.detector->calibration();
  for (const auto unit :
       {&MapCalibration::distance, &MapCalibration::segmentation, &MapCalibration::memory}) {
    EXPECT_EQ((a.*unit).offset, (b.*unit).offset);
    EXPECT_EQ((a.*unit).scale, (b.*unit).scale);
  }
  EXPECT_EQ(read.detector->memory().vectors().dim(0), 30);
  EXPECT_EQ(read.detector->config().size, 64);
  EXPECT_EQ(read.detector->config().top_k, 20);
  EXPECT_EQ(read.detector->config().head, HeadSize::s);
  EXPECT_TRUE(differences(read.detector->tensors(), model_.detector->tensors()).empty());

  const Tensor pictures = part_pictures(5, 64, 7);
  const Inspection now = read.detector->inspect(pictures), before = model_.detector->inspect(pictures);
  EXPECT_EQ(now.scores, before.scores);
  expect_same_values(now.anomaly, before.anomaly, "anomaly map");
  EXPECT_EQ(probe_deviation(read), 0.0);
}

TEST_F(ModelFile, ProbesNoticeAChangedWeight) {
  Model read = load_model(good_path(), "f32", Device{});
  for (const ParameterPtr& p : read.detector->parameters()) {
    if (p->name() != "student.decoder.layer1.1.conv2.weight") continue;
    std::vector<float> values = p->value().to_floats();
    for (float& value : values) value = -value;
    set_values(*p, values);
  }
  EXPECT_GT(probe_deviation(read), 1e-3);
  Model other_score = load_model(good_path(), "f32", Device{});
  const eval::Calibration& threshold = other_score.threshold;
  const double before = threshold.normalize(other_score.probe_scores[1]);
  other_score.probe_scores[1] += 0.5f;
  EXPECT_NEAR(probe_deviation(other_score), threshold.normalize(other_score.probe_scores[1]) - before, 1e-6);
}

TEST_F(ModelFile, ProbesThatCannotBeScoredDeviate) {
  Model read = load_model(good_path(), "f32", Device{});
  for (const ParameterPtr& p : read.detector->parameters()) {
    if (p->name() == "head.classifier.conv2.bias") set_values(*p, {std::numeric_limits<float>::quiet_NaN()});
  }
  EXPECT_FALSE(probe_deviation(read) < 1e-3);
}

TEST_F(ModelFile, WithoutProbes) {
  model_.probe_pictures = {};
  model_.probe_scores.clear();
  save_model(good_path(), model_);
  const Model read = load_model(good_path(), "f32", Device{});
  EXPECT_FALSE(read.probe_pictures);
  EXPECT_EQ(probe_deviation(read), 0.0);
}

TEST_F(ModelFile, IsASafetensorsFileThatDescribesItself) {
  const SafetensorsFile file(good_path());
  EXPECT_EQ(file.metadata().at("format"), "ddpmts-detector");
  EXPECT_EQ(file.metadata().at("version"), "2");
  EXPECT_EQ(file.metadata().at("weight_order"), "KRSC");
  EXPECT_EQ(file.metadata().at("run"), model_.run_configuration);
  const json description = json::parse(file.metadata().at("detector"));
  EXPECT_EQ(description.at("size"), 64);
  EXPECT_EQ(description.at("head"), "s");
  EXPECT_EQ(description.at("precision"), "f32");
  EXPECT_EQ(description.at("preprocessing").at("mean"), json({0.485, 0.456, 0.406}));
  EXPECT_EQ(description.at("preprocessing").at("std"), json({0.229, 0.224, 0.225}));
  EXPECT_EQ(description.at("threshold").at("threshold"), 2.625);
  EXPECT_EQ(description.at("probe_scores").size(), 3u);

  EXPECT_EQ(file.info("teacher.conv1.weight").shape, (std::vector<std::int64_t>{64, 7, 7, 3}));
  EXPECT_EQ(file.info("student.encoder.conv1.weight").shape, (std::vector<std::int64_t>{64, 7, 7, 3}));
  EXPECT_EQ(file.info("probe_pictures").type, StoredType::u8);
  for (const ParameterPtr& p : model_.detector->parameters()) {
    EXPECT_EQ(file.info(p->name()).type, StoredType::f32);
    EXPECT_EQ(file.read_f32(p->name()), p->value().to_floats()) << p->name();
  }
}

TEST_F(ModelFile, PrecisionCanBeChosenAtLoading) {
  if (!has_fast_bf16(Device{})) GTEST_SKIP() << "this machine does not compute in bf16";
  const Model read = load_model(good_path(), "bf16", Device{});
  EXPECT_EQ(read.detector->type(), DType::bf16);
  EXPECT_EQ(load_model(good_path(), "auto", Device{}).detector->type(), DType::f32);  // as trained
  EXPECT_GT(probe_deviation(read), 0.0);
  EXPECT_LT(probe_deviation(read), 0.1);
}

TEST_F(ModelFile, UnknownPrecisionIsTheCallersFault) {
  expect_error<Error>([&] { load_model(good_path(), "f16", Device{}); }, {"f16", "auto, f32 or bf16"});
}

TEST_F(ModelFile, MissingOrForeignFilesAreRefused) {
  expect_error<FileError>([&] { load_model(folder_ / "nowhere.safetensors", "auto", Device{}); },
                          {"nowhere.safetensors"});
  testing::put(bad_path(), "this is no model");
  expect_error<FileError>([&] { load_model(bad_path(), "auto", Device{}); }, {"bad.safetensors"});
  // A teacher is a safetensors file, but no detector.
  expect_error<FileError>([&] { load_model(teacher_.path(), "auto", Device{}); },
                          {"teacher.safetensors", "format"});
}

TEST_F(ModelFile, TruncatedFileIsRefused) {
  const std::string bytes = testing::get(good_path());
  testing::put(bad_path(), bytes.substr(0, bytes.size() - 1000));
  expect_error<FileError>([&] { load_model(bad_path(), "auto", Device{}); }, {"bad.safetensors"});
}

TEST_F(ModelFile, MetadataIsRequired) {
  for (const char* key : {"format", "version", "detector"}) {
    expect_metadata_refused({"metadata lacks", key}, [&](Metadata& metadata) { metadata.erase(key); });
  }
  expect_refused({"metadata lacks", "run"},
                 [](NamedTensorList&, Metadata& metadata) { metadata.erase("run"); });
  expect_metadata_refused({"ddpmts-diffusion"}, [](Metadata& m) { m["format"] = "ddpmts-diffusion"; });
  expect_metadata_refused({"'99'", "version 2"}, [](Metadata& m) { m["version"] = "99"; });
}

TEST_F(ModelFile, TensorsAreRequired) {
  for (const char* name :
       {"teacher.layer1.0.conv1.weight", "head.residual.0.bn1.running_var", "probe_pictures"}) {
    expect_refused({name, "missing"}, [&](NamedTensorList& tensors, Metadata&) {
      std::erase_if(tensors, [&](const auto& entry) { return entry.first == name; });
    });
  }
}

TEST_F(ModelFile, TensorsMustFitTheDescription) {
  const auto expect_misfit = [&](const std::vector<std::string>& parts, const char* key, const json& value) {
    expect_refused(parts, [&](NamedTensorList&, Metadata& metadata) {
      json description = json::parse(metadata["detector"]);
      description[key] = value;
      metadata["detector"] = description.dump();
    });
  };
  expect_misfit({"head.residual.0.conv1.weight", "[64, 3, 3, 448]", "[128, 3, 3, 448]"}, "head", "m");
  expect_misfit({"probe_pictures", "[3, 64, 64, 3]", "[2, 64, 64, 3]"}, "probe_scores", {1.0, 2.0});
  expect_misfit({"probe_pictures", "[3, 64, 64, 3]", "[3, 96, 96, 3]"}, "size", 96);
}

TEST_F(ModelFile, GarbageDescriptionIsRefused) {
  for (const char* text : {"", "{", "no\njson", "[]", "null", "{}", "\"text\""}) {
    expect_metadata_refused({"its description of the detector cannot be used"},
                            [&](Metadata& metadata) { metadata["detector"] = text; });
  }
  for (const char* key : {"size", "head", "precision", "top_k", "maps", "memory_vectors", "threshold", "probe_scores"}) {
    expect_description_refused(key, [&](json& d) { d.erase(key); });
    expect_description_refused("", [&](json& d) { d[key] = {{"an", "object"}}; });
  }
}

TEST_F(ModelFile, GarbageRecordOfTheTrainingIsRefused) {
  for (const char* text : {"", "{", "{\"steps\": 12} and more"}) {
    expect_refused({"record of the training is not JSON"},
                   [&](NamedTensorList&, Metadata& metadata) { metadata["run"] = text; });
  }
}

TEST_F(ModelFile, DescriptionOutOfRangeIsRefused) {
  for (const std::int64_t size : {0, -64, 65}) {
    expect_description_refused(std::to_string(size), [&](json& d) { d["size"] = size; });
  }
  for (const std::int64_t top_k : {0, -1}) {
    expect_description_refused("top_k", [&](json& d) { d["top_k"] = top_k; });
  }
  expect_description_refused("-3", [](json& d) { d["memory_vectors"] = -3; });
  expect_description_refused("xl", [](json& d) { d["head"] = "xl"; });
  expect_description_refused("f64", [](json& d) { d["precision"] = "f64"; });
  for (const double scale : {0.0, -1.0}) {
    expect_description_refused("threshold", [&](json& d) { d["threshold"]["scale"] = scale; });
  }
}

}  // namespace
}  // namespace ddpmts::test
