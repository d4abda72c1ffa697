#include "transports/ring.h"

#include "base/check.h"

namespace gossamer::ring {

Writer::Writer(std::span<std::byte> memory, const Introduction& introduction) : layout_(reinterpret_cast<Layout*>(memory.data())) {
  GOSSAMER_CHECK(memory.size() >= kSize, "a ring needs all of its memory");
  std::memcpy(&layout_->introduction, &introduction, sizeof introduction);
}

Errc Writer::look() {
  const std::uint64_t taken = layout_->taken.load();
  if (taken < taken_ || taken > written_) return Errc::corrupt;
  taken_ = taken;
  return written_ - taken_ < kSlots ? Errc::ok : Errc::would_block;
}

Errc Writer::look_for_room() {
  if (const Errc status = look(); status != Errc::would_block) return status;
  layout_->wants_room.store(1);  // sequentially consistent, as is what follows: one of both sees what the other one has said
  return look();
}

Introduction Reader::introduction() const {
  Introduction copy;
  std::memcpy(&copy, &layout_->introduction, sizeof copy);
  read_once();
  return copy;
}

}  // namespace gossamer::ring
