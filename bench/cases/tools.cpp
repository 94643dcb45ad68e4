#include "bench/cases/tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/drawn_parts.h"
#include "kernels/philox.h"

namespace ddpmts::bench {
namespace {

std::vector<float> random_floats(std::int64_t count, std::uint64_t step, float low, float high) {
  const kernels::Philox philox{0xbe9c, kernels::RandomStream::drawing, step};
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); i += 4) {
    const kernels::Uint4 block = philox.bits(static_cast<std::uint32_t>(i / 4));
    const std::uint32_t words[] = {block.x, block.y, block.z, block.w};
    for (std::size_t k = 0; k < 4 && i + k < values.size(); ++k)
      values[i + k] = kernels::uniform(words[k], low, high);
  }
  return values;
}

Tensor bytes_from(const Shape& shape, Device device, const std::vector<float>& values,
                  const std::function<std::uint8_t(float)>& convert) {
  std::vector<std::uint8_t> bytes(values.size());
  std::ranges::transform(values, bytes.begin(), convert);
  return Tensor::from_host<std::uint8_t>(shape, bytes, device);
}

// Compares pairs (actual, expected) of which there are `count`.
Check compare_pairs(const std::string& what, std::size_t count, double allowed, double least_scale,
                    const std::function<std::pair<double, double>(std::size_t)>& pair) {
  std::vector<std::pair<double, double>> pairs(count);
  double square = 0.0;
  for (std::size_t i = 0; i < count; ++i) {
    pairs[i] = pair(i);
    square += pairs[i].second * pairs[i].second;
  }
  const double scale =
      std::max(least_scale, std::sqrt(square / static_cast<double>(std::max<std::size_t>(1, count))));
  double worst = 0.0;
  for (const auto& [actual, expected] : pairs) {
    const double room = std::abs(expected) + scale;
    const double off = std::abs(actual - expected);
    // A NaN is further off than anything; where all is 0, so must the actual value be.
    const double share = off == 0.0 ? 0.0 : room > 0.0 && !std::isnan(off) ? off / room : HUGE_VAL;
    worst = std::max(worst, share);
  }
  return {count > 0 && worst <= allowed,
          fmt::format("{}: off by {:.2g} of {:.2g} allowed, at {} places", what, worst, allowed, count)};
}

}  // namespace

Tensor random_tensor(const Shape& shape, DType type, Device device, std::uint64_t step, float low,
                     float high) {
  return Tensor::from_host<float>(shape, random_floats(shape.count(), step, low, high), device).cast(type);
}

Tensor random_levels(const Shape& shape, Device device, std::uint64_t step) {
  return bytes_from(shape, device, random_floats(shape.count(), step, 0.0f, 256.0f),
                    [](float value) { return static_cast<std::uint8_t>(value); });
}

Tensor random_mask(const Shape& shape, Device device, std::uint64_t step, float share) {
  return bytes_from(shape, device, random_floats(shape.count(), step, 0.0f, 1.0f),
                    [share](float value) { return value < share ? std::uint8_t{1} : std::uint8_t{0}; });
}

Tensor drawn_pictures(std::int64_t count, std::int64_t size, Device device, std::uint64_t first) {
  constexpr std::int64_t kDifferent = 4;  // drawing takes longer than most cases: the same few again
  std::vector<std::uint8_t> pixels;
  for (std::int64_t i = 0; i < count; ++i) {
    if (i >= kDifferent) {
      const auto picture = static_cast<std::size_t>(size * size * 3);
      const std::size_t begin = static_cast<std::size_t>(i % kDifferent) * picture;
      pixels.resize(pixels.size() + picture);
      std::copy_n(pixels.begin() + static_cast<std::ptrdiff_t>(begin), picture,
                  pixels.end() - static_cast<std::ptrdiff_t>(picture));
      continue;
    }
    const DrawnPart part = draw_part(PartKind::flange, DefectKind::none, 1,
                                     first + static_cast<std::uint64_t>(i), static_cast<int>(size));
    pixels.insert(pixels.end(), part.image.rgb.begin(), part.image.rgb.end());
  }
  return Tensor::from_host<std::uint8_t>({count, size, size, 3}, pixels, device);
}

std::vector<std::size_t> places(std::size_t count, std::size_t wanted) {
  std::vector<std::size_t> chosen;
  if (count <= wanted) {
    for (std::size_t i = 0; i < count; ++i) chosen.push_back(i);
    return chosen;
  }
  for (std::size_t i = 0; i < wanted; ++i) chosen.push_back(i * (count - 1) / (wanted - 1));
  return chosen;
}

