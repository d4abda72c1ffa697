// The collector's book: who has come, who is refused and why, who is missing, and the roster at the end.
//
// No input or output; belongs to one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "runtime/control/addresses.h"
#include "runtime/control/control.pb.h"

namespace gossamer::control {

inline constexpr std::uint32_t kProtocol = 2;
// A transport's address is opaque, but it has to fit a frame.
inline constexpr std::size_t kTransportAddressLimit = std::size_t{96} << 10;

// "2", "2 and 5", "2-7, 9 and 40 more"; in ascending order.
std::string list_ranks(const std::vector<PeerId>& ranks);

// Why this joiner does not fit the run that `own` joins; empty where it does.  `whom` it was compared with is for the words.
std::optional<wire::Refusal> misfit(const wire::Join& own, const wire::Join& join, std::string_view whom);

class Gathering {
 public:
  // Where a joiner's connection came from, and which of our addresses it had called.
  struct Arrival {
    IpAddress from;
    IpAddress to;
  };

  // `own` is the collector's own Join; every other one must agree with it.
  explicit Gathering(wire::Join own);

  // Empty where the joiner is taken.
  std::optional<wire::Refusal> add(const wire::Join& join, const Arrival& arrival);
  // Its connection ended before all were there: its place is free again.
  void remove(std::uint64_t instance);

  bool complete() const { return entries_.size() == own_.peers(); }
  // "rank 2", "ranks 2 and 5", "2 peers of any rank".
  std::string missing() const;
  // What the deadline's error says.
  std::string report() const;

  // Once complete.  Gives ranks to those that asked for none, in the order in which they came, and decides by which
  // address each one is reached.  unsupported: a peer cannot be reached by another one.
  Result<wire::Roster> roster(std::uint64_t run) const;

 private:
  struct Entry {
    wire::Join join;
    Arrival arrival;  // unspecified in the collector's own
  };

  const wire::Join own_;
  std::vector<Entry> entries_;  // in the order of arrival; the first is our own
  std::vector<std::string> refused_;
};

// "rank 3 (host a, pid 12)", as log lines and errors name a joiner.
std::string describe(const wire::Join& join);

}  // namespace gossamer::control
