// The fabrics that the conformance suite runs over: one line each.
#include "tests/transports/fabric_harness.h"
#include "transports/loopback.h"

namespace gossamer::testing {
namespace {

class LoopbackWorld final : public World {
 public:
  Result<std::unique_ptr<Fabric>> make() override { return make_loopback(hub_); }

 private:
  std::shared_ptr<LoopbackHub> hub_ = std::make_shared<LoopbackHub>();
};

}  // namespace

std::vector<Backend> all_backends() {
  std::vector<Backend> backends;
  backends.push_back({"loopback", [] { return std::make_unique<LoopbackWorld>(); }, "", true});
  return backends;
}

}  // namespace gossamer::testing
