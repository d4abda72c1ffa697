// The control plane: how the processes of one run find each other, start together, say small things to each
// other and notice who is gone.
//
// Each peer owns one Control.  It listens on a port, joins the run by the address of any one other peer,
// exchanges the transports' addresses, and then watches the next peers in rank order by heartbeats, so that the cost
// per peer does not grow with the run.  docs/control-plane.md tells the life of a peer.
//
// Lives: the first life of every rank has incarnation 1.  Where the run is elastic a rank that is gone may be started
// again, and comes to the running run as its next incarnation.
//
// Threads: a Control runs one thread of its own.  Every member function may be called from any thread and
// at the same time as any other, except the destructor.
// Time: no call blocks beyond the deadline that it was given; one without a deadline does not block.  (start() may
// look up the rendezvous' name, which takes as long as the resolver of the machine allows.)
// Ordering: what one peer sends to another arrives in order and once while both live.  There is no
// order between different senders.  Of one rank, what this peer takes alternates: the death of a life, the return
// as the next one, its messages, its death (but for lives that ended before this peer heard of them).  No message crosses from one life to another, in either direction.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/result.h"

namespace gossamer {

struct ControlOptions {
  std::optional<PeerId> rank;  // empty: any free one, assigned at join
  std::size_t peers = 1;       // of the whole run

  // host:port of any one peer of the run.  Empty, or this peer's own address: it collects the others.  Where
  // rank 0 finds that the host is this machine and `port` is 0, it listens there and collects: so one
  // address can be given to all peers (as torchrun and Slurm do).
  std::string rendezvous;

  // What to listen on and tell the others: an interface ("eth0"), an address, or a host name.  Empty: listen
  // everywhere, tell the address that the others are reached from.
  std::string host;
  std::uint16_t port = 0;  // 0: any free one

  std::uint64_t run_hash = 0;    // peers with another one run something else and are refused
  std::string software_version;  // likewise
  bool elastic = false;          // peers that are gone may be started again and join the running run; equal at all peers

  Duration join_deadline = std::chrono::seconds(60);
  Duration heartbeat = std::chrono::seconds(1);
  Duration silence_deadline = std::chrono::seconds(10);  // after how long without a word a peer is taken for dead

  // Bounds of memory.  One message may exceed either; it then travels alone.
  std::size_t send_limit = std::size_t{256} << 20;   // bytes waiting for one peer; then send() says would_block
  std::size_t inbox_limit = std::size_t{256} << 20;  // bytes not yet received; then senders are held back
};

struct Roster {
  struct Entry {
    PeerId rank = 0;
    std::string host;     // the machine's name: equal for peers of one machine
    std::string address;  // where its control port is reached
    std::uint16_t control_port = 0;
    std::int64_t pid = 0;
    Incarnation incarnation = 0;
    std::string transport_address;
    bool alive = true;  // false: dead or left when this roster was made
  };
  PeerId self = 0;
  std::vector<Entry> peers;  // the entry of rank r is peers[r]
  bool started = false;      // this peer came to a run that was under way
};

struct Message {
  PeerId from = 0;
  std::string topic;
  std::string bytes;
};

struct Death {
  enum class How : std::uint8_t {
    connection_reset,  // its connections ended without a farewell, as they do when a process is killed
    silence,           // it did not answer for the silence deadline: stopped, or its host or network is gone
    process_ended,     // nobody listens on its port any more
    broke_protocol,    // it sent what no peer sends
  };
  PeerId rank = 0;
  std::string host;
  std::int64_t pid = 0;
  Duration silent{};  // time from its last sign of life until it was found dead
  How how = How::connection_reset;
  PeerId witness = 0;           // who noticed
  Incarnation incarnation = 0;  // of the life that ended
};

std::string_view name(Death::How how);

class Control {
 public:
  // Begins to listen.  address_in_use where the port is taken.  `log` outlives the Control.
  static Result<std::unique_ptr<Control>> start(ControlOptions options, Log& log);

  // Without leave() before it this is a crash to the others.
  ~Control();

  // host:port to hand to other peers as their rendezvous.
  std::string address() const;

  // Blocks until all peers are there; or, where the run is elastic and under way, until the earlier life of this
  // rank is known to be gone (without a rank: until that of any one is).  After the join deadline: timed_out, and the
  // sentence names the ranks that never came and whom the collector refused, or the earlier life.  Refused: version
  // (other software or another run file), invalid_argument (rank taken or too large), unsupported (the run has
  // started already, and is not elastic).
  // `transport_address` is opaque and may hold anything.  Call once.
  Result<Roster> join(std::string transport_address);

  // Returns when every peer that lives and has not left is at the barrier of that name, too.  A name may be used
  // again: its k-th use here meets its k-th use elsewhere.  After the deadline: timed_out, naming who is missing.
  // A peer that came to a run under way counts at every barrier that was not open yet when it came, and its first
  // use of a name meets the others' first one that was not.
  Result<> barrier(std::string_view name, Duration deadline);

  // Queues a message of up to 4 GiB; the topic has at most 255 bytes.  would_block: `send_limit` bytes wait for that
  // peer already, and nothing was queued.  peer_gone: it died or left, and no return of it was taken yet.  A message to
  // oneself is delivered, too.
  Result<> send(PeerId to, std::string_view topic, std::string bytes);

  // Takes the messages that are here, of one topic where it is given.  Waits up to `deadline` for the first one,
  // less where a death or a return is to be taken or this peer was expelled.
  std::vector<Message> receive(Duration deadline = {});
  std::vector<Message> receive(std::string_view topic, Duration deadline);

  // Takes the deaths noticed since the last call; each is reported once.  A peer that left is no death.  Where the run is
  // elastic, the death of a life that returned() has not told yet waits for that.  A life that ended (or left) before this peer
  // heard of it is a death without a return, with pid 0.
  std::vector<Death> deaths();

  // Takes the peers that returned since the last call: each life once, in the order in which they came, with its
  // incarnation, address, pid and transport address.  From then on send() reaches the new life and what it sent
  // can be received; what the old life sent and nobody received is dropped.  A return waits until the death
  // of the earlier life was taken, so call deaths() first.
  std::vector<Roster::Entry> returned();

  // The ranks that left, so far, and did not return.
  std::vector<PeerId> departed() const;

  // An error where this peer cannot go on: the others took it for dead (it was stopped, or cut off), or its
  // thread failed.
  Result<> standing() const;

  // Readable while a message, a death or a return is to be taken, and once standing() is an error.  For poll(); never
  // read it.
  int wake_fd() const;

  // Waits until everything sent has arrived, tells the others, and closes.  They see that this peer left.  A join() that
  // is under way ends (interrupted).
  // timed_out: not all of that was possible within the deadline; it is closed nevertheless.
  Result<> leave(Duration deadline);

 private:
  class Impl;
  explicit Control(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gossamer
