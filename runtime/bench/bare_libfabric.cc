#include "runtime/bench/bare_libfabric.h"

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/serial.h"
#include "runtime/bench/talk.h"
#include "runtime/bench/transport_measure.h"
#include "transports/interfaces.h"
#include "transports/ofi_provider.h"

namespace gossamer::bench {
namespace {

using ofi::Owned;
using Clock = std::chrono::steady_clock;
constexpr std::size_t kWindow = 16;  // sends and receives under way
constexpr std::chrono::seconds kPatience{30};

// One endpoint, one buffer, one peer.
class BareEndpoint {
 public:
  Result<> open(const Wire& wire, bool can_sleep, std::size_t size_max) {
    GOSSAMER_TRY_ASSIGN(offer_, ofi::choose({.provider = wire.bare_provider, .interface = wire.fabric.ofi.interface}));
    fi_info* info = offer_.info.get();
    if (size_max > info->ep_attr->max_msg_size)
      return fail(Errc::unsupported, "one message of " + wire.bare_provider + " carries " + std::to_string(info->ep_attr->max_msg_size) +
                                         " bytes, too few for a bare loop of " + std::to_string(size_max));
    const auto check = [](const char* what, long error) -> Result<> {
      if (error == 0) return {};
      return fail(Errc::io, ofi::say(what, error));
    };
    fid_fabric* fabric = nullptr;
    GOSSAMER_TRY(check("fi_fabric", fi_fabric(info->fabric_attr, &fabric, nullptr)));
    fabric_.reset(fabric);
    fid_domain* domain = nullptr;
    GOSSAMER_TRY(check("fi_domain", fi_domain(fabric, info, &domain, nullptr)));
    domain_.reset(domain);
    fid_av* addresses = nullptr;
    fi_av_attr table{};
    table.type = FI_AV_TABLE;
    GOSSAMER_TRY(check("fi_av_open", fi_av_open(domain, &table, &addresses, nullptr)));
    addresses_.reset(addresses);
    fid_cq* queue = nullptr;
    fi_cq_attr attributes{};
    attributes.format = FI_CQ_FORMAT_MSG;
    attributes.wait_obj = can_sleep ? FI_WAIT_FD : FI_WAIT_NONE;
    const int opened = fi_cq_open(domain, &attributes, &queue, nullptr);
    if (opened != 0 && can_sleep) return fail(Errc::unsupported, wire.bare_provider + " has no queue that one can sleep on");
    GOSSAMER_TRY(check("fi_cq_open", opened));
    queue_.reset(queue);
    fid_ep* endpoint = nullptr;
    GOSSAMER_TRY(check("fi_endpoint", fi_endpoint(domain, info, &endpoint, nullptr)));
    endpoint_.reset(endpoint);
    GOSSAMER_TRY(check("fi_ep_bind", fi_ep_bind(endpoint, &addresses->fid, 0)));
    GOSSAMER_TRY(check("fi_ep_bind", fi_ep_bind(endpoint, &queue->fid, FI_TRANSMIT | FI_RECV)));
    GOSSAMER_TRY(check("fi_enable", fi_enable(endpoint)));
    size_ = std::max<std::size_t>(size_max, 4096);
    void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return fail(Errc::io, "no memory for a buffer");
    memory_ = static_cast<std::byte*>(memory);
    std::memset(memory_, 3, size_);
    fid_mr* registered = nullptr;
    GOSSAMER_TRY(check("fi_mr_reg", fi_mr_reg(domain, memory_, size_, FI_SEND | FI_RECV | FI_WRITE | FI_REMOTE_WRITE, 0, 7, 0, &registered, nullptr)));
    registered_.reset(registered);
    return {};
  }
  ~BareEndpoint() {
    registered_.reset();
    endpoint_.reset();
    if (memory_ != nullptr) ::munmap(memory_, size_);
  }

