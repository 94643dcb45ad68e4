// What cuDNN answers for a GPU that is only described to it: every convolution of the networks, in every pass, has an
// engine, in one fused graph. Needs cuDNN's library but no GPU and no driver.
#include "engine/cuda/conv_graph.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/cuda/libraries.h"
#include "engine/cuda/plan_cache.h"

namespace ddpmts::cuda {
namespace {

// cuDNN's own description of a device, with the numbers of an H200.
constexpr const char* kH200 =
    R"({"maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536,
        "multiProcessorCount": 132, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
        "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
        "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0,
        "supportCoopLaunch": 1, "totalGlobalMem": 150121545728, "smClockRateKHz": 1980000,
        "memClockRateKHz": 3201000, "l2CacheSize": 62914560, "cudaDeviceId": 0, "deviceVer": 900, "driverVer": 13000,
        "deviceName": "NVIDIA H200"})";

struct Case {
  const char* name;
  ConvShape shape;
};

// The kinds of the detector's convolutions at 256 x 256, channels widened as conv.cpp does, and small odd maps.
const Case kCases[] = {
    {"stem", {.n = 2, .h = 256, .w = 256, .c = 8, .k = 64, .r = 7, .s = 7, .stride = 2, .padding = 3}},
    {"layer1", {.n = 32, .h = 64, .w = 64, .c = 64, .k = 64, .r = 3, .s = 3, .padding = 1}},
    {"layer2 first",
     {.n = 32, .h = 64, .w = 64, .c = 64, .k = 128, .r = 3, .s = 3, .stride = 2, .padding = 1}},
    {"shortcut", {.n = 32, .h = 64, .w = 64, .c = 64, .k = 128, .stride = 2}},
    {"layer4 at batch 1", {.n = 1, .h = 8, .w = 8, .c = 512, .k = 512, .r = 3, .s = 3, .padding = 1}},
    {"head", {.n = 32, .h = 64, .w = 64, .c = 448, .k = 256, .r = 3, .s = 3, .padding = 1}},
    {"aspp", {.n = 2, .h = 64, .w = 64, .c = 256, .k = 256, .r = 3, .s = 3, .padding = 18, .dilation = 18}},
    {"logits", {.n = 2, .h = 64, .w = 64, .c = 64, .k = 8}},
    {"odd map", {.n = 3, .h = 13, .w = 9, .c = 8, .k = 8, .r = 3, .s = 3, .padding = 1}},
    {"1x1 map", {.n = 3, .h = 1, .w = 1, .c = 8, .k = 8, .r = 3, .s = 3, .padding = 1}},
    {"flat filter", {.n = 2, .h = 13, .w = 9, .c = 8, .k = 8, .r = 1, .s = 3}},
};

class CudnnGraphs : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    const LibraryStatus& cudnn = library_status(Library::cudnn);
    if (!cudnn.open) GTEST_SKIP() << cudnn.error;
    if (cudnn.version < 90800)
      GTEST_SKIP() << "cuDNN describes devices from 9.8 on, not in " << cudnn.version;
  }
  static ConvPlanKey key(const ConvShape& shape, ConvPass pass, DType result) {
    ConvPlanKey key;
    key.shape = shape;
    key.shape.type = GetParam();
    key.pass = pass;
    key.result = result;
    key.workspace_limit = std::int64_t{512} << 20;
    return key;
  }
  // Engines that come compiled need nothing more; those for bf16 results of f32 epilogues compile at run time.
  static bool stub_is_needed(const ConvPlanKey& key) {
    return GetParam() == DType::bf16 && (key.has_epilogue() || key.result != GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(, CudnnGraphs, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& value) { return std::string(name_of(value.param)); });

TEST_P(CudnnGraphs, TakeEveryPassOfTheNetworksInOneGraph) {
  for (const Case& c : kCases) {
    std::vector<ConvPlanKey> keys{key(c.shape, ConvPass::forward, GetParam()),
                                  key(c.shape, ConvPass::backward_data, GetParam()),
                                  key(c.shape, ConvPass::backward_weights, DType::f32)};
    for (int epilogue : {0b001, 0b101, 0b111}) {  // what conv2d and FrozenConv ask for
      ConvPlanKey fused = keys[0];
      fused.bias = epilogue & 1;
      fused.residual = epilogue & 2;
      fused.relu = epilogue & 4;
      keys.push_back(fused);
    }
    for (const ConvPlanKey& k : keys) {
      if (stub_is_needed(k) && !DDPMTS_HAS_DRIVER_STUB) continue;
      EXPECT_EQ(way_on(k, kH200), ConvWay::fused) << c.name << ": " << text(k);
    }
  }
}

// With tensor cores and inexact transforms struck out, something is left, and it compiles.
TEST_P(CudnnGraphs, KeepAnEngineUnderEverySetting) {
  for (const Case& c : kCases) {
    for (const ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights}) {
      for (const bool deterministic : {false, true}) {
        ConvPlanKey k = key(c.shape, pass, GetParam());
        k.deterministic = deterministic;
        SCOPED_TRACE(std::string(c.name) + ": " + text(k));
        ConvGraph graph(k, {nullptr, kH200});
        ASSERT_NO_THROW(graph.build_first());
        EXPECT_LE(graph.workspace_bytes(), static_cast<std::size_t>(k.workspace_limit));
      }
    }
  }
}

TEST_P(CudnnGraphs, RefuseWhatExceedsTheWorkspaceLimit) {
  ConvPlanKey k = key(kCases[1].shape, ConvPass::forward, GetParam());
  k.workspace_limit = -1;
  EXPECT_THROW(ConvGraph(k, {nullptr, kH200}).build_first(), NotSupported);
}

TEST_P(CudnnGraphs, NameTheirCandidates) {
  const ConvGraph graph(key(kCases[1].shape, ConvPass::forward, GetParam()), {nullptr, kH200});
  ASSERT_GT(graph.count(), 0);
  EXPECT_TRUE(graph.name(0).starts_with("eng")) << graph.name(0);
}

}  // namespace
}  // namespace ddpmts::cuda
