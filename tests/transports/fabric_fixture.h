// The test fixture of the suites that run over every backend.
#pragma once

#include "tests/transports/fabric_harness.h"

namespace gossamer::testing {

class FabricFixture : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    world_ = GetParam().world();
  }

  Side make_side() {
    auto fabric = world_->make();
    EXPECT_TRUE(fabric) << fabric.error().message;
    return {std::move(*fabric), {}};
  }

  static std::unique_ptr<Link> connect(Side& from, const Side& to) {
    auto link = from.fabric->connect(to.fabric->address());
    EXPECT_TRUE(link) << link.error().message;
    return std::move(*link);
  }

  static std::unique_ptr<Region> allocate(Side& side, std::size_t size) {
    auto region = side.fabric->allocate(size);
    EXPECT_TRUE(region) << region.error().message;
    return std::move(*region);
  }

  static std::unique_ptr<Target> open(Link& link, const RemoteRegion& region) {
    auto target = link.open(region);
    EXPECT_TRUE(target) << target.error().message;
    return std::move(*target);
  }

  // Tries until the queue has room; the receiver is polled too, as some fabrics need.
  static Errc put_patiently(Link& link, const Put& put, std::vector<Side*> sides) {
    Errc status = Errc::would_block;
    (void)wait_until(std::move(sides), [&] {
      status = link.put(put);
      return status != Errc::would_block;
    });
    return status;
  }

  bool sees_connect_failures() const { return GetParam().sees_connect_failures; }

  std::unique_ptr<World> world_;
};

}  // namespace gossamer::testing
