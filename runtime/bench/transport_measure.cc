#include "runtime/bench/transport_measure.h"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "base/relax.h"
#include "base/serial.h"
#include "runtime/bench/bare_libfabric.h"
#include "runtime/bench/talk.h"

namespace gossamer::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{30};
constexpr int kLooksAtTalk = 4096;  // polls between them
constexpr int kPatientPolls = 256;  // in vain; who waits longer lets the other side have the core, should there be one only

// What the name of a wire begins with for the other side where memory of a device is measured.
const std::string kDirect = "cuda:", kStaged = "cuda-staged:";

constexpr int kNapMs = 100;  // at the most, of a side that sleeps
constexpr std::chrono::milliseconds kFallAsleep{2};
constexpr std::chrono::milliseconds kSettle{300};  // of round trips: two sides that began on one core have one each by then
constexpr std::size_t kPerSample = 16;             // round trips: to look at the clock takes a good part of one

// rest: sleep instead of spinning while nothing comes; wake: say when you have seen this.
enum class Do : std::uint64_t { answer = 1, take = 2, finish = 3, rest = 4, wake = 5 };

struct Order {
  Do what = Do::take;
  std::uint64_t value = 0;  // answer: the size of the answer; finish: how many puts there were; rest: 0 to end it; wake: the time
};
static_assert(sizeof(Order) == 16);

std::span<const std::byte> bytes_of(const Order& order) { return std::as_bytes(std::span(&order, 1)); }

std::string introduce(const Fabric& fabric, const Region& region) {
  Writer writer;
  const RemoteRegion remote = region.remote();
  writer.text(fabric.address());
  writer.text(remote.key);
  writer.put(remote.address);
  writer.put(remote.size);
  return {reinterpret_cast<const char*>(writer.view().data()), writer.view().size()};
}

struct Path {
  std::unique_ptr<Link> link;
  std::unique_ptr<Target> target;
};

Result<Path> meet(Fabric& fabric, const std::string& introduction) {
  Reader reader(std::as_bytes(std::span(introduction.data(), introduction.size())));
  const std::string address = reader.text();
  RemoteRegion remote;
  remote.key = reader.text();
  remote.address = reader.get<std::uint64_t>();
  remote.size = reader.get<std::uint64_t>();
  Path path;
  GOSSAMER_TRY_ASSIGN(path.link, fabric.connect(address));
  GOSSAMER_TRY_ASSIGN(path.target, path.link->open(remote));
  return path;
}

// Of the fabric's device, if it has one.  A host's pages come with the first write.
Result<std::unique_ptr<Region>> allocate(Fabric& fabric, std::size_t size, int value) {
  if (fabric.device() != nullptr) return fabric.allocate_device(size);
  GOSSAMER_TRY_ASSIGN(auto region, fabric.allocate(size));
  std::memset(region->memory().data, value, size);
  return region;
}

// The same in all processes of this machine.
std::uint64_t nanoseconds() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count());
}

// Tries, and polls, until the queue has room.
Result<> put_patiently(Fabric& fabric, FabricEvents& events, Link& link, const Put& put) {
  Errc status = link.put(put);
  if (status == Errc::ok) return {};
  for (const auto deadline = Clock::now() + kPatience;; status = link.put(put)) {
    if (status == Errc::ok) return {};
    if (status != Errc::would_block) return fail(status, "a put was refused: " + std::string(name(status)));
    fabric.poll(&events);
    if (Clock::now() > deadline) return fail(Errc::timed_out, "the queue stays full");
  }
}

// The side that answers.
class Server {
 public:
  Server(FabricOptions options, std::size_t links, std::size_t size_max, int descriptor)
      : options_(std::move(options)), links_(links), size_max_(size_max), talk_(descriptor) {}

