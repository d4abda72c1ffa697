// A bulk run is a function of its run file: the wire and the moment change no bit of its models.
#include <gtest/gtest.h>

#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

const Words kShort = {"trainer.epochs=2", "report.interval_steps=5", "report.evaluate_every_epochs=0"};

struct Method {
  const char* label;
  const char* example;
  Words sets;
};

void PrintTo(const Method& method, std::ostream* out) { *out << method.label; }

class SameBits : public testing::TestWithParam<Method> {
 protected:
  // The mean model and all peers' models.
  std::string models(const std::string& name, Words more) {
    Words sets = kShort;
    sets.insert(sets.end(), GetParam().sets.begin(), GetParam().sets.end());
    sets.insert(sets.end(), more.begin(), more.end());
    const std::string out = scratch_ / name;
    const Ended run = gossamer(digits(GetParam().example, out, sets), scratch_);
    EXPECT_EQ(run.code, 0) << run.err;
    std::string bytes = contents(out + "/model.safetensors");
    for (int peer = 0; peer < 8; ++peer) bytes += contents(out + "/model-" + std::to_string(peer) + ".safetensors");
    return bytes;
  }

  Scratch scratch_;
};

TEST_P(SameBits, OverEveryWireAndInEveryRunOfASeed) {
  const std::string loopback = models("loopback", {"transport={kind: loopback}"});
  ASSERT_GT(loopback.size(), 9u * 17226 * 4);
  EXPECT_TRUE(models("tcp", {"transport.tls=tcp,self"}) == loopback) << "UCX over TCP gives another model";
  EXPECT_TRUE(models("shared", {"transport.tls=sm,self"}) == loopback) << "UCX over shared memory gives another model";
  EXPECT_TRUE(models("copied", {"transport={kind: ucx, tls: \"sm,self\", lend: false}"}) == loopback) << "with nothing lent";
  EXPECT_TRUE(models("spinning", {"transport={kind: ucx, tls: \"sm,self\", spin: 50 us}"}) == loopback) << "with peers that spin before they sleep";
  EXPECT_TRUE(models("again", {"transport.tls=sm,self"}) == loopback) << "two runs of one seed differ";
  EXPECT_FALSE(models("other", {"transport={kind: loopback}", "seed=2"}) == loopback) << "the seed does nothing";
}

class SameBitsOverLibfabric : public SameBits {};

TEST_P(SameBitsOverLibfabric, AsOverTheLoopback) {
  const std::string loopback = models("loopback", {"transport={kind: loopback}"});
  EXPECT_TRUE(models("tcp", {"transport={kind: libfabric, provider: tcp, interface: lo}"}) == loopback) << "over TCP";
  EXPECT_TRUE(models("shm", {"transport={kind: libfabric, provider: shm}"}) == loopback) << "over shared memory";
}

#ifdef GOSSAMER_HAVE_LIBFABRIC
INSTANTIATE_TEST_SUITE_P(Methods, SameBitsOverLibfabric, testing::Values(Method{"d_psgd_ring", "d-psgd", {}}),
                         [](const auto& info) { return info.param.label; });
#else
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SameBitsOverLibfabric);
#endif

INSTANTIATE_TEST_SUITE_P(
    Methods, SameBits,
    testing::Values(Method{"all_reduce", "all-reduce", {}}, Method{"d_psgd_ring", "d-psgd", {}},
                    Method{"choco_qsgd_hypercube", "choco-sgd", {}},
                    Method{"choco_top_k_ring_aggregate", "choco-sgd",
                           {"topology={family: ring, peers: 8}", "compression={codec: top-k, ratio: 0.01}",
                            "mixing={step_size: 0.1, replicas: aggregate}"}}),
    [](const auto& info) { return info.param.label; });

}  // namespace
}  // namespace gossamer::e2e
