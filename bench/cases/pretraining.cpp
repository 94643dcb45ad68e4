// What teaching a teacher needs and no other training: views of made-up scenes, and the loss that tells them apart.
#include <cmath>

#include "bench/cases/tools.h"
#include "data/scene_recipe.h"
#include "kernels/contrastive_loss.h"

namespace ddpmts::bench {
namespace {

// Pairs of views of the first scenes. Bytes: three u8 written a pixel; the work is arithmetic.
// Checked: the same on the plainest variant of the CPU's code, bit for bit.
Prepared prepare_scenes(Device device, std::int64_t n, std::int64_t size) {
  const std::int64_t count = (n + 1) / 2;
  std::vector<kernels::SceneRecipe> scenes;
  std::vector<kernels::SceneViewRecipe> views;
  for (std::int64_t i = 0; i < count; ++i) {
    scenes.push_back(draw_scene(1, static_cast<std::uint64_t>(i)));
    for (kernels::SceneViewRecipe view : draw_scene_views(1, static_cast<std::uint64_t>(i), size)) {
      view.scene = static_cast<std::int32_t>(i);
      views.push_back(view);
    }
  }
  const Tensor pictures = Tensor::empty({n, size, size, 3}, DType::u8, device);
  const auto scenes_there = std::make_shared<Buffer>(upload<kernels::SceneRecipe>(scenes, device));
  const auto views_there = std::make_shared<Buffer>(upload<kernels::SceneViewRecipe>(views, device));
  kernels::SceneViewsArgs args;
  args.n = n;
  args.h = args.w = size;
  args.scene_count = count;
  args.scenes = static_cast<const kernels::SceneRecipe*>(scenes_there->data());
  args.views = static_cast<const kernels::SceneViewRecipe*>(views_there->data());
  args.pictures = pictures.data<std::uint8_t>();
  Prepared p;
  p.held = {pictures};
  p.bytes = bytes_of({pictures});
  p.run = [=, held = std::pair(scenes_there, views_there)] { DDPMTS_LAUNCH(device, scene_views, args); };
  p.check = [=, run = p.run] {
    run();
    const Tensor plain = Tensor::empty(pictures.shape(), DType::u8);
    kernels::SceneViewsArgs twin = args;
    twin.scenes = scenes.data();
    twin.views = views.data();
    twin.pictures = plain.data<std::uint8_t>();
    kernels::cpu::baseline::scene_views(twin);
    return compare_bits("pictures", pictures, plain);
  };
  return p;
}

constexpr float kTemperature = 0.1f;

/// Row i's sum over all other rows j of e^((s_ij − 1)/τ).
double sum_of(const std::vector<float>& s, std::size_t n, std::size_t i) {
  double sum = 0.0;
  for (std::size_t j = 0; j < n; ++j) {
    if (j != i) sum += std::exp((double(s[i * n + j]) - 1.0) / double(kTemperature));
  }
  return sum;
}

// Views of `pairs` scenes. Bytes: the similarities once forward; backward reads them once and writes their gradient.
Prepared prepare_contrast(Device device, std::int64_t pairs, bool backward) {
  const std::int64_t rows = 2 * pairs;
  const auto n = static_cast<std::size_t>(rows);
  std::vector<float> s = random_tensor({rows, rows}, DType::f32, {}, 1, -0.9f, 0.9f).to_floats();
  for (std::size_t i = 0; i < n; ++i) {
    s[i * n + i] = 1.0f;
    for (std::size_t j = 0; j < i; ++j) s[j * n + i] = s[i * n + j];
  }
  const Tensor similarities = Tensor::from_host<float>({rows, rows}, s, device);
  const Tensor sums = Tensor::empty({rows}, DType::f32, device);
  const Tensor loss = Tensor::empty({1}, DType::f32, device), accuracy = loss.clone();
  const Tensor slope = Tensor::from_host<float>({1}, std::vector<float>{0.7f}, device);
  const Tensor gradient = Tensor::empty({rows, rows}, DType::f32, device);
  kernels::ContrastiveLossArgs args;
  args.n = rows;
  args.temperature = kTemperature;
  args.similarities = similarities.data<float>();
  args.sums = sums.data<float>();
  args.loss = loss.data<float>();
  args.accuracy = accuracy.data<float>();
  args.grad_loss = slope.data<float>();
  args.similarities_grad = gradient.data<float>();
  Prepared p;
  p.held = {similarities, sums, loss, accuracy, slope, gradient};
  p.bytes = backward ? bytes_of({similarities, gradient}) : bytes_of({similarities});
  p.traffic = backward ? Traffic::copy : Traffic::read;
  DDPMTS_LAUNCH(device, contrastive_loss_forward, args);  // backward needs the sums
  if (backward) {
    p.run = [=] { DDPMTS_LAUNCH(device, contrastive_loss_backward, args); };
  } else {
    p.run = [=] { DDPMTS_LAUNCH(device, contrastive_loss_forward, args); };
  }
  p.check = [=, run = p.run] {
    run();
    std::vector<double> expected_sums;
    for (std::size_t i = 0; i < n; ++i) expected_sums.push_back(sum_of(s, n, i));
    const auto partner = [n](std::size_t i) { return (i + n / 2) % n; };
    if (backward) {
      return compare_at("gradient", gradient, 1e-5, [&](std::size_t at) {
        const std::size_t i = at / n, j = at % n;
        if (i == j) return 0.0;
        const double e = std::exp((double(s[at]) - 1.0) / double(kTemperature));
        const double share = e / expected_sums[i] + e / expected_sums[j] - (j == partner(i) ? 2.0 : 0.0);
        return double(0.7f) / double(kTemperature) / static_cast<double>(n) * share;
      });
    }
    double expected = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      const double to_partner = (1.0 - double(s[i * n + partner(i)])) / double(kTemperature);
      expected += (std::log(expected_sums[i]) + to_partner) / static_cast<double>(n);
    }
    return all_of({compare_all("sums", sums.to_floats(), expected_sums, 1e-5),
                   compare_all("loss", loss.to_floats(), {expected}, 1e-5)});
  };
  return p;
}

}  // namespace

void add_pretraining_cases(const CasePlan& plan, Cases& cases) {
  const Device device = plan.device();
  for (const std::int64_t size : plan.sizes({64})) {
    for (const std::int64_t n : plan.batches({256})) {
      Case c = make_case(plan, "kernels", "scene_views/" + std::to_string(size), DType::f32, n);
      c.axes["size"] = std::to_string(size);
      c.quick = true;
      add_case(cases, std::move(c), 15.0 * static_cast<double>(n * size * size), n,
               [=] { return prepare_scenes(device, n, size); });
    }
  }
  for (const std::int64_t pairs : plan.batches({128})) {
    if (pairs < 2) continue;  // nothing to tell apart
    for (const bool backward : {false, true}) {
      const std::string pass = backward ? "backward" : "forward";
      Case c = make_case(plan, "kernels", "contrastive_loss_" + pass, DType::f32, pairs);
      c.cold = true;
      c.quick = true;
      add_case(cases, std::move(c), 8.0 * static_cast<double>(4 * pairs * pairs), 0,
               [=] { return prepare_contrast(device, pairs, backward); });
    }
  }
}

}  // namespace ddpmts::bench
