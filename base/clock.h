// Time as a dependency.
//
// Nothing below runtime/ asks the operating system for the time: it is handed a Clock, so that the
// simulator can run the same code on virtual time.
#pragma once

#include <chrono>
#include <cstdint>

namespace gossamer {

using Duration = std::chrono::nanoseconds;

// Nanoseconds since some fixed point in the past; only differences mean anything.
struct Time {
  std::int64_t ns = 0;
  friend constexpr auto operator<=>(Time, Time) = default;
  friend constexpr Time operator+(Time t, Duration d) { return {t.ns + d.count()}; }
  friend constexpr Duration operator-(Time a, Time b) { return Duration(a.ns - b.ns); }
};

constexpr double seconds(Duration d) { return static_cast<double>(d.count()) * 1e-9; }
constexpr Duration from_seconds(double s) { return Duration(static_cast<std::int64_t>(s * 1e9)); }

// Thread safety: now() may be called from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time now() const = 0;
};

// The monotonic clock of this machine.
class SteadyClock final : public Clock {
 public:
  Time now() const override;
};

// A clock that moves when told to.  Belongs to one thread.
class ManualClock final : public Clock {
 public:
  Time now() const override { return now_; }
  void advance(Duration by) { now_ = now_ + by; }
  void set(Time to) { now_ = to; }

 private:
  Time now_;
};

}  // namespace gossamer
