// libFuzzer: a hostile peer speaks to a Transport, while the Transport goes on sending, releasing and
// dropping.
//
// Input: a program of short instructions (see LLVMFuzzerTestOneInput).  Notices are plain bytes, or bytes
// behind a valid beginning, so that the search need not find magic numbers.  The checks are those of the
// interface: what is handed out lies in the mailbox and is no longer than allowed, no more is unreleased than
// was granted, every payload ends once, and no put reaches outside what the peer granted.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/payload.h"
#include "base/serial.h"
#include "transports/channel.h"
#include "transports/device_memory.h"

using namespace gossamer;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

class StubRegion final : public Region {
 public:
  StubRegion(std::size_t size, MemoryKind kind) : bytes_(size), kind_(kind) {}
  MemoryView memory() const override { return {const_cast<std::byte*>(bytes_.data()), bytes_.size(), kind_}; }
  RemoteRegion remote() const override { return {"stub", 1, bytes_.size()}; }

 private:
  std::vector<std::byte> bytes_;
  MemoryKind kind_;
};

// Its memory is the host's, and nobody but copy() is told so.
class StubDevice final : public DeviceMemory {
 public:
  int device() const override { return 0; }
  std::string name() const override { return "stub"; }
  Result<std::byte*> allocate(std::size_t) override { return fail(Errc::unsupported, "not needed"); }
  void release(std::byte*) override {}
  Result<> copy(const std::byte* from, std::byte* to, std::size_t size) override {
    if (size > 0) std::memcpy(to, from, size);
    return {};
  }
  Result<> settle() override { return {}; }
};

class StubTarget final : public Target {
 public:
  explicit StubTarget(std::uint64_t size) : size_(size) {}
  std::uint64_t size() const override { return size_; }
  bool mapped() const override { return true; }

 private:
  std::uint64_t size_;
};

struct Stub {
  std::deque<std::vector<std::byte>> notices;
  std::vector<std::uint64_t> under_way;
  std::set<std::uint32_t> links;
  std::vector<std::uint32_t> down;
  std::uint32_t next_link = 1;
  bool end_puts = true;
  bool refuse = false;
};

class StubMapping final : public Mapping {
 public:
  explicit StubMapping(std::size_t size) : bytes_(size) {}
  std::span<const std::byte> bytes() const override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

class StubLink final : public Link {
 public:
  explicit StubLink(Stub& stub) : stub_(stub), id_(stub.next_link++) { stub_.links.insert(id_); }
  ~StubLink() override { stub_.links.erase(id_); }
  Result<std::unique_ptr<Target>> open(const RemoteRegion& region) override {
    if (region.key != "stub") return fail(Errc::corrupt, "not a key of this fabric");
    return std::make_unique<StubTarget>(region.size);
  }
  Result<std::unique_ptr<Mapping>> map(const RemoteRegion& region) override {
    if (!region.key.starts_with("lent")) return fail(Errc::corrupt, "not a key of this fabric");
    return std::make_unique<StubMapping>(region.size);
  }
  Errc put(const Put& put) override {
    if (stub_.refuse) return Errc::would_block;
    require(put.notice.size() <= kNoticeSizeMax);
    require(put.size == 0 || put.source_offset + put.size <= put.source->memory().size);
    require(put.size == 0 || (put.target_offset <= put.target->size() && put.size <= put.target->size() - put.target_offset));
    stub_.under_way.push_back(put.token);
    return Errc::ok;
  }
  Errc notify(std::span<const std::byte> notice) override {
    require(notice.size() <= kNoticeSizeMax);
    return stub_.refuse ? Errc::would_block : Errc::ok;
  }
  std::uint32_t id() const override { return id_; }

