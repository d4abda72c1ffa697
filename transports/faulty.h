// A fabric that misbehaves on purpose, over any other fabric.
//
// Decorates a Fabric and does to its traffic what bad networks and dying peers do.  Every decision is a pure
// function of the seed and the order of calls, so a failing test is run again by its seed.  Delays are
// counted in calls of poll(), never in time.
//
// Peers may be decorated on one side or on both.  Cut puts need the receiver decorated too (see cut_put).
//
// A FaultyFabric and everything made from it belong to one thread, the one that polls.
#pragma once

#include <cstdint>
#include <memory>

#include "transports/fabric.h"

namespace gossamer {

// Probabilities are in 0..1 and drawn for each event on its own.
struct FaultOptions {
  std::uint64_t seed = 1;

  // What a reliable fabric may do.
  double refuse = 0;        // put() and notify() are would_block although there is room
  double delay_ended = 0;   // an Ended is handed out some polls late
  double delay_notice = 0;  // a notice is handed out some polls late, and later ones overtake it
  unsigned delay_polls_max = 8;
  double reorder = 0;  // the notices of one poll are shuffled
  // A put breaks off: the first part of its bytes lands, no notice comes, it ends with peer_gone, and its
  // link goes down.  The receiver's decorator swallows the marker that travels instead of the notice.
  double cut_put = 0;

  // What only an unreliable one may do; any of these makes limits().reliable false.
  double drop_put = 0;          // nothing lands and no notice comes, though the put ends with ok
  double drop_notice = 0;       // a bare notice vanishes
  double duplicate_notice = 0;  // a notice comes twice, the second one some polls later
};

// How often each fault was done; a test that expects to have met one looks here.
struct FaultCounts {
  std::uint64_t refused = 0;
  std::uint64_t delayed = 0;
  std::uint64_t reordered = 0;
  std::uint64_t cut = 0;
  std::uint64_t dropped = 0;
  std::uint64_t duplicated = 0;
};

class FaultyFabric final : public Fabric {
 public:
  FaultyFabric(std::unique_ptr<Fabric> inner, const FaultOptions& options);
  ~FaultyFabric() override;

  // From now on nothing leaves and nothing is handed out, as if the process were stopped or its cable pulled.
  // Puts and notices are taken up to the usual limits and wait.
  void go_silent();
  // What waited in both directions goes on.
  void resume();
  // The link with this id refuses everything from now on, as if its connection had been reset.
  void take_down(std::uint32_t link);
  // Other faults from now on; the stream of random numbers goes on.
  void set_options(const FaultOptions& options);

  const FaultCounts& counts() const;

  std::string_view name() const override;
  std::string description() const override;
  FabricLimits limits() const override;
  Traffic traffic() const override;
  DeviceMemory* device() const override;
  std::string address() const override;
  Result<std::unique_ptr<Region>> allocate(std::size_t size) override;
  Result<std::unique_ptr<Region>> allocate_device(std::size_t size) override;
  Result<std::unique_ptr<Region>> add_region(MemoryView memory) override;
  Result<std::unique_ptr<Link>> connect(std::string_view address) override;
  void poll(FabricEvents* events) override;
  int wait_fd() const override;
  bool arm() override;

  struct State;  // shared with the links

 private:
  std::shared_ptr<State> state_;
};

}  // namespace gossamer
