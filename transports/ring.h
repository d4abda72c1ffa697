// A queue of messages in memory that two processes of this machine share: one writes, the other one reads.  Neither takes a
// lock, and either may be killed at any instruction.
//
// A slot holds one message, and its sequence says which: that of the message's number, from 1, stored (release) after all else
// of it.  A reader looks at one slot only, the next one, and takes it for written when it finds just that number there, so what
// a writer that died had begun is never seen, and what it had finished is.  The reader says how many it has taken; the
// writer looks there only when all slots seem taken, so a message costs one transfer of a line between two processors.
//
// Neither believes the other.  A number in a slot that is neither the last lap's nor this one's, sizes that do not fit, a count of
// messages taken that are more than were written: the ring is corrupt, and whoever sees it breaks the link.  What the other one
// has is a mapping that he may scribble over at any time, so fields are copied out once and then checked.
//
// Each of both belongs to one thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/result.h"
#include "transports/doorbell.h"
#include "transports/fabric.h"
#include "transports/wire.h"

namespace gossamer::ring {

inline constexpr std::size_t kSlots = 128;
inline constexpr std::size_t kBytesMax = 536;  // of notice and body in one message
static_assert((kSlots & (kSlots - 1)) == 0 && kBytesMax >= kNoticeSizeMax);

struct Message {
  wire::Kind kind = wire::Kind::notice;
  std::uint16_t notice_size = 0;
  std::uint32_t body_size = 0;  // bytes for a region, behind the notice
  std::uint64_t region = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};
static_assert(sizeof(Message) == 32 && std::has_unique_object_representations_v<Message>);

// Who writes, and to whom; written before anybody is told of the ring.
struct Introduction {
  std::uint64_t magic = kMagic;
  std::uint64_t from = 0, to = 0;  // nonces of the fabrics
  wire::Process process;           // the writer's
  DoorbellHandle bell;             // the writer's

  static constexpr std::uint64_t kMagic = 0x3147'4e49'5246'5347;  // "GSFRING1"
};
static_assert(std::has_unique_object_representations_v<Introduction>);

enum class Verdict : std::uint32_t { none, taken, refused, corrupt };

struct alignas(64) Slot {
  std::atomic<std::uint64_t> sequence;
  Message message;
  std::array<std::byte, kBytesMax> bytes;
};
static_assert(sizeof(Slot) == 576);

// What is written by different sides, or at different times, lies in different lines.
struct Layout {
  Introduction introduction;
  alignas(64) std::atomic<std::uint32_t> wants_room;  // the writer's, taken back by the reader
  alignas(64) std::atomic<std::uint64_t> taken;       // the reader's
  alignas(64) std::atomic<Verdict> verdict;           // the reader's
  std::array<Slot, kSlots> slots;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<Verdict>::is_always_lock_free);
inline constexpr std::size_t kSize = sizeof(Layout);

class Writer {
 public:
  // Of zeroed memory that nobody reads yet, `kSize` bytes at the alignment of a page; it outlives this.
  Writer(std::span<std::byte> memory, const Introduction& introduction);

  // would_block: all slots are taken; the reader will ring when one is free.  corrupt: the reader has written nonsense.
  Errc room() { return written_ - taken_ < kSlots ? Errc::ok : look_for_room(); }
  // After room() said ok.  Notice and body must be of the sizes that the message says, and fit into kBytesMax.  The reader may sleep: ring.
  void write(const Message& message, std::span<const std::byte> notice, std::span<const std::byte> body) {
    Slot& slot = layout_->slots[written_ % kSlots];
    slot.message = message;
    std::byte* const to = slot.bytes.data();
    if (!notice.empty()) std::memcpy(to, notice.data(), notice.size());
    if (!body.empty()) std::memcpy(to + notice.size(), body.data(), body.size());
    // Not one sequentially consistent step: the reader spins on this line, and it has to change at once.
    slot.sequence.store(++written_, std::memory_order_release);
  }

  std::uint64_t written() const { return written_; }
  Verdict verdict() const { return layout_->verdict.load(); }

 private:
  Errc look_for_room();
  Errc look();

  Layout* layout_;
  std::uint64_t written_ = 0, taken_ = 0;
};

class Reader {
 public:
  explicit Reader(std::span<std::byte> memory) : layout_(reinterpret_cast<Layout*>(memory.data())) {}

  // A copy; nothing in it is believed.
  Introduction introduction() const;
  Verdict verdict() const { return layout_->verdict.load(); }
  void judge(Verdict verdict) { layout_->verdict.store(verdict); }

  // Whether look() has something to say.
  bool pending() const { return slot().sequence.load() != last_lap(); }
  // ok: the next message; its `bytes` are notice_size and then body_size bytes of shared memory, to be copied out once.
  // would_block: there is none.  corrupt: as above, for good.
  Errc look(Message* message, std::span<const std::byte>* bytes) const {
    const Slot& next = slot();
    const std::uint64_t sequence = next.sequence.load(std::memory_order_acquire);
    if (sequence == last_lap()) return Errc::would_block;
    if (sequence != read_ + 1) return Errc::corrupt;
    *message = next.message;
    read_once();
    if (message->notice_size > kNoticeSizeMax || message->body_size > kBytesMax - message->notice_size) return Errc::corrupt;
    *bytes = std::span(next.bytes).first(message->notice_size + message->body_size);
    return Errc::ok;
  }
  // It has been copied out.
  void done() { ++read_; }

  // Tells the writer how many slots are free; true when it waits to hear that, and has to be rung.  `surely`: finds out even if
  // the writer has said so in this moment; else a writer that looks again in vain may be missed, and the next call that is sure
  // tells.
  bool give_room(bool surely) {
    layout_->taken.store(read_, std::memory_order_release);
    if (surely) std::atomic_thread_fence(std::memory_order_seq_cst);
    return layout_->wants_room.load(std::memory_order_relaxed) != 0 && layout_->wants_room.exchange(0) != 0;
  }

 private:
  // What was read of shared memory before this is not read a second time after it.
  static void read_once() { std::atomic_signal_fence(std::memory_order_seq_cst); }
  const Slot& slot() const { return layout_->slots[read_ % kSlots]; }
  std::uint64_t last_lap() const { return read_ < kSlots ? 0 : read_ + 1 - kSlots; }

  Layout* layout_;
  std::uint64_t read_ = 0;
};

}  // namespace gossamer::ring
