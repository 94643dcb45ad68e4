// Training a teacher gives the same bits with graphs and without, also where the views' size changes on the way.
#include "models/pretrainer.h"
#include "tests/graphs/graph_test.h"

namespace ddpmts::test {
namespace {

TEST(PretrainingGraphs, SameBitsWhereTheSizeChanges) {
  clear_tape();
  PretrainingConfig config;
  config.batch = PretrainingConfig::kLeastBatch;
  config.size = 32;
  config.final_size = 64;
  config.final_share = 0.5;
  config.seed = 3;
  Pretrainer graphed(config, kGpu), plain(config, kGpu);
  for (int i = 0; i < 12; ++i) {
    SCOPED_TRACE(fmt::format("step {}", i + 1));
    const auto step = [&](Pretrainer& trainer, bool on) {
      const Graphs wanted(on);
      return trainer.step(i / 12.0);
    };
    const PretrainingStepReport actual = step(graphed, true);
    spoil_free_memory();
    const PretrainingStepReport expected = step(plain, false);
    EXPECT_EQ(actual.loss, expected.loss);
    EXPECT_EQ(actual.accuracy2, expected.accuracy2);
    EXPECT_EQ(actual.accuracy3, expected.accuracy3);
    EXPECT_EQ(actual.grad_norm, expected.grad_norm);
  }
  EXPECT_EQ(graphed.captures(), 2) << "one for each size";
  EXPECT_EQ(plain.captures(), 0);
  EXPECT_EQ(differences(graphed.state(), plain.state()), std::vector<std::string>());
}

}  // namespace
}  // namespace ddpmts::test