 private:
  Stub& stub_;
  std::uint32_t id_;
};

class StubFabric final : public Fabric {
 public:
  StubFabric(Stub& stub, bool reliable, DeviceMemory* device) : stub_(stub), reliable_(reliable), device_(device) {}
  std::string_view name() const override { return "stub"; }
  std::string description() const override { return ""; }
  FabricLimits limits() const override {
    return {.put_size_max = 1u << 20, .puts_in_flight_max = 64, .reliable = reliable_};
  }
  Traffic traffic() const override { return {}; }
  DeviceMemory* device() const override { return device_; }
  std::string address() const override { return "stub"; }
  Result<std::unique_ptr<Region>> allocate(std::size_t size) override {
    return std::make_unique<StubRegion>(size, MemoryKind::host);
  }
  Result<std::unique_ptr<Region>> allocate_device(std::size_t size) override {
    return std::make_unique<StubRegion>(size, MemoryKind::cuda);
  }
  Result<std::unique_ptr<Region>> add_region(MemoryView) override {
    return fail(Errc::unsupported, "not needed");
  }
  Result<std::unique_ptr<Link>> connect(std::string_view) override {
    return std::make_unique<StubLink>(stub_);
  }
  void poll(FabricEvents* events) override {
    if (stub_.end_puts) {
      for (const std::uint64_t token : stub_.under_way) events->ended.push_back({token, Errc::ok});
      stub_.under_way.clear();
    }
    for (const auto& bytes : stub_.notices) {
      Notice& notice = events->notices.emplace_back();
      notice.size = static_cast<std::uint16_t>(bytes.size());
      std::copy(bytes.begin(), bytes.end(), notice.data.begin());
    }
    stub_.notices.clear();
    events->down = std::exchange(stub_.down, {});
  }
  int wait_fd() const override { return -1; }
  bool arm() override { return true; }