  Result<> meet(Talk& talk) {
    std::array<char, 512> own{};
    std::size_t size = own.size();
    if (const int error = fi_getname(&endpoint_->fid, own.data(), &size); error != 0) return fail(Errc::io, ofi::say("fi_getname", error));
    Writer writer;
    writer.text({own.data(), size});
    writer.put<std::uint64_t>(fi_mr_key(registered_.get()));
    const bool by_address = (offer_.info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
    writer.put<std::uint64_t>(by_address ? reinterpret_cast<std::uintptr_t>(memory_) : 0);
    talk.send({reinterpret_cast<const char*>(writer.view().data()), writer.view().size()});
    GOSSAMER_TRY_ASSIGN(const std::string text, talk.receive());
    Reader reader(std::as_bytes(std::span(text.data(), text.size())));
    const std::string name = reader.text();
    key_ = reader.get<std::uint64_t>();
    base_ = reader.get<std::uint64_t>();
    if (fi_av_insert(addresses_.get(), name.data(), 1, &peer_, 0, nullptr) != 1) return fail(Errc::io, "fi_av_insert");
    return {};
  }

  // Starts one, patiently.
  Result<> write(std::size_t size) {
    return start([&] { return fi_write(endpoint_.get(), memory_, size, descriptor(), peer_, base_, key_, next()); });
  }
  Result<> send(std::size_t size) {
    return start([&] { return fi_send(endpoint_.get(), memory_, size, descriptor(), peer_, next()); });
  }
  Result<> receive(std::size_t size) {
    return start([&] { return fi_recv(endpoint_.get(), memory_, size, descriptor(), FI_ADDR_UNSPEC, next()); });
  }

  Result<> progress() {
    std::array<fi_cq_msg_entry, 16> entries;
    const ssize_t read = fi_cq_read(queue_.get(), entries.data(), entries.size());
    if (read == -FI_EAGAIN) return {};
    if (read < 0) return fail(Errc::io, ofi::say("the other side of the bare loop has gone, fi_cq_read", read));
    for (ssize_t i = 0; i < read; ++i) ++((entries[static_cast<std::size_t>(i)].flags & FI_RECV) != 0 ? received : sent);
    return {};
  }
  template <class Done>
  Result<> wait(Done&& done, const Talk* talk = nullptr) {
    const auto deadline = Clock::now() + kPatience;
    for (unsigned polls = 1; !done(); ++polls) {
      GOSSAMER_TRY(progress());
      if (polls % 4096 != 0) continue;
      if (talk != nullptr && talk->has_news()) return fail(Errc::peer_gone, "");
      if (talk == nullptr && Clock::now() > deadline) return fail(Errc::timed_out, "the bare libfabric loop stands still");
    }
    return {};
  }

  std::size_t sent = 0, received = 0;  // ended

 private:
  void* descriptor() const { return (offer_.info->domain_attr->mr_mode & FI_MR_LOCAL) != 0 ? fi_mr_desc(registered_.get()) : nullptr; }
  void* next() { return &contexts_[turn_ = (turn_ + 1) % contexts_.size()]; }
  template <class Call>
  Result<> start(Call&& call) {
    const auto deadline = Clock::now() + kPatience;
    for (;;) {
      const ssize_t status = call();
      if (status == 0) return {};
      if (status != -FI_EAGAIN || Clock::now() > deadline) return fail(Errc::io, ofi::say("the bare libfabric loop", status));
      GOSSAMER_TRY(progress());
    }
  }

  ofi::Offer offer_;
  Owned<fid_fabric> fabric_;
  Owned<fid_domain> domain_;
  Owned<fid_av> addresses_;
  Owned<fid_cq> queue_;
  Owned<fid_ep> endpoint_;
  Owned<fid_mr> registered_;
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  fi_addr_t peer_ = FI_ADDR_UNSPEC;
  std::uint64_t key_ = 0, base_ = 0;
  std::array<fi_context2, 4 * kWindow> contexts_{};
  std::size_t turn_ = 0;
};

// What comes next, from the side that measures: (kind, size, count).
std::string order(char kind, Amount amount) {
  return std::string(1, kind) + std::to_string(amount.size) + " " + std::to_string(amount.count);
}

class BareMeasurement final : public Measurement {
 public:
  static Result<std::unique_ptr<Measurement>> make(const Wire& wire, Bare kind, std::size_t size_max) {
    auto measurement = std::make_unique<BareMeasurement>();
    measurement->writes_ = kind == Bare::write;
    const bool can_sleep = kind == Bare::send_with_descriptor;
    GOSSAMER_TRY(measurement->bare_.open(wire, can_sleep, size_max));
    GOSSAMER_TRY_ASSIGN(measurement->other_, OtherSide::process("transport", "bare:" + wire.name + (can_sleep ? " 1 " : " 0 ") + std::to_string(size_max)));
    GOSSAMER_TRY(measurement->bare_.meet(measurement->other_->talk()));
    return measurement;
  }

