// Gossip, also compressed to a few per cent, learns what all-reduce learns: on the digits, 8 peers, the mean model.
#include <gtest/gtest.h>

#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

struct Method {
  const char* label;
  const char* example;
  Words sets;
};

const Method kAllReduce = {"all-reduce", "all-reduce", {}};
const std::vector<Method> kGossip = {
    {"d-psgd", "d-psgd", {}},
    {"choco-sgd, top-k 1 %", "choco-sgd", {"compression={codec: top-k, ratio: 0.01}", "mixing.step_size=0.1"}},
    {"choco-sgd, sign", "choco-sgd", {"compression={codec: sign}"}},
    {"choco-sgd, qsgd 4 bits", "choco-sgd", {}},
};

// Mean over the seeds of the mean model's accuracy.  Over loopback: the bits are those of every other wire.
double accuracy(const Method& method, int seeds, int epochs) {
  const Scratch scratch;
  double sum = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    const std::string out = scratch / std::to_string(seed);
    Words sets = {"transport={kind: loopback}", "topology={family: ring, peers: 8}", "trainer.schedule.kind=cosine",
                  "trainer.epochs=" + std::to_string(epochs), "report.evaluate_every_epochs=0", "seed=" + std::to_string(seed)};
    if (method.example == kAllReduce.example) sets[1] = "topology={family: complete, peers: 8}";
    sets.insert(sets.end(), method.sets.begin(), method.sets.end());
    const Ended run = gossamer(digits(method.example, out, sets), scratch);
    EXPECT_EQ(run.code, 0) << run.err;
    sum += summary(out)["mean_model"]["accuracy"].get<double>();
  }
  return 100 * sum / seeds;
}

// Suite `long`.
TEST(AccuracyOfFiveSeeds, IsThatOfAllReduceTo0Point7Points) {
  const double yardstick = accuracy(kAllReduce, 5, 100);
  RecordProperty("all-reduce", std::to_string(yardstick));
  EXPECT_GE(yardstick, 96.5);
  for (const Method& method : kGossip) {
    const double mean = accuracy(method, 5, 100);
    RecordProperty(method.label, std::to_string(mean));
    EXPECT_GE(mean, 96.5) << method.label;
    EXPECT_GE(mean, yardstick - 0.7) << method.label;
  }
}

TEST(Accuracy, OfOneSeedIsNearAllReduce) {
  const double yardstick = accuracy(kAllReduce, 1, 50);
  EXPECT_GE(yardstick, 95);
  for (const Method& method : kGossip) EXPECT_GE(accuracy(method, 1, 50), yardstick - 2.5) << method.label;
}

}  // namespace
}  // namespace gossamer::e2e
