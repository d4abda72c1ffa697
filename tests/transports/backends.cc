// The fabrics that the conformance suite runs over: one line each.
#include "tests/transports/fabric_harness.h"
#include "transports/faulty.h"
#include "transports/loopback.h"
#include "transports/ofi.h"
#include "transports/ucx.h"

namespace gossamer::testing {
namespace {

class LoopbackWorld final : public World {
 public:
  Result<std::unique_ptr<Fabric>> make() override { return make_loopback(hub_); }

 private:
  std::shared_ptr<LoopbackHub> hub_ = std::make_shared<LoopbackHub>();
};

class FaultlessWorld final : public World {
 public:
  Result<std::unique_ptr<Fabric>> make() override {
    GOSSAMER_TRY_ASSIGN(auto inner, make_loopback(hub_));
    return std::make_unique<FaultyFabric>(std::move(inner), FaultOptions{});
  }

 private:
  std::shared_ptr<LoopbackHub> hub_ = std::make_shared<LoopbackHub>();
};

class UcxWorld final : public World {
 public:
  explicit UcxWorld(UcxOptions options) : options_(std::move(options)) {}
  Result<std::unique_ptr<Fabric>> make() override { return make_ucx(options_); }

 private:
  UcxOptions options_;
};

Backend ucx(std::string name, UcxOptions options, bool sees_connect_failures) {
  Backend backend{std::move(name), [options] { return std::make_unique<UcxWorld>(options); }, "", sees_connect_failures};
  if (ucx_version().empty()) {
    backend.missing = "this build has no UCX (libucx-dev)";
  } else if (const auto probe = make_ucx(options); !probe && probe.error().code == Errc::unsupported) {
    backend.missing = probe.error().message;
  }
  return backend;
}

class OfiWorld final : public World {
 public:
  explicit OfiWorld(OfiOptions options) : options_(std::move(options)) {}
  Result<std::unique_ptr<Fabric>> make() override { return make_ofi(options_); }

 private:
  OfiOptions options_;
};

// libfabric tells nobody that an address answers no more.
Backend ofi(std::string name, OfiOptions options) {
  Backend backend{std::move(name), [options] { return std::make_unique<OfiWorld>(options); }, "", false};
  if (ofi_version().empty()) {
    backend.missing = "this build has no libfabric (libfabric-dev)";
  } else if (const auto probe = make_ofi(options); !probe && probe.error().code == Errc::unsupported) {
    backend.missing = probe.error().message;
  }
  return backend;
}

}  // namespace

std::vector<Backend> all_backends() {
  return {
      {"loopback", [] { return std::make_unique<LoopbackWorld>(); }, ""},
      {"faulty_without_faults", [] { return std::make_unique<FaultlessWorld>(); }, ""},
      ucx("ucx_tcp", {.tls = "tcp,self", .net_devices = "lo"}, true),
      // As over RDMA: large puts are fetched by the receiver.
      ucx("ucx_tcp_rendezvous", {.tls = "tcp,self", .net_devices = "lo", .settings = {{"RNDV_THRESH", "8K"}}}, true),
      ucx("ucx_shared_memory", {.tls = "posix,sysv,self"}, false),
      // As where neighbours may not map each other's memory.
      ucx("ucx_shared_memory_by_messages", {.tls = "posix,sysv,self", .map_neighbours = false}, false),
      ucx("ucx_rc", {.tls = "rc_v,self"}, true),
      ucx("ucx_ud", {.tls = "ud_v,self"}, true),
      ofi("libfabric_tcp", {.provider = "tcp", .interface = "lo", .map_neighbours = false}),
      ofi("libfabric_tcp_mapped", {.provider = "tcp", .interface = "lo"}),
      ofi("libfabric_shm", {.provider = "shm"}),
      ofi("libfabric_shm_not_mapped", {.provider = "shm", .map_neighbours = false}),
      ofi("libfabric_verbs", {.provider = "verbs;ofi_rxm", .map_neighbours = false}),
  };
}

}  // namespace gossamer::testing