Check compare_at(const std::string& what, const Tensor& actual, double allowed,
                 const std::function<double(std::size_t)>& expected) {
  const std::vector<float> values = actual.to_floats();
  const std::vector<std::size_t> at = places(values.size(), 1000);
  return compare_pairs(what, at.size(), allowed, 0.0, [&](std::size_t i) {
    return std::pair{static_cast<double>(values[at[i]]), expected(at[i])};
  });
}

Check compare_all(const std::string& what, const std::vector<float>& actual,
                  const std::vector<double>& expected, double allowed, double scale) {
  if (actual.size() != expected.size()) {
    return {false, fmt::format("{}: {} values instead of {}", what, actual.size(), expected.size())};
  }
  return compare_pairs(what, actual.size(), allowed, scale, [&](std::size_t i) {
    return std::pair{static_cast<double>(actual[i]), expected[i]};
  });
}

Check compare_norms(const std::string& what, const std::vector<float>& actual,
                    const std::vector<float>& expected, double allowed) {
  if (actual.size() != expected.size() || actual.empty()) {
    return {false, fmt::format("{}: {} values instead of {}", what, actual.size(), expected.size())};
  }
  double difference = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference += std::pow(double(actual[i]) - double(expected[i]), 2);
    norm += std::pow(double(expected[i]), 2);
  }
  const double off = norm > 0.0 ? std::sqrt(difference / norm) : HUGE_VAL;
  return {off <= allowed,
          fmt::format("{}: off by {:.2g} of {:.2g} allowed, in the norm", what, off, allowed)};
}

Check compare_bits(const std::string& what, const Tensor& actual, const Tensor& expected) {
  const auto bytes = [](const Tensor& tensor) {
    std::vector<std::byte> host(tensor.bytes());
    copy_bytes(host.data(), {}, tensor.raw(), tensor.device(), host.size());
    return host;
  };
  const std::vector<std::byte> a = bytes(actual), b = bytes(expected);
  if (a == b) return {true, fmt::format("{}: the same bits", what)};
  const auto at = std::ranges::mismatch(a, b).in1 - a.begin();
  return {false, fmt::format("{}: another bit at byte {} of {}", what, at, a.size())};
}

Check all_of(std::initializer_list<Check> checks) {
  for (const Check& check : checks) {
    if (!check.right) return check;
  }
  return *(checks.end() - 1);
}

void add_case(Cases& cases, Case base, double memory, std::int64_t pictures,
              std::function<Prepared()> prepare) {
  base.memory = memory;
  base.pictures = pictures;
  base.prepare = std::move(prepare);
  cases.push_back(std::move(base));
}

void add_map_shaped(const CasePlan& plan, Cases& cases, const std::string& kernel,
                    std::vector<std::string> own, const MapMemory& memory, const MakeMapCase& make) {
  const std::string first = own.front();
  for (const std::string& wanted : plan.shapes(std::move(own))) {
    const auto list = std::ranges::find(kShapeLists, wanted, &ShapeList::name);
    for (const MapShape& map : list->maps) {
      for (const DType type : plan.precisions()) {
        for (const std::int64_t n : plan.batches({8})) {
          Case c = make_case(plan, "kernels", fmt::format("{}/{}/{}", kernel, wanted, map.text()), type, n);
          c.axes["shapes"] = wanted;
          c.axes["map"] = map.text();
          c.cold = true;
          c.quick = wanted == first && &map == &list->maps.front();
          const double bytes = memory(map) * static_cast<double>(n) * static_cast<double>(size_of(type));
          const Device device = plan.device();
          add_case(cases, std::move(c), bytes, 0, [=] { return make(device, type, n, map); });
        }
      }
    }
  }
}

void add_sized(const CasePlan& plan, Cases& cases, const std::string& kernel, double bytes_a_pixel,
               bool typed, const MakeSizedCase& make) {
  for (const std::int64_t size : plan.sizes({256})) {
    for (const DType type : typed ? plan.precisions() : std::vector{DType::f32}) {
      for (const std::int64_t n : plan.batches({8})) {
        Case c = make_case(plan, "kernels", fmt::format("{}/{}", kernel, size), type, n);
        c.axes["size"] = std::to_string(size);
        c.cold = true;
        c.quick = true;
        const Device device = plan.device();
        add_case(cases, std::move(c), bytes_a_pixel * static_cast<double>(n * size * size), n,
                 [=] { return make(device, type, n, size); });
      }
    }
  }
}

}  // namespace ddpmts::bench