  Result<> run() {
    std::vector<std::unique_ptr<One>> all;
    for (std::size_t i = 0; i < links_; ++i) {
      auto one = std::make_unique<One>();
      GOSSAMER_TRY_ASSIGN(one->fabric, make_fabric(options_));
      GOSSAMER_TRY_ASSIGN(one->region, allocate(*one->fabric, size_max_, 1));
      talk_.send(introduce(*one->fabric, *one->region));
      all.push_back(std::move(one));
    }
    GOSSAMER_TRY_ASSIGN(const std::string who, talk_.receive());
    for (const auto& one : all) {
      GOSSAMER_TRY_ASSIGN(one->path, meet(*one->fabric, who));
    }
    for (unsigned polls = 0, in_vain = 0;; ++polls) {
      bool idle = true;
      for (const auto& one : all) {
        one->fabric->poll(&one->events);
        if (one->events.empty()) continue;
        idle = false;
        GOSSAMER_TRY(serve(*one));
      }
      if (idle && rests_) {
        if (talk_.has_news()) return {};
        nap(all);
        continue;
      }
      in_vain = idle ? in_vain + 1 : 0;
      if (idle) relax();
      if (in_vain % kPatientPolls == kPatientPolls - 1) ::sched_yield();
      if (idle && polls % kLooksAtTalk == 0 && talk_.has_news()) return {};
    }
  }

 private:
  struct One {
    std::unique_ptr<Fabric> fabric;
    std::unique_ptr<Region> region;
    Path path;
    FabricEvents events;
    std::vector<Notice> notices;  // being served
    std::uint64_t taken = 0, expected = 0;
    ~One() {
      path.target.reset();
      path.link.reset();
      fabric.reset();  // ends what may be under way from the region
    }
  };

  // Until something may have come for one of them.
  static void nap(const std::vector<std::unique_ptr<One>>& all) {
    std::vector<pollfd> descriptors;
    bool sleeps = true;
    for (const auto& one : all) {
      sleeps = one->fabric->arm() && sleeps;
      descriptors.push_back({one->fabric->wait_fd(), POLLIN, 0});
    }
    (void)::poll(descriptors.data(), descriptors.size(), sleeps ? kNapMs : 0);
  }

  Result<> serve(One& one) {
    std::swap(one.notices, one.events.notices);
    one.events.clear();
    for (const Notice& notice : one.notices) {
      Order order;
      if (notice.size != sizeof order) return fail(Errc::corrupt, "a notice that is no order");
      std::memcpy(&order, notice.data.data(), sizeof order);
      if (order.what == Do::take) ++one.taken;
      if (order.what == Do::rest) rests_ = order.value != 0;
      if (order.what == Do::wake) {
        const Order seen{Do::wake, nanoseconds()};
        GOSSAMER_TRY(put_patiently(*one.fabric, one.events, *one.path.link, {.notice = bytes_of(seen)}));
      }
      if (order.what == Do::finish) one.expected = order.value;
      const Put answer{.source = one.region.get(), .size = order.what == Do::answer ? order.value : 0, .target = one.path.target.get(),
                       .notice = notice.bytes()};
      if (order.what == Do::answer) GOSSAMER_TRY(put_patiently(*one.fabric, one.events, *one.path.link, answer));
    }
    if (one.expected != 0 && one.taken == one.expected) {
      one.taken = one.expected = 0;
      const Order done{Do::finish, 0};
      GOSSAMER_TRY(put_patiently(*one.fabric, one.events, *one.path.link, {.notice = bytes_of(done)}));
    }
    return {};
  }

  FabricOptions options_;
  std::size_t links_, size_max_;
  Talk talk_;
  bool rests_ = false;
};

class OurMeasurement final : public FabricMeasurement {
 public:
  static Result<std::unique_ptr<FabricMeasurement>> make(const Wire& wire, std::size_t links, std::size_t size_max) {
    auto measurement = std::make_unique<OurMeasurement>();
    FabricOptions options = wire.fabric;
    if (options.kind == "loopback") {
      options.hub = std::make_shared<LoopbackHub>();
      GOSSAMER_TRY_ASSIGN(measurement->other_, OtherSide::thread([options, links, size_max](int descriptor) {
                            (void)Server(options, links, size_max, descriptor).run();
                          }));
    } else {
      GOSSAMER_TRY_ASSIGN(measurement->other_, OtherSide::process("transport", wire.served_as + " " + std::to_string(links) + " " + std::to_string(size_max)));
    }
    GOSSAMER_TRY_ASSIGN(measurement->fabric_, make_fabric(options));
    GOSSAMER_TRY_ASSIGN(measurement->region_, allocate(*measurement->fabric_, size_max, 2));
    for (std::size_t i = 0; i < links; ++i) {
      GOSSAMER_TRY_ASSIGN(const std::string who, measurement->other_->talk().receive());
      GOSSAMER_TRY_ASSIGN(Path path, meet(*measurement->fabric_, who));
      measurement->paths_.push_back(std::move(path));
    }
    measurement->other_->talk().send(introduce(*measurement->fabric_, *measurement->region_));
    return measurement;
  }

