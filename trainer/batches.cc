#include "trainer/batches.h"

#include <algorithm>

#include "base/check.h"
#include "base/random.h"

namespace gossamer {

Batches::Batches(std::vector<std::uint32_t> shard, std::size_t batch_size, PeerId peer, std::uint64_t seed)
    : shard_(std::move(shard)),
      batch_size_(std::min(batch_size, shard_.size())),
      peer_(peer),
      seed_(seed),
      order_(shard_.size()) {
  GOSSAMER_CHECK(batch_size_ > 0, "a shard holds samples, and so does a batch");
  shuffle(0);
}

void Batches::shuffle(std::uint64_t epoch) {
  std::copy(shard_.begin(), shard_.end(), order_.begin());
  Random(seed_, Purpose::batch_order, peer_, epoch).shuffle(order_);
  epoch_ = epoch;
}

std::span<const std::uint32_t> Batches::at(std::uint64_t step) {
  if (const std::uint64_t epoch = step / steps_per_epoch(); epoch != epoch_) shuffle(epoch);
  return std::span(order_).subspan(step % steps_per_epoch() * batch_size_, batch_size_);
}

}  // namespace gossamer
