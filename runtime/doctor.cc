#include "runtime/doctor.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "runtime/doctor_libraries.h"

namespace gossamer {
namespace {

std::string_view name(Finding::State state) {
  switch (state) {
    case Finding::State::found:
      return "found";
    case Finding::State::missing:
      return "missing";
    case Finding::State::problem:
      return "problem";
  }
  return "unknown";
}

std::string size_words(std::uint64_t bytes) {
  if (bytes >= std::uint64_t{1} << 30)
    return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

Finding find_kernel() {
  Finding finding{.name = "kernel"};
  utsname about{};
  if (::uname(&about) == 0)
    finding.detail = fmt::format("{} {} {}", about.sysname, about.release, about.machine);
  return finding;
}

Finding find_cores() {
  Finding finding{.name = "cores"};
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) {
    finding.state = Finding::State::problem;
    finding.detail = "cannot be counted";
    return finding;
  }
  finding.detail = fmt::format("{} usable", CPU_COUNT(&set));
  // Version 2 control groups: "max 100000", or the microseconds of CPU time per period.
  if (const auto quota = read_file("/sys/fs/cgroup/cpu.max", 256)) {
    double time = 0, period = 0;
    if (std::sscanf(quota->c_str(), "%lf %lf", &time, &period) == 2 && period > 0)
      finding.items.push_back(fmt::format("control group allows {:g}", time / period));
  }
  return finding;
}

Finding find_locked_memory() {
  Finding finding{.name = "memlock"};
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) {
    finding.detail = "unlimited";
  } else {
    finding.detail = size_words(limit.rlim_cur);
    if (limit.rlim_cur < (std::uint64_t{1} << 30)) {
      finding.state = Finding::State::missing;
      finding.remedy =
          "RDMA registers models in locked memory: `ulimit -l unlimited`, or memlock in "
          "/etc/security/limits.conf";
    }
  }
  return finding;
}

Finding find_open_files() {
  Finding finding{.name = "open files"};
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  finding.detail = limit.rlim_cur == RLIM_INFINITY ? "unlimited" : fmt::format("{}", limit.rlim_cur);
  if (limit.rlim_cur < 1024) {
    finding.state = Finding::State::problem;
    finding.remedy = "every neighbour takes some: `ulimit -n 4096`";
  }
  return finding;
}

Finding find_shared_memory() {
  Finding finding{.name = "shared memory"};
  struct statvfs about {};
  if (::statvfs("/dev/shm", &about) != 0) {
    finding.state = Finding::State::problem;
    finding.detail = "no /dev/shm";
    finding.remedy = "mount a tmpfs there; without it peers of one machine talk through TCP";
    return finding;
  }
  const std::uint64_t free = std::uint64_t{about.f_bavail} * about.f_frsize;
  finding.detail = fmt::format("{} free in /dev/shm", size_words(free));
  if (free < (std::uint64_t{64} << 20)) {
    finding.state = Finding::State::problem;
    finding.remedy = "every peer keeps its mailboxes there; in a container: --shm-size=1g";
  }
  return finding;
}

Finding find_interfaces() {
  Finding finding{.name = "network"};
  ifaddrs* all = nullptr;
  std::map<std::string, std::string> found;
  bool others = false;
  if (::getifaddrs(&all) == 0) {
    for (const ifaddrs* at = all; at != nullptr; at = at->ifa_next) {
      if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0) continue;
      char text[INET6_ADDRSTRLEN] = {};
      if (at->ifa_addr->sa_family == AF_INET)
        ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, text,
                    sizeof text);
      else if (at->ifa_addr->sa_family == AF_INET6)
        ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(at->ifa_addr)->sin6_addr, text,
                    sizeof text);
      else
        continue;
      auto& line = found[at->ifa_name];
      line += (line.empty() ? "" : " ") + std::string(text);
      others |= (at->ifa_flags & IFF_LOOPBACK) == 0;
    }
    ::freeifaddrs(all);
  }
  for (const auto& [interface, addresses] : found)
    finding.items.push_back(fmt::format("{} ({})", interface, addresses));
  finding.detail = fmt::format("{} interface{} up", found.size(), found.size() == 1 ? "" : "s");
  if (!others) {
    finding.state = Finding::State::missing;
    finding.remedy = "only this machine can be reached; peers on others need a network interface that is up";
  }
  return finding;
}

