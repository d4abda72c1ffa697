#include "runtime/doctor_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "transports/device_memory.h"
#include "transports/ofi.h"
#include "transports/ucx.h"

#ifdef GOSSAMER_HAVE_UCX
#include <ucp/api/ucp.h>
#include <uct/api/uct.h>
#endif

namespace gossamer {
namespace {

// A library that this build does not link, opened to ask it for its version.
class Library {
 public:
  explicit Library(std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (handle_ == nullptr) handle_ = ::dlopen(name, RTLD_LAZY | RTLD_LOCAL);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (handle_ != nullptr) ::dlclose(handle_);
  }
  explicit operator bool() const { return handle_ != nullptr; }
  template <class F>
  F* function(const char* name) const {
    return handle_ == nullptr ? nullptr : reinterpret_cast<F*>(::dlsym(handle_, name));
  }

 private:
  void* handle_ = nullptr;
};

#ifdef GOSSAMER_HAVE_UCX
// What one memory domain offers, as "tcp (eth0)".
void add_transports(uct_component_h component, const char* domain, std::set<std::string>* transports) {
  uct_md_config_t* config = nullptr;
  if (uct_md_config_read(component, nullptr, nullptr, &config) != UCS_OK) return;
  uct_md_h md = nullptr;
  const ucs_status_t opened = uct_md_open(component, domain, config, &md);
  uct_config_release(config);
  if (opened != UCS_OK) return;
  uct_tl_resource_desc_t* resources = nullptr;
  unsigned count = 0;
  if (uct_md_query_tl_resources(md, &resources, &count) == UCS_OK) {
    for (unsigned i = 0; i < count; ++i)
      transports->insert(fmt::format("{} ({})", resources[i].tl_name, resources[i].dev_name));
    uct_release_tl_resource_list(resources);
  }
  uct_md_close(md);
}

std::set<std::string> ucx_transports() {
  std::set<std::string> transports;
  uct_component_h* components = nullptr;
  unsigned count = 0;
  if (uct_query_components(&components, &count) != UCS_OK) return transports;
  for (unsigned i = 0; i < count; ++i) {
    uct_component_attr_t attributes{};
    attributes.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCE_COUNT;
    if (uct_component_query(components[i], &attributes) != UCS_OK || attributes.md_resource_count == 0)
      continue;
    std::vector<uct_md_resource_desc_t> domains(attributes.md_resource_count);
    attributes.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCES;
    attributes.md_resources = domains.data();
    if (uct_component_query(components[i], &attributes) != UCS_OK) continue;
    for (const uct_md_resource_desc_t& domain : domains)
      add_transports(components[i], domain.md_name, &transports);
  }
  uct_release_component_list(components);
  return transports;
}
#endif

}  // namespace

Finding find_ucx() {
  Finding finding{.name = "UCX"};
#ifdef GOSSAMER_HAVE_UCX
  finding.detail = ucp_get_version_string();
  const auto transports = ucx_transports();
  finding.items.assign(transports.begin(), transports.end());
  const bool knows_cuda = ucx_knows_cuda();
  finding.detail += knows_cuda ? ", memory of the host and of CUDA devices" : ", memory of the host";
  if (!knows_cuda && make_cuda_memory())
    finding.remedy = "for puts from and to GPU memory: a UCX that was configured --with-cuda (a package of its own in some distributions, "
                     "ucx-cuda), and cuda_copy in UCX_TLS where that is set";
  const bool reaches_others = std::any_of(transports.begin(), transports.end(),
                                          [](const std::string& name) { return !name.starts_with("self"); });
  if (!reaches_others) {
    finding.state = Finding::State::problem;
    finding.remedy =
        "no transport reaches another process; check UCX_TLS and UCX_NET_DEVICES, and that /dev/shm or a "
        "network interface is there";
  }
#else
  finding.state = Finding::State::problem;
  finding.detail = "this build has none";
  finding.remedy = "install libucx-dev (1.13 or later) and build with -Ducx=enabled";
#endif
  return finding;
}

Finding find_libfabric() {
  Finding finding{.name = "libfabric", .detail = ofi_version()};
  if (finding.detail.empty()) {
    finding.state = Finding::State::missing;
    finding.detail = "this build has none";
    finding.remedy =
        "for fabrics that UCX does not serve: install libfabric-dev (1.17 or later) and build with "
        "-Dlibfabric=enabled";
    return finding;
  }
  finding.items = ofi_providers();
  // What providers offer depends on how this libfabric was built, which only shows when such memory is registered.
  if (const auto device = make_cuda_memory()) {
    const auto direct = make_ofi({.device = {*device, DevicePath::direct}});
    finding.detail += direct ? ", memory of the host and of CUDA devices" : ", memory of the host";
    if (!direct) finding.remedy = "for puts from and to GPU memory: " + direct.error().message;
  } else {
    const auto offering = ofi_device_providers();
    finding.detail += offering.empty() ? ", memory of the host"
                                       : fmt::format(", memory of the host ({} would take that of devices: there is none to try)", fmt::join(offering, ", "));
  }
  if (finding.items.empty()) {
    finding.state = Finding::State::problem;
    finding.remedy = "no provider of it carries reliable datagrams here; `fi_info -l` lists what it was built with";
  }
  return finding;
}

Finding find_cuda_driver() {
  Finding finding{.name = "CUDA driver"};
  const Library driver{"libcuda.so.1"};
  const auto init = driver.function<int(unsigned)>("cuInit");
  const auto get_version = driver.function<int(int*)>("cuDriverGetVersion");
  const auto get_count = driver.function<int(int*)>("cuDeviceGetCount");
  const auto get_name = driver.function<int(char*, int, int)>("cuDeviceGetName");
  if (init == nullptr || get_version == nullptr || get_count == nullptr || get_name == nullptr) {
    finding.state = Finding::State::missing;
    finding.detail = "no libcuda.so.1";
    finding.remedy =
        "for GPUs: install the NVIDIA driver; in a container, start it with the GPUs (--gpus all)";
    return finding;
  }
  int version = 0, devices = 0;
  get_version(&version);
  const int error = init(0);
  if (error != 0 || get_count(&devices) != 0 || devices == 0) {
    finding.state = Finding::State::missing;
    finding.detail =
        fmt::format("CUDA {}.{}, no usable device (error {})", version / 1000, version % 1000 / 10, error);
    finding.remedy = "check nvidia-smi and CUDA_VISIBLE_DEVICES";
    return finding;
  }
  finding.detail = fmt::format("CUDA {}.{}, {} device{}", version / 1000, version % 1000 / 10, devices,
                               devices == 1 ? "" : "s");
  for (int device = 0; device < devices; ++device) {
    char name[256] = {};
    if (get_name(name, sizeof name, device) == 0) finding.items.emplace_back(name);
  }
  return finding;
}

Finding find_cuda_toolkit() {
  Finding finding{.name = "CUDA toolkit"};
  const Library runtime{"libcudart.so", "libcudart.so.13", "libcudart.so.12",
                        "/usr/local/cuda/lib64/libcudart.so"};
  int version = 0;
  if (const auto get = runtime.function<int(int*)>("cudaRuntimeGetVersion");
      get != nullptr && get(&version) == 0)
    finding.items.push_back(fmt::format("runtime {}.{}", version / 1000, version % 1000 / 10));
  std::error_code ignored;
  if (std::filesystem::exists("/usr/local/cuda/bin/nvcc", ignored)) {
    finding.items.push_back("compiler /usr/local/cuda/bin/nvcc");
    // "cuda" : { "name" : "CUDA SDK", "version" : "13.0.1" }: the first version in the file is that of the
    // whole.
    if (const auto about = read_file("/usr/local/cuda/version.json", 1 << 20)) {
      const std::size_t key = about->find("\"version\"");
      const std::size_t open = key == std::string::npos ? key : about->find('"', about->find(':', key));
      const std::size_t close = open == std::string::npos ? open : about->find('"', open + 1);
      if (close != std::string::npos) finding.detail = about->substr(open + 1, close - open - 1);
    }
  }
  if (finding.items.empty()) {
    finding.state = Finding::State::missing;
    finding.detail = "neither libcudart nor /usr/local/cuda/bin/nvcc";
    finding.remedy = "for GPU kernels: install the CUDA toolkit (12 or later)";
  }
  return finding;
}

Finding find_nccl() {
  Finding finding{.name = "NCCL"};
  const Library nccl{"libnccl.so.2"};
  int version = 0;
  const auto get = nccl.function<int(int*)>("ncclGetVersion");
  if (get == nullptr || get(&version) != 0) {
    finding.state = Finding::State::missing;
    finding.detail = "no libnccl.so.2";
    finding.remedy = "for several GPUs in a node: install libnccl2";
    return finding;
  }
  // 2.9 changed how the number is put together.
  finding.detail = version < 10000
                       ? fmt::format("{}.{}.{}", version / 1000, version / 100 % 10, version % 100)
                       : fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
  return finding;
}

}  // namespace gossamer