 private:
  Stub& stub_;
  bool reliable_;
  DeviceMemory* device_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kPayload = 40;
  Reader input(std::as_bytes(std::span(data, size)));
  const auto mode = input.get<std::uint8_t>();
  Stub stub;
  StubDevice device;
  const bool on_device = (mode & 8) != 0;
  StubFabric fabric(stub, (mode & 1) == 0, on_device ? &device : nullptr);
  ManualClock clock;
  const std::uint32_t window = 1u + (mode >> 4);
  Transport transport({.self = 0,
                       .peers = 3,
                       .run = 7,
                       .payload_size_max = kPayload,
                       .window = window,
                       .send_buffers_max = 8,
                       .lend_size_min = (mode & 4) != 0 ? 8 : kNeverLend,
                       .checksum = (mode & 2) != 0,
                       .memory = on_device ? MemoryKind::cuda : MemoryKind::host},
                      fabric, clock);
  Incarnation lives[3] = {1, 1, 1};
  for (PeerId peer : {1u, 2u}) {
    (void)transport.set_peer(peer, "stub", 1);
    (void)transport.open(peer, true);
  }
  struct Held {
    Arrival arrival;
    int life;  // counts set_peer() and drop_peer() of its sender
  };
  std::vector<Held> held;
  int life[3] = {};
  std::map<PeerId, std::set<Sequence>> ended;
  TransportEvents events;
  const auto poll = [&] {
    events.clear();
    transport.poll(&events);
    for (const Delivery& delivery : events.deliveries)
      // Ends of a dropped life are told before anything of the next.
      require(ended[delivery.to].insert(delivery.sequence).second);
    for (const Arrival& arrival : events.arrivals) {
      require(arrival.from == 1 || arrival.from == 2);
      require(arrival.bytes.size() <= kPayload && arrival.bytes.size() == arrival.header.used);
      require((arrival.bytes.device() != nullptr) == on_device);
      std::array<std::byte, kPayload> bytes;
      std::string why_not;
      require(copy_bytes(arrival.bytes.device(), arrival.bytes.address(), bytes.data(), arrival.bytes.size(), &why_not));
      std::uint8_t sum = 0;
      for (const std::byte byte : std::span(bytes).first(arrival.bytes.size()))
        sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(byte));
      static volatile std::uint8_t sink = 0;
      sink = sink + sum;  // every byte was read
      held.push_back({arrival, life[arrival.from]});
    }
    for (PeerId peer : {1u, 2u})
      require(std::count_if(held.begin(), held.end(), [&](const Held& h) {
                return h.arrival.from == peer && h.life == life[peer];
              }) <= window);
    for (const Fault& fault : events.faults) require(fault.peer < 3 && !fault.error.message.empty());
    (void)transport.next_deadline();
    (void)transport.drained();
  };
  while (input.left() > 0) {
    const auto op = input.get<std::uint8_t>();
    const PeerId peer = 1 + (op >> 7);
    switch (op & 15) {
      case 0: {  // plain bytes
        const auto bytes = input.bytes(std::min<std::size_t>(input.left(), input.get<std::uint8_t>() * 2u));
        stub.notices.emplace_back(bytes.begin(), bytes.end());
        break;
      }
      case 1:
      case 2: {  // a hello or an acknowledgement with a valid prefix
        Writer writer;
        writer.put<std::uint32_t>(0x43535347);
        writer.put(kWireVersion);
        writer.put<std::uint16_t>(op & 15);
        writer.put(peer);
        writer.put<Incarnation>(lives[peer] + ((op >> 4) & 1));
        writer.put<Incarnation>(1);
        if ((op & 15) == 1 && (op & 32) != 0) {  // of the right run and size
          writer.put<std::uint64_t>(7);
          writer.put<std::uint64_t>(kPayload);
        }
        writer.bytes(input.bytes(std::min<std::size_t>(input.left(), input.get<std::uint8_t>() % 80)));
        stub.notices.push_back(writer.take());
        break;
      }
      case 3: {  // a payload
        PayloadHeader header;
        header.sender = peer;
        header.incarnation = lives[peer];
        header.sequence = input.get<std::uint8_t>();
        header.used = input.get<std::uint8_t>();
        header.checksum = (op & 16) != 0 ? input.get<std::uint32_t>() : 0;
        std::vector<std::byte> notice(kPayloadHeaderSize);
        store(header, std::span<std::byte, kPayloadHeaderSize>(notice.data(), kPayloadHeaderSize));
        stub.notices.push_back(std::move(notice));
        break;
      }
      case 4: {  // a complete hello that grants a mailbox
        Writer writer;
        writer.put<std::uint32_t>(0x43535347);
        writer.put(kWireVersion);
        writer.put<std::uint16_t>(1);
        writer.put(peer);
        writer.put(lives[peer]);
        writer.put<Incarnation>(1);
        writer.put<std::uint64_t>(7);
        writer.put<std::uint64_t>(kPayload);
        writer.put<std::uint32_t>((op >> 4) & 3);
        const auto slots = input.get<std::uint8_t>();
        const auto slot_size = input.get<std::uint8_t>();
        writer.put<std::uint32_t>(slots);
        writer.put<std::uint64_t>(slot_size);
        writer.put<std::uint64_t>(1);
        writer.put<std::uint64_t>(input.get<std::uint16_t>());
        writer.text("stub");
        stub.notices.push_back(writer.take());
        break;
      }
      case 13:
      case 14: {  // a payload that is lent, in one of sixteen regions or in what is none; or the answer to one
        const bool lent = (op & 15) == 13;
        Writer writer;
        writer.put<std::uint32_t>(0x43535347);
        writer.put(kWireVersion);
        writer.put<std::uint16_t>(lent ? 3 : 4);
        writer.put(peer);
        writer.put(lives[peer]);
        writer.put<Incarnation>(1);
        if (lent) {
          PayloadHeader header;
          header.sender = peer;
          header.incarnation = lives[peer];
          header.sequence = input.get<std::uint8_t>();
          header.used = input.get<std::uint8_t>();
          std::array<std::byte, kPayloadHeaderSize> bytes;
          store(header, bytes);
          writer.bytes(bytes);
          writer.put<std::uint64_t>(input.get<std::uint8_t>());
          writer.put<std::uint64_t>(0);
          writer.put<std::uint64_t>((op & 16) != 0 ? 64 : input.get<std::uint16_t>());
          const auto region = input.get<std::uint8_t>();
          writer.text((region & 16) != 0 ? "stub" : "lent " + std::to_string(region & 15));
        } else {
          writer.put<std::uint64_t>(input.get<std::uint8_t>());
        }
        stub.notices.push_back(writer.take());
        break;
      }
      case 5:  // send, where that is allowed
        if (transport.has_credit(peer)) {
          if (auto buffer = transport.lease()) {
            PayloadHeader header;
            header.used = input.get<std::uint8_t>() % (kPayload + 1);
            transport.send(*buffer, header, {&peer, 1}, true);
          }
        }
        break;
      case 6:  // release any of what is held
        if (!held.empty()) {
          const std::size_t at = input.get<std::uint8_t>() % held.size();
          transport.release(held[at].arrival);
          held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
        }
        break;
      case 7:
        clock.advance(std::chrono::milliseconds(input.get<std::uint8_t>() * 4));
        break;
      case 8:
        stub.end_puts = (op & 16) != 0;
        break;
      case 9:
        stub.refuse = (op & 16) != 0;
        break;
      case 10:
        if (!stub.links.empty()) stub.down.push_back(*stub.links.begin());
        break;
      case 11:
      case 12:  // leaves, or comes back
        poll();
        if ((op & 15) == 11) transport.drop_peer(peer);
        poll();
        if (transport.set_peer(peer, "stub", ++lives[peer])) {
          ++life[peer];
          poll();
          ended[peer].clear();
          (void)transport.open(peer, true);
        }
        break;
      default:
        poll();
    }
  }
  poll();
  stub.end_puts = true;
  return 0;
}
