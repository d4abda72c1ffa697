// Virtual time: a queue of what is still to happen, and the clocks that read it.
//
// Events run one after another on the caller's thread, in the order of (time, sequence number), where the sequence
// number is that of at().  So a run is a pure function of its seed, and the trace proves it: whoever does something
// records it, and two runs are the same when their hashes are.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <queue>
#include <vector>

#include "base/clock.h"

namespace gossamer::sim {

// A hash over everything recorded, in order.
class Trace {
 public:
  void record(std::initializer_list<std::uint64_t> words) {
    for (const std::uint64_t word : words) {
      hash_ = (hash_ ^ word) * 0x9E3779B97F4A7C15u;
      hash_ ^= hash_ >> 29;
    }
  }
  std::uint64_t hash() const { return hash_; }

 private:
  std::uint64_t hash_ = 0x243F6A8885A308D3u;
};

class EventQueue {
 public:
  // Time starts at one second, so that a clock never reads zero.
  static constexpr Time kStart{1'000'000'000};
  static constexpr Time kNever{std::numeric_limits<std::int64_t>::max()};

  Time now() const { return now_; }
  // Times in the past mean now.
  void at(Time when, std::function<void()> what) {
    queue_.push({when < now_ ? now_ : when, next_++, std::move(what)});
  }

  bool empty() const { return queue_.empty(); }
  std::uint64_t executed() const { return executed_; }
  Time next() const { return queue_.top().when; }

  // Runs the next event.  REQUIRES: not empty.
  void step() {
    // The queue only shows its top as const; the function leaves it, and the order does not look at it.
    Event& top = const_cast<Event&>(queue_.top());
    const std::function<void()> what = std::move(top.what);
    now_ = top.when;
    queue_.pop();
    ++executed_;
    what();
  }

  Trace& trace() { return trace_; }
  const Trace& trace() const { return trace_; }

 private:
  struct Event {
    Time when;
    std::uint64_t sequence = 0;
    std::function<void()> what;
    bool operator<(const Event& other) const {
      return when != other.when ? when > other.when : sequence > other.sequence;
    }
  };

  Time now_ = kStart;
  std::uint64_t next_ = 0;
  std::uint64_t executed_ = 0;
  std::priority_queue<Event> queue_;
  Trace trace_;
};

// What one peer's clock shows: virtual time, offset and running fast or slow by `drift` (2e-5 is 20 ppm).
class PeerClock final : public Clock {
 public:
  PeerClock(const EventQueue& queue, Duration offset, double drift) : queue_(queue), offset_(offset), drift_(drift) {}

  Time now() const override { return shown(queue_.now()); }
  Time shown(Time virtual_time) const {
    return virtual_time + offset_ + Duration(static_cast<std::int64_t>(static_cast<double>(virtual_time.ns) * drift_));
  }
  // The first virtual time at which this clock shows `local` or later; none for times that no clock reaches.
  Time when(Time local) const;

 private:
  const EventQueue& queue_;
  Duration offset_;
  double drift_;
};

}  // namespace gossamer::sim