Finding find_rdma() {
  Finding finding{.name = "RDMA devices"};
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/infiniband", error))
    finding.items.push_back(entry.path().filename().string());
  std::sort(finding.items.begin(), finding.items.end());
  finding.detail = fmt::format("{}", finding.items.size());
  if (finding.items.empty()) {
    finding.state = Finding::State::missing;
    finding.remedy =
        "for InfiniBand or RoCE: install rdma-core and the driver of the adapter; in a container, pass "
        "/dev/infiniband";
  }
  return finding;
}

// What the build was made with, beside what this machine has.
Finding find_build() {
  Finding finding{.name = "build"};
  finding.items = {
#ifdef GOSSAMER_HAVE_UCX
      "UCX",
#endif
#ifdef GOSSAMER_HAVE_LIBFABRIC
      "libfabric",
#endif
#ifdef GOSSAMER_HAVE_CUDA
      "CUDA",
#endif
#ifdef GOSSAMER_FOUND_NCCL
      "NCCL (not used yet)",
#endif
#ifdef GOSSAMER_FOUND_LIBTORCH
      "libtorch (not used yet)",
#endif
  };
  if (finding.items.empty()) finding.detail = "without any optional library";
  return finding;
}

}  // namespace

std::string_view gossamer_version() {
  return GOSSAMER_VERSION;
}

Diagnosis diagnose() {
  Diagnosis diagnosis{.version = std::string(gossamer_version()), .findings = {}};
  diagnosis.findings = {find_build(), find_kernel(),        find_cores(),       find_locked_memory(), find_open_files(),
                        find_shared_memory(), find_interfaces(),  find_rdma(),          find_ucx(),
                        find_libfabric(),     find_cuda_driver(), find_cuda_toolkit(),  find_nccl()};
  diagnosis.ready = std::any_of(diagnosis.findings.begin(), diagnosis.findings.end(), [](const Finding& finding) {
    return (finding.name == "UCX" || finding.name == "libfabric") && finding.state == Finding::State::found;
  });
  return diagnosis;
}

std::string to_text(const Diagnosis& diagnosis) {
  std::string text = fmt::format("gossamer {}\n\n", diagnosis.version);
  for (const Finding& finding : diagnosis.findings) {
    text += fmt::format("{:<14} {:<8} {}", finding.name, name(finding.state), finding.detail);
    if (!finding.items.empty())
      text += fmt::format("{}{}", finding.detail.empty() ? "" : ": ", fmt::join(finding.items, ", "));
    text += '\n';
    if (!finding.remedy.empty()) text += fmt::format("{:<14} {:<8} -> {}\n", "", "", finding.remedy);
  }
  text += diagnosis.ready
              ? "\nReady: peers on this machine can reach each other.\n"
              : "\nNot ready: no transport joins peers on this machine; see what is marked `problem`.\n";
  return text;
}

std::string to_json(const Diagnosis& diagnosis) {
  nlohmann::ordered_json findings = nlohmann::ordered_json::array();
  for (const Finding& finding : diagnosis.findings) {
    findings.push_back({{"name", finding.name},
                        {"state", name(finding.state)},
                        {"detail", finding.detail},
                        {"items", finding.items},
                        {"remedy", finding.remedy}});
  }
  const nlohmann::ordered_json all = {
      {"version", diagnosis.version}, {"ready", diagnosis.ready}, {"findings", std::move(findings)}};
  // What the machine says of itself may be no UTF-8; then a replacement is better than an exception.
  return all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace gossamer
