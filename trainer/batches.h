// Which samples are in the batch of a step.  Internal to trainer/.
//
// Every epoch is a fresh permutation of the shard, keyed by (seed, peer, epoch), cut into whole batches.
// What is left behind the last whole batch sits that epoch out; the next permutation leaves out others.  A
// shard smaller than the batch is one batch.
//
// Belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"

namespace gossamer {

class Batches {
 public:
  // The shard is not empty, and batch_size not 0.
  Batches(std::vector<std::uint32_t> shard, std::size_t batch_size, PeerId peer, std::uint64_t seed);

  // The same for the same step, whatever was asked before.  Valid until the next call; steps in order cost no
  // allocation and one shuffle per epoch.
  std::span<const std::uint32_t> at(std::uint64_t step);

  std::size_t batch_size() const { return batch_size_; }
  std::uint64_t steps_per_epoch() const { return shard_.size() / batch_size_; }
  std::uint64_t samples() const { return shard_.size(); }

 private:
  void shuffle(std::uint64_t epoch);

  std::vector<std::uint32_t> shard_;
  std::size_t batch_size_;
  PeerId peer_;
  std::uint64_t seed_;
  std::vector<std::uint32_t> order_;  // of epoch_
  std::uint64_t epoch_ = 0;
};

}  // namespace gossamer