  Result<double> latency(Amount amount) override {
    const std::size_t rounds = amount.count + amount.count / 8 + 1;
    GOSSAMER_TRY(begin(order('l', {amount.size, rounds})));
    std::vector<double> times;
    for (std::size_t i = 0; i < rounds; ++i) {
      const std::size_t before = bare_.received;
      GOSSAMER_TRY(bare_.receive(amount.size));
      const auto start = Clock::now();
      GOSSAMER_TRY(bare_.send(amount.size));
      GOSSAMER_TRY(bare_.wait([&] { return bare_.received > before; }));
      times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() / 2);
    }
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
  }

  Result<double> bandwidth(Amount amount) override {
    GOSSAMER_TRY(push({amount.size, std::max<std::size_t>(1, amount.count / 8)}).map([](double) {}));
    return push(amount);
  }

 private:
  Result<> begin(const std::string& text) {
    if (!other_->talk().send(text)) return fail(Errc::peer_gone, "the other side of the bare loop has gone");
    return other_->talk().receive().map([](const std::string&) {});  // it has posted its receives
  }

  Result<double> push(Amount amount) {
    GOSSAMER_TRY(begin(order(writes_ ? 'w' : 's', amount)));
    const std::size_t received = bare_.received, sent = bare_.sent;
    GOSSAMER_TRY(bare_.receive(1));
    const auto start = Clock::now();
    for (std::size_t i = 0; i < amount.count; ++i) {
      GOSSAMER_TRY(bare_.wait([&] { return i < kWindow + bare_.sent - sent; }));
      GOSSAMER_TRY(writes_ ? bare_.write(amount.size) : bare_.send(amount.size));
    }
    if (writes_) GOSSAMER_TRY(bare_.send(1));
    GOSSAMER_TRY(bare_.wait([&] { return bare_.received > received; }));
    return static_cast<double>(amount.size) * static_cast<double>(amount.count) / std::chrono::duration<double>(Clock::now() - start).count();
  }

  bool writes_ = false;
  std::unique_ptr<OtherSide> other_;
  BareEndpoint bare_;
};

}  // namespace

Result<> serve_bare_libfabric(const Wire& wire, bool can_sleep, std::size_t size_max, int descriptor) {
  BareEndpoint bare;
  Talk talk(descriptor);
  GOSSAMER_TRY(bare.open(wire, can_sleep, size_max));
  GOSSAMER_TRY(bare.meet(talk));
  for (;;) {
    // Progress is ours to make while we wait for orders.
    while (!talk.has_news()) GOSSAMER_TRY(bare.progress());
    const auto text = talk.receive();
    if (!text) return {};
    const std::size_t size = std::strtoull(text->c_str() + 1, nullptr, 10);
    const std::size_t count = std::strtoull(text->c_str() + text->find(' '), nullptr, 10);
    const char kind = (*text)[0];
    const std::size_t before = bare.received, comes = kind == 'w' ? 1 : count;
    std::size_t posted = 0;
    while (posted < std::min(comes, kind == 's' ? kWindow : 1)) {
      GOSSAMER_TRY(bare.receive(kind == 'w' ? 1 : size));
      ++posted;
    }
    talk.send("go");
    for (std::size_t i = 1; i <= comes; ++i) {
      if (!bare.wait([&] { return bare.received >= before + i; }, &talk)) return {};
      if (posted < comes) {
        GOSSAMER_TRY(bare.receive(size));
        ++posted;
      }
      if (kind == 'l') GOSSAMER_TRY(bare.send(size));
    }
    if (kind != 'l') GOSSAMER_TRY(bare.send(1));
  }
}

std::string bare_address(const Wire& wire) {
  constexpr const char* kOwn = "127.0.0.1";
  const auto offer = ofi::choose({.provider = wire.bare_provider, .interface = wire.fabric.ofi.interface});
  if (!offer || offer->info->src_addr == nullptr) return kOwn;
  const auto format = offer->info->addr_format;
  if (format != FI_SOCKADDR_IN && format != FI_SOCKADDR_IN6 && format != FI_SOCKADDR) return kOwn;
  return network_address(static_cast<const sockaddr*>(offer->info->src_addr)).text;
}

Result<std::unique_ptr<Measurement>> measure_bare_libfabric(const Wire& wire, Bare kind, std::size_t size_max) {
  return BareMeasurement::make(wire, kind, size_max);
}

}  // namespace gossamer::bench
