// The fabrics that the conformance suite runs over: one line each.
#include "tests/transports/fabric_harness.h"
#include "tests/transports/fake_cuda.h"
#include "transports/faulty.h"
#include "transports/loopback.h"
#include "transports/ofi.h"
#include "transports/ucx.h"

namespace gossamer::testing {
namespace {

class LoopbackWorld final : public World {
 public:
  explicit LoopbackWorld(Device device = {}) : device_(std::move(device)) {}
  Result<std::unique_ptr<Fabric>> make() override { return make_loopback(hub_, {.device = device_}); }

 private:
  Device device_;
  std::shared_ptr<LoopbackHub> hub_ = std::make_shared<LoopbackHub>();
};

class FaultlessWorld final : public World {
 public:
  explicit FaultlessWorld(Device device = {}) : device_(std::move(device)) {}
  Result<std::unique_ptr<Fabric>> make() override {
    GOSSAMER_TRY_ASSIGN(auto inner, make_loopback(hub_, {.device = device_}));
    return std::make_unique<FaultyFabric>(std::move(inner), FaultOptions{});
  }

 private:
  Device device_;
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
  Backend backend{std::move(name), [options] { return std::make_unique<UcxWorld>(options); }, "", sees_connect_failures, options.device.memory};
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
  Backend backend{std::move(name), [options] { return std::make_unique<OfiWorld>(options); }, "", false, options.device.memory};
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
      ucx("ucx_rc", {.tls = "rc_v,self", .wire_up_patience = std::chrono::seconds(2) * kSlowness}, true),
      ucx("ucx_ud", {.tls = "ud_v,self"}, true),
      ofi("libfabric_tcp", {.provider = "tcp", .interface = "lo", .map_neighbours = false}),
      ofi("libfabric_tcp_mapped", {.provider = "tcp", .interface = "lo"}),
      ofi("libfabric_shm", {.provider = "shm"}),
      ofi("libfabric_shm_not_mapped", {.provider = "shm", .map_neighbours = false}),
      ofi("libfabric_verbs", {.provider = "verbs;ofi_rxm", .map_neighbours = false}),
  };
}

std::vector<Backend> device_backends() {
  const auto fake = fake_cuda::device();
  const Device staged{fake, DevicePath::staged};
  // Of a GPU, where there are one and a library that knows it; what is missing is said by whoever misses it first.
  const auto real = make_cuda_memory();
  const auto with_gpu = [&](Backend backend) {
    if (!real) backend.missing = real.error().message;
    return backend;
  };
  const Device direct{real ? *real : nullptr, DevicePath::direct};
  return {
      {"loopback", [staged] { return std::make_unique<LoopbackWorld>(staged); }, "", true, fake},
      {"faulty_without_faults", [staged] { return std::make_unique<FaultlessWorld>(staged); }, "", true, fake},
      ucx("ucx_tcp_staged", {.tls = "tcp,self", .net_devices = "lo", .device = staged}, true),
      ucx("ucx_tcp_rendezvous_staged", {.tls = "tcp,self", .net_devices = "lo", .settings = {{"RNDV_THRESH", "8K"}}, .device = staged}, true),
      ucx("ucx_shared_memory_staged", {.tls = "posix,sysv,self", .device = staged}, false),
      ofi("libfabric_tcp_staged", {.provider = "tcp", .interface = "lo", .map_neighbours = false, .device = staged}),
      ofi("libfabric_shm_staged", {.provider = "shm", .device = staged}),
      ofi("libfabric_verbs_staged", {.provider = "verbs;ofi_rxm", .map_neighbours = false, .device = staged}),
      with_gpu({"loopback_GPU", [direct] { return std::make_unique<LoopbackWorld>(direct); }, "", true, direct.memory}),
      with_gpu(ucx("ucx_tcp_GPU", {.tls = "tcp,cuda_copy,self", .net_devices = "lo", .device = direct}, true)),
      with_gpu(ucx("ucx_shared_memory_GPU", {.tls = "posix,sysv,cuda_copy,cuda_ipc,self", .device = direct}, false)),
      with_gpu(ucx("ucx_rc_GPU", {.tls = "rc,cuda_copy,self", .device = direct}, true)),
      with_gpu(ofi("libfabric_GPU", {.map_neighbours = false, .device = direct})),
  };
}

}  // namespace gossamer::testing
