// Matrix products by oneDNN (contract: engine/primitives.h).
#include "engine/cpu/matmul.h"

#include <omp.h>

#include "engine/cpu/onednn_plans.h"
#include "engine/cpu/primitives.h"

namespace ddpmts::cpu {
namespace {

using dnnl::memory;

struct MatmulKey {
  MatmulShape shape;
  bool bias = false, accumulate = false;
  int threads =
      1;  // attention multiplies inside a parallel region; oneDNN plans for the threads that it sees
  bool operator==(const MatmulKey&) const = default;
};

struct MatmulKeyHash {
  std::size_t operator()(const MatmulKey& key) const {
    const MatmulShape& s = key.shape;
    std::size_t seed = static_cast<std::size_t>(key.threads);
    for (const std::int64_t v :
         {s.m, s.n, s.k, static_cast<std::int64_t>(s.transpose_a), static_cast<std::int64_t>(s.transpose_b),
          static_cast<std::int64_t>(s.type), static_cast<std::int64_t>(s.result_type),
          static_cast<std::int64_t>(key.bias), static_cast<std::int64_t>(key.accumulate)}) {
      hash_combine(seed, v);
    }
    return seed;
  }
};

void multiply(const MatmulShape& s, bool accumulate, const void* a, const void* b, const float* bias,
              void* c) {
  using tag = memory::format_tag;
  const memory::desc a_desc({s.m, s.k}, data_type(s.type), s.transpose_a ? tag::ba : tag::ab);
  const memory::desc b_desc({s.k, s.n}, data_type(s.type), s.transpose_b ? tag::ba : tag::ab);
  const memory::desc c_desc({s.m, s.n}, data_type(s.result_type), tag::ab);
  const memory::desc added_desc =
      bias != nullptr ? memory::desc({1, s.n}, memory::data_type::f32, tag::ab) : memory::desc();
  const auto what = [&] { return fmt::format("matrix product [{}, {}] x [{}, {}]", s.m, s.k, s.k, s.n); };
  checked(what, [&] {
    thread_local PlanCache<MatmulKey, MatmulKeyHash> cache;
    const Plan& plan = cache.get({s, bias != nullptr, accumulate, omp_get_max_threads()}, [&] {
      return make_matmul_plan(a_desc, b_desc, added_desc, c_desc, accumulate);
    });
    std::unordered_map<int, memory> args{{DNNL_ARG_SRC, wrap(a_desc, a)},
                                         {DNNL_ARG_WEIGHTS, wrap(b_desc, b)},
                                         {DNNL_ARG_DST, wrap(c_desc, c)}};
    if (bias != nullptr) args.emplace(DNNL_ARG_BIAS, wrap(added_desc, bias));
    execute(plan, std::move(args));
  });
}

}  // namespace

void matmul(const MatmulShape& shape, const void* a, const void* b, const float* bias, void* c) {
  multiply(shape, false, a, b, bias, c);
}

void matmul_accumulate(const MatmulShape& shape, const void* a, const void* b, float* c) {
  multiply(shape, true, a, b, nullptr, c);
}

}  // namespace ddpmts::cpu