  ~OurMeasurement() override {
    for (Path& path : paths_) path.target.reset();
    paths_.clear();
    fabric_.reset();
    other_.reset();
  }

  Result<double> latency(Amount amount) override {
    const Order order{Do::answer, amount.size};
    const auto go = [&](std::size_t round_trips) -> Result<> {
      for (std::size_t i = 0; i < round_trips; ++i) {
        GOSSAMER_TRY(put(paths_.front(), amount.size, order));
        GOSSAMER_TRY(wait([&] { return !events_.notices.empty(); }));
        events_.clear();
      }
      return {};
    };
    for (const auto end = Clock::now() + kSettle; Clock::now() < end;) GOSSAMER_TRY(go(kPerSample));
    std::vector<double> times;
    times.reserve(amount.count / kPerSample + 1);
    auto start = Clock::now();
    while (times.size() < times.capacity()) {
      GOSSAMER_TRY(go(kPerSample));
      const auto end = Clock::now();
      times.push_back(std::chrono::duration<double, std::micro>(end - start).count() / (2 * kPerSample));
      start = end;
    }
    return quantile(times, 0.5);
  }

  Result<Wakes> wakes(std::size_t count) override {
    GOSSAMER_TRY(rest(true));
    std::vector<double> times;
    while (times.size() < std::max<std::size_t>(count, 1)) {
      (void)::poll(nullptr, 0, static_cast<int>(kFallAsleep.count()));
      const std::uint64_t start = nanoseconds();
      GOSSAMER_TRY(put(paths_.front(), 0, {Do::wake, 0}));
      GOSSAMER_TRY(wait([&] { return !events_.notices.empty(); }));
      Order seen;
      std::memcpy(&seen, events_.notices.front().data.data(), sizeof seen);
      if (seen.what != Do::wake || seen.value < start) return fail(Errc::internal, "the clocks of two processes differ");
      times.push_back(static_cast<double>(seen.value - start) / 1000);
      events_.clear();
    }
    GOSSAMER_TRY(rest(false));
    return Wakes{quantile(times, 0.5), quantile(times, 0.99)};
  }

  Result<double> idle(double seconds) override {
    // Connections open when they first carry something, and that is no waiting: libfabric's first takes 17 MB and 10 ms of a core.
    GOSSAMER_TRY(push({0, paths_.size()}));
    GOSSAMER_TRY(rest(true));
    (void)::poll(nullptr, 0, kNapMs);  // until all is as it stays
    const double before = cpu_seconds();
    const auto start = Clock::now(), end = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    for (auto now = start; now < end; now = Clock::now()) {
      fabric_->poll(&events_);
      if (!events_.down.empty()) return fail(Errc::peer_gone, "the other side of the measurement has gone");
      events_.clear();
      pollfd one{fabric_->wait_fd(), POLLIN, 0};
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - now).count();
      (void)::poll(&one, 1, fabric_->arm() ? static_cast<int>(left) : 0);
    }
    const double share = (cpu_seconds() - before) / std::chrono::duration<double>(Clock::now() - start).count();
    GOSSAMER_TRY(rest(false));
    return share;
  }

  Result<double> bandwidth(Amount amount) override {
    GOSSAMER_TRY(push({amount.size, std::max<std::size_t>(1, amount.count / 8)}).map([](double) {}));
    return push(amount);
  }

 private:
  static double quantile(std::vector<double>& values, double part) {
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(part * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    return *at;
  }
  static double cpu_seconds() {
    timespec used{};
    (void)::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
  }
  Result<> rest(bool rests) { return put(paths_.front(), 0, {Do::rest, rests ? 1u : 0u}); }

  Result<> put(Path& path, std::size_t size, const Order& order) {
    return put_patiently(*fabric_, events_, *path.link,
                         {.source = region_.get(), .size = size, .target = path.target.get(), .notice = bytes_of(order)});
  }

  template <class Done>
  Result<> wait(Done&& done) {
    const auto deadline = Clock::now() + kPatience;
    for (int polls = 1;; ++polls) {
      fabric_->poll(&events_);
      if (done()) return {};
      relax();
      if (!events_.down.empty()) return fail(Errc::peer_gone, "the other side of the measurement has gone");
      if (polls % kPatientPolls == 0) ::sched_yield();
      if (polls % kLooksAtTalk == 0 && Clock::now() > deadline) return fail(Errc::timed_out, "nothing comes any more");
    }
  }

  Result<double> push(Amount amount) {
    const std::size_t per_link = std::max<std::size_t>(1, amount.count / paths_.size());
    const auto start = Clock::now();
    for (std::size_t i = 0; i < per_link; ++i)
      for (Path& path : paths_) GOSSAMER_TRY(put(path, amount.size, {Do::take, 0}));
    for (Path& path : paths_) {
      GOSSAMER_TRY(put(path, 0, {Do::finish, per_link}));
      GOSSAMER_TRY(wait([&] { return !events_.notices.empty(); }));
      events_.notices.clear();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    GOSSAMER_TRY(wait([&] { return true; }));
    events_.clear();
    return static_cast<double>(amount.size) * static_cast<double>(per_link * paths_.size()) / seconds;
  }

  std::unique_ptr<OtherSide> other_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<Region> region_;
  std::vector<Path> paths_;
  FabricEvents events_;
};

}  // namespace

