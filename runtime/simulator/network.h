// A network in virtual time, and the Fabric that each simulated peer has to it.
//
// What a put goes through: the sender's card (card_bandwidth, one thing after another), the link (bandwidth, one
// thing after another), the latency, the receiver's card.  Then its bytes are copied from the source, its notice
// is delivered, and one latency later the sender's fabric reports the put as ended.  A put that is lost ends at
// the same time as it would have, and the part of its bytes that lands (any first part) lands before that.
//
// Beyond the contract of transports/fabric.h nothing is shared: peers see each other only through what arrives.
//
// One thread: that of the event queue.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/random.h"
#include "runtime/simulator/events.h"
#include "runtime/simulator/network_options.h"
#include "transports/fabric.h"

namespace gossamer::sim {

// What happened to everything that left, summed over all peers.
struct NetworkCounts {
  std::uint64_t puts = 0;
  std::uint64_t notices = 0;  // without a put
  std::uint64_t lost = 0;
  std::uint64_t duplicated = 0;
  std::uint64_t reordered = 0;
  std::uint64_t refused = 0;
  std::uint64_t broken = 0;
};

class SimFabric;

class Network {
 public:
  // `wake` is called when a peer's fabric has something to poll for.  All outlive the Network.
  Network(EventQueue& queue, const NetworkOptions& options, const FaultPlan& faults, std::size_t peers,
          std::uint64_t seed, std::function<void(PeerId)> wake);
  ~Network();

  // Each call starts a new life of this peer.  The fabric must go before the network.
  std::unique_ptr<Fabric> make_fabric(PeerId peer);

  // From now on nothing leaves or reaches this peer; those linked to it see their links go down after `noticed_after`.
  void crash(PeerId peer, std::optional<Duration> noticed_after);

  // Ends every put at once, so that transports can be destroyed whatever is under way.  The queue must not run after it.
  void close();

  const NetworkCounts& counts() const { return counts_; }
  // Bytes that this peer's fabric has registered at present, and the most there ever were.
  std::size_t memory(PeerId peer) const;
  std::size_t memory_most(PeerId peer) const;
  std::size_t links(PeerId peer) const;
  // Puts and notices on their way.
  std::uint64_t under_way() const { return under_way_; }
  // Sources that were written while a put still named them: always 0, or a transport is wrong.
  std::uint64_t sources_disturbed() const { return sources_disturbed_; }

 private:
  friend class SimFabric;
  friend class SimLink;
  struct Endpoint;
  struct Flight;

  struct Path {  // of one direction between two peers
    Random random;
    Time free;          // when the link has taken what was sent so far
    Time last_arrival;  // keeps order
    const LinkOptions* special = nullptr;
  };
  Path& path(PeerId from, PeerId to);
  bool parted(PeerId from, PeerId to) const;
  void launch(std::shared_ptr<Flight> flight);
  void send_piece(const std::shared_ptr<Endpoint>& from);
  void leave(const std::shared_ptr<Flight>& flight);
  void reach(const std::shared_ptr<Flight>& flight);
  void land(const std::shared_ptr<Flight>& flight);
  void end(Flight& flight);
  void abandon(Endpoint& endpoint);
  void deliver(PeerId to, std::uint64_t life, std::span<const std::byte> notice, std::uint64_t bytes);

  EventQueue& queue_;
  const NetworkOptions& options_;
  const FaultPlan& faults_;
  bool reliable_;
  std::uint64_t seed_;
  std::function<void(PeerId)> wake_;
  std::vector<std::shared_ptr<Endpoint>> endpoints_;
  std::vector<std::shared_ptr<Endpoint>> past_;  // of earlier lives
  std::map<std::pair<PeerId, PeerId>, Path> paths_;
  NetworkCounts counts_;
  std::uint64_t lives_ = 0;
  std::uint64_t under_way_ = 0;
  std::uint64_t sources_disturbed_ = 0;
};

}  // namespace gossamer::sim
