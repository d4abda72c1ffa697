// libFuzzer: what another process of this machine may do to a fabric through the memory that both map: its ring, and the words of
// the reception.
//
// Input: steps of an opcode byte each, modulo 4, with what follows it.
//   0  a message as a ring's writer would write it: kind, notice size (2), body size (2), region, offset (8), size (8); its bytes
//   1  bytes anywhere in the ring: where (4), how many, the bytes
//   2  a word in the reception: where, the word (8); and somebody has knocked
//   3  the fabric polls
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/serial.h"
#include "transports/neighbours.h"
#include "transports/neighbours_reception.h"

using namespace gossamer;

namespace {

constexpr std::size_t kRegion = 300;

template <class T>
T must(Result<T> result) {
  if (!result) std::abort();
  return std::move(*result);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto victim = must(Neighbours::make(1));
  // Memory of its own, so that a byte written past its end is seen.
  const auto region = std::make_unique<std::byte[]>(kRegion);
  victim->add_region(5, {region.get(), kRegion, MemoryKind::host});

  const std::string where = victim->address();
  Reader address(std::as_bytes(std::span(where)));
  (void)address.get<std::uint64_t>();
  DoorbellHandle victims_bell;
  SharedHandle handle;
  address.array(std::span(&victims_bell, 1));
  address.array(std::span(&handle, 1));
  SharedMemory reception_memory = must(SharedMemory::open(handle));
  auto& reception = *reinterpret_cast<ReceptionLayout*>(reception_memory.bytes().data());

  Doorbell bell = must(Doorbell::make());
  SharedMemory memory = must(SharedMemory::create(ring::kSize));
  ring::Writer writer(memory.bytes(), {.from = 2, .to = 1, .process = wire::this_process(), .bell = bell.handle()});
  if (!reception.knock(memory.handle().process, memory.handle().descriptor)) std::abort();

  FabricEvents events;
  std::size_t handed_out = 0;
  const auto poll = [&] {
    victim->poll(&events);
    for (const Notice& notice : events.notices)
      if (notice.size > kNoticeSizeMax) std::abort();
    handed_out += events.notices.size();
    if (!events.ended.empty() || !events.down.empty()) std::abort();  // it has no links
    events.clear();
  };
  Reader input(std::as_bytes(std::span(data, size)));
  bool lied = false;
  std::size_t said = 0;
  while (input.ok() && input.left() > 0) {
    switch (input.get<std::uint8_t>() % 4) {
      case 0: {
        ring::Message message{.kind = static_cast<wire::Kind>(input.get<std::uint8_t>() % 8),
                              .notice_size = static_cast<std::uint16_t>(input.get<std::uint16_t>() % (kNoticeSizeMax + 1))};
        message.body_size = static_cast<std::uint32_t>(input.get<std::uint16_t>() % (ring::kBytesMax - message.notice_size + 1));
        message.region = input.get<std::uint8_t>();
        message.offset = input.get<std::uint64_t>();
        message.size = input.get<std::uint64_t>();
        if (!input.ok() || writer.room() != Errc::ok) break;
        const std::vector<std::byte> bytes(message.notice_size + message.body_size, std::byte{0xab});
        writer.write(message, std::span(bytes).first(message.notice_size), std::span(bytes).subspan(message.notice_size));
        ++said;
        break;
      }
      case 1: {
        const std::size_t at = input.get<std::uint32_t>() % ring::kSize;
        const std::size_t count = std::min<std::size_t>(input.get<std::uint8_t>(), ring::kSize - at);
        const auto bytes = input.bytes(count);
        std::copy(bytes.begin(), bytes.end(), memory.bytes().begin() + static_cast<std::ptrdiff_t>(at));
        lied = true;
        break;
      }
      case 2: {
        auto& place = reception.places[input.get<std::uint8_t>() % reception.places.size()];
        place = input.get<std::uint64_t>();
        reception.bell = 1;
        break;
      }
      default:
        poll();
    }
  }
  poll();
  if (!lied && handed_out > said) std::abort();
  victim->remove_region(5);
  victim->close();
  return 0;
}