std::vector<Wire> all_wires(const Device& device) {
  std::vector<Wire> wires(7);
  wires[0].name = "loopback";
  wires[0].fabric.kind = "loopback";
  wires[1].name = "ucx-shm";
  wires[1].fabric.ucx.tls = wires[1].ucx_tls = "posix,sysv,self";
  wires[2].name = "ucx-tcp";
  wires[2].fabric.ucx.tls = wires[2].ucx_tls = "tcp,self";
  wires[2].fabric.ucx.net_devices = wires[2].ucx_devices = "lo";
  wires[3].name = "libfabric-shm";
  wires[3].fabric.ofi.provider = wires[3].bare_provider = "shm";
  wires[4].name = "libfabric-tcp";
  wires[4].fabric.ofi.provider = wires[4].bare_provider = "tcp";
  wires[4].fabric.ofi.interface = "lo";
  wires[4].fabric.ofi.map_neighbours = false;  // the wire is measured
  // Where there is an RDMA device.
  wires[5].name = "ucx-rc";
  wires[5].fabric.ucx.tls = wires[5].ucx_tls = "rc,self";
  wires[6].name = "libfabric-verbs";
  wires[6].fabric.ofi.provider = wires[6].bare_provider = "verbs;ofi_rxm";
  wires[6].fabric.ofi.map_neighbours = false;
  for (Wire& wire : wires) {
    if (wire.name.starts_with("libfabric")) wire.fabric.kind = "libfabric";
    wire.served_as = wire.name;
    if (!device.memory) continue;
    wire.served_as = (device.is_direct() ? kDirect : kStaged) + wire.name;
    wire.fabric.ucx.device = wire.fabric.ofi.device = wire.fabric.loopback.device = device;
    wire.bare_provider.clear();  // it knows the host's memory only
    if (wire.ucx_tls.empty()) continue;
    wire.ucx_tls += ",cuda_copy,cuda_ipc";
    if (device.is_direct()) wire.fabric.ucx.tls = wire.ucx_tls;
  }
  return wires;
}

Result<std::unique_ptr<FabricMeasurement>> measure_fabric(const Wire& wire, std::size_t links, std::size_t size_max) {
  return OurMeasurement::make(wire, links, size_max);
}

Result<> serve(const std::string& what) {
  const std::size_t first = what.find(' '), second = what.find(' ', first + 1);
  if (second == std::string::npos) return fail(Errc::invalid_argument, "bench transport --serve: it is started by the bench itself");
  std::string name = what.substr(0, first);
  Device device;
  for (const auto& [memory, path] : {std::pair{kDirect, DevicePath::direct}, std::pair{kStaged, DevicePath::staged}}) {
    if (!name.starts_with(memory)) continue;
    name.erase(0, memory.size());
    GOSSAMER_TRY_ASSIGN(device.memory, make_cuda_memory());
    device.path = path;
  }
  const std::size_t number = std::strtoull(what.c_str() + first, nullptr, 10), size_max = std::strtoull(what.c_str() + second, nullptr, 10);
  const bool bare = name.starts_with("bare:");
  for (const Wire& wire : all_wires(device)) {
    if (bare && "bare:" + wire.name == name) return serve_bare_libfabric(wire, number != 0, size_max, 0);
    if (wire.name == name) return Server(wire.fabric, number, size_max, 0).run();
  }
  return fail(Errc::invalid_argument, "bench transport --serve: no wire `" + name + "`");
}

}  // namespace gossamer::bench
