// What the simulated network, machines and misfortunes are like, as plain data.
//
// docs/simulator.md documents every key of the two files, its default and the reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/result.h"

namespace gossamer::sim {

// A time that is drawn anew for every message or step.
struct Delay {
  enum class Kind : std::uint8_t { constant, uniform, exponential, lognormal };
  Kind kind = Kind::constant;
  Duration base{};   // constant: it; uniform: the least; exponential: the least, to which is added; lognormal: the median
  Duration spread{}; // uniform: the most; exponential: the mean of what is added
  double sigma = 0;  // lognormal: standard deviation of the logarithm

  Duration draw(Random& random) const;
};

struct LinkOptions {
  PeerId from = 0;
  PeerId to = 0;
  bool both_ways = true;
  std::optional<Delay> latency;
  std::optional<double> bandwidth;
  std::optional<double> loss;
};

struct StragglerOptions {
  PeerId peer = 0;
  double factor = 1;  // its steps take that much longer
};

struct NetworkOptions {
  Delay latency{.base = std::chrono::microseconds(50)};
  double bandwidth = 0;      // of each link, bytes per second; 0: no limit
  double card_bandwidth = 0; // of each peer's network card in each direction; 0: no limit
  bool in_order = true;      // what goes along one link arrives in the order in which it left
  std::size_t puts_in_flight_max = 64;  // per link
  Duration resend_after = std::chrono::milliseconds(200);  // as TransportSetup
  Delay compute{.base = std::chrono::milliseconds(10)};    // one local step
  std::optional<Delay> control;  // of a message of the control plane; none: as `latency`
  std::vector<StragglerOptions> stragglers;
  Duration clock_offset{};   // clocks show up to so much more than virtual time
  double clock_drift = 0;    // and run fast or slow by up to this fraction
  std::vector<LinkOptions> links;  // later ones win
};

struct CutOptions {
  Duration from{}, until{};   // since the start of the run
  std::vector<PeerId> peers;  // on one side; everybody else is on the other
  bool one_way = false;       // only what leaves `peers` is lost
};

struct PauseOptions {
  PeerId peer = 0;
  Duration at{};
  Duration length{};
  std::optional<Duration> restart_after;  // once it wakes and finds that the others took it for dead (elastic runs)
};

struct CrashOptions {
  PeerId peer = 0;
  Duration at{};
  std::optional<Duration> noticed_after = std::chrono::milliseconds(10);  // by the others' fabrics; none: never
  std::optional<Duration> restart_after;  // elastic runs: it comes back as its next life; none: never
};

struct FaultPlan {
  double loss = 0;       // a put or a notice vanishes; of a put any first part of its bytes may land
  double duplicate = 0;  // a notice comes twice
  double reorder = 0;    // something is held back so that later ones overtake it
  Duration reorder_delay = std::chrono::milliseconds(1);  // by up to so much
  double refuse = 0;     // put() and notify() are would_block although there is room
  // Breaks the one promise of a fabric, to prove that the checkers see it: the notice comes, the bytes did not land.
  double broken_puts = 0;
  // Says `reliable` although it loses: nothing is sent again.
  bool repair = true;
  std::vector<CutOptions> partitions;
  std::vector<PauseOptions> pauses;
  std::vector<CrashOptions> crashes;
};

Result<NetworkOptions> parse_network(std::string_view yaml, const std::string& origin);
Result<FaultPlan> parse_faults(std::string_view yaml, const std::string& origin);
Result<NetworkOptions> load_network(const std::string& path);
Result<FaultPlan> load_faults(const std::string& path);

// Every peer that is named exists.
Result<> validate(const NetworkOptions& network, const FaultPlan& faults, std::size_t peers);

// Files that parse_network() and parse_faults() read back as the same values.
std::string to_yaml(const NetworkOptions& network);
std::string to_yaml(const FaultPlan& faults);

}  // namespace gossamer::sim
