#include "bench/cases/drawn_networks.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "bench/cases/tools.h"
#include "layers/initialize.h"
#include "models/random_teacher.h"

namespace ddpmts::bench {
namespace {

DType fast_type(Device device) { return has_fast_bf16(device) ? DType::bf16 : DType::f32; }

// What one picture causes in a network.
template <class F>
std::vector<TracedConv> convs_in(F&& run) {
  const NoGrad looking;
  const PrimitiveTrace trace;
  run();
  return trace.convs();
}

std::vector<TracedConv> teacher_convs(std::int64_t size, Device device) {
  const DType type = fast_type(device);
  const Tensor x = random_tensor({1, size, size, 3}, type, device, 1);
  return convs_in([&] { make_teacher(type, device).features(x); });
}

std::vector<TracedConv> student_convs(std::int64_t size, Device device) {
  const Tensor x = random_tensor({1, size, size, 3}, fast_type(device), device, 1);
  ParameterList parameters;
  return convs_in([&] { Student(ParameterScope(parameters, device)).features(x, Mode::inference); });
}

std::vector<TracedConv> head_convs(const std::string& head, std::int64_t size, Device device) {
  const Tensor product =
      random_tensor({1, size / 4, size / 4, SegmentationHead::kInputChannels}, fast_type(device), device, 1);
  ParameterList parameters;
  return convs_in([&] {
    SegmentationHead(ParameterScope(parameters, device), parse_head_size(head))
        .logits(product, Mode::inference);
  });
}

std::vector<TracedConv> unet_convs(const std::string& preset_name, std::int64_t size, Device device) {
  const UNet network(preset(parse_unet_preset(preset_name), size), 1, device);
  const Tensor x = random_tensor({1, size, size, 3}, fast_type(device), device, 1);
  return convs_in([&] { network.predict(x, Tensor::zeros({1}, DType::i32, device)); });
}

std::vector<TracedConv> odd_convs() {
  std::vector<TracedConv> convs;
  for (const MapShape& map : kOdd) {
    ConvShape shape{.h = map.h, .w = map.w, .c = map.c, .k = map.c + 2, .r = 3, .s = 3, .padding = 1};
    convs.push_back({shape});
    shape.stride = 2;
    convs.push_back({shape});
  }
  return convs;
}

}  // namespace

const SafetensorsFile& teacher_file() {
  static const SafetensorsFile file = [] {
    const auto path =
        std::filesystem::temp_directory_path() / fmt::format("ddpmts_bench_{}.safetensors", getpid());
    write_random_teacher(path, 1);
    SafetensorsFile opened(path);  // stays readable after its name is gone
    std::filesystem::remove(path);
    return opened;
  }();
  return file;
}

ResNetTeacher make_teacher(DType type, Device device) {
  return {NamedTensors(teacher_file(), WeightOrder::oihw), type, device};
}

std::unique_ptr<Detector> make_detector(const std::string& head, std::int64_t size, DType type, Device device,
                                        std::int64_t memory) {
  DetectorConfig config;
  config.size = size;
  config.head = parse_head_size(head);
  config.precision = type == DType::bf16 ? Precision::bf16 : Precision::f32;
  config.top_k = default_top_k(size);
  auto detector =
      std::make_unique<Detector>(NamedTensors(teacher_file(), WeightOrder::oihw), config, 1, device);
  // Other pictures than the cases inspect: the distance of a picture to itself is rounding alone.
  if (memory > 0) detector->remember(drawn_pictures(4, size, device, 4), {memory, memory}, 1, 4);
  return detector;
}

std::unique_ptr<UNet> make_unet(const std::string& preset_name, std::int64_t size, Device device) {
  auto network = std::make_unique<UNet>(preset(parse_unet_preset(preset_name), size), 1, device);
  std::uint64_t step = 100;
  for (const ParameterPtr& parameter : network->parameters()) {
    ++step;
    const std::vector<float> values = parameter->value().to_floats();
    const bool zeros = std::ranges::all_of(values, [](float value) { return value == 0.0f; });
    if (!zeros || parameter->shape().rank() < 2) continue;
    parameter->value().copy_from(random_tensor(parameter->shape(), DType::f32, device, step, -0.03f, 0.03f));
    parameter->changed();
  }
  return network;
}

std::vector<UsedConv> convs_of(const std::string& list, const std::vector<std::string>& heads,
                               const std::vector<std::string>& unets, Device device) {
  std::vector<std::pair<std::string, std::vector<TracedConv>>> networks;
  const auto add = [&](const std::string& name, std::int64_t size, std::vector<TracedConv> convs) {
    networks.emplace_back(fmt::format("{}/{}", name, size), std::move(convs));
  };
  if (list == "detector256") {
    add("teacher", 256, teacher_convs(256, device));
    add("student", 256, student_convs(256, device));
    for (const std::string& head : heads) add("head_" + head, 256, head_convs(head, 256, device));
  }
  if (list == "resnet18_224") add("teacher", 224, teacher_convs(224, device));
  for (const auto& [name, size] : {std::pair{"unet64", 64}, std::pair{"unet256", 256}}) {
    if (list != name) continue;
    for (const std::string& unet : unets) add("unet_" + unet, size, unet_convs(unet, size, device));
  }
  if (list == "odd") networks.emplace_back("", odd_convs());
  std::vector<UsedConv> used;
  for (const auto& [network, convs] : networks) {
    for (TracedConv conv : convs) {
      conv.shape.type = DType::f32;  // the case decides
      auto found = std::ranges::find(used, conv.shape, &UsedConv::shape);
      if (found == used.end()) found = used.insert(used.end(), {conv.shape, conv.relu, 0, {}});
      ++found->uses;
      if (!network.empty()) ++found->networks[network];
    }
  }
  return used;
}

}  // namespace ddpmts::bench
