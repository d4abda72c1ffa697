// The state machine behind Control.  Everything here runs on the control thread, except the constructor, listen() and
// address(), which come before it.
//
// Connections: a peer that wants to say something to another one opens a connection to it (its `out`); the other
// answers on the same one (its `in`).  So between two peers there are at most two, and neither has to be
// negotiated.  The next kWatched living peers in rank order are always connected: they are asked for signs of life.  Who
// is dead, has left or returned is passed along the ring of these connections, and told to each new one.
//
// Lives: of each rank the latest known life counts, and for that its end; so it does not matter in which order, or how
// often, the news of them comes.  A connection belongs to one life of either side.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "runtime/control/addresses.h"
#include "runtime/control/control.h"
#include "runtime/control/control.pb.h"
#include "runtime/control/gathering.h"
#include "runtime/control/ledger.h"
#include "runtime/control/link.h"
#include "runtime/control/mailbox.h"
#include "runtime/control/news.h"

namespace gossamer::control {

inline constexpr std::size_t kWatched = 3;
// Bytes sent to one peer and not yet taken in by it.
inline constexpr std::uint64_t kWindow = std::uint64_t{4} << 20;
inline constexpr std::uint64_t kMessageLimit = std::uint64_t{4} << 30;
inline constexpr std::size_t kTopicLimit = 255;
// How long the last words on a connection may take.
inline constexpr Duration kFarewellPatience = std::chrono::seconds(2);

class Node final : public Link::Owner {
 public:
  using Done = std::function<void(Result<>)>;
  using Joined = std::function<void(Result<Roster>)>;

  Node(boost::asio::io_context& io, ControlOptions options, Log& log, Mailbox& mailbox, Ledger& ledger);
  ~Node();

  Result<> listen();
  std::string address() const;

  void begin();  // accepts, and starts the heartbeat
  void join(std::string transport_address, Joined done);
  void barrier(const std::string& name, Duration deadline, Done done);
  void send(PeerId to, Incarnation life, std::string topic, std::shared_ptr<const std::string> bytes);
  void drained();
  void leave(Duration deadline, Done done);
  void stop();  // ends all connections at once

 private:
  using Instant = std::chrono::steady_clock::time_point;
  using Tcp = boost::asio::ip::tcp;
  using LinkPtr = std::shared_ptr<Link>;
  using Timer = boost::asio::steady_timer;

  enum class State : std::uint8_t { idle, seeking, collecting, member, leaving, over, closed };
  enum class Life : std::uint8_t { alive, left, dead };

  struct OutMessage {
    std::string topic;
    std::shared_ptr<const std::string> bytes;
    std::uint64_t offset = 0;
  };
  struct Unacked {
    std::uint64_t end = 0;   // of the message, in `sent`
    std::size_t cost = 0;    // in the ledger
  };
  struct Peer {  // its latest known life
    Roster::Entry entry;
    std::uint64_t instance = 0;
    bool loopback_only = false;
    Life life = Life::alive;
    Instant heard;
    bool watched = false;

    LinkPtr in;
    LinkPtr out;
    bool wanted = false;  // `out` is there, or being made
    bool ready = false;   // `out` was welcomed
    std::optional<Instant> refused;  // since when nobody listens there
    std::unique_ptr<Timer> retry;
    std::uint64_t told = 0;  // what news_ has up to here was sent there
    std::deque<wire::Frame> early;  // to be said as soon as `out` is ready

    std::deque<OutMessage> outbox;
    std::deque<Unacked> unacked;
    std::uint64_t sent = 0;

    std::uint64_t acked = 0;
    std::string assembly;
    std::string assembly_topic;
    bool assembling = false;
    std::uint64_t taken = 0;  // of what it sent to us
    bool owes_ack = false;
  };
  struct Returner {
    LinkPtr link;
    wire::Join join;
  };
  struct Parked {
    LinkPtr link;
    wire::Frame frame;
  };
  struct Barrier {
    std::set<PeerId> arrived;  // as far as the coordinator knows
    std::string missing;       // as the coordinator said last
    Done done;                 // where this peer waits
    std::unique_ptr<Timer> timer;
  };

  // Link::Owner
  void frame(Link& link, wire::Frame& frame, std::string& payload) override;
  void malformed(Link& link, const std::string& why) override;
  void closed(Link& link, Link::Ending how) override;
  void idle(Link& link) override;

  // node.cc: listening, the tick, and who a link is
  Result<> bind(const Tcp::endpoint& endpoint, bool dual);
  void accept();
  void tick();
  void run_tick();
  void frame_from_stranger(Link& link, wire::Frame& frame);
  void frame_from_opener(Link& link, wire::Frame& frame, std::string& payload);
  void frame_from_acceptor(Link& link, wire::Frame& frame);
  void frame_from_either(Link& link, wire::Frame& frame);
  void refuse(Link& link, wire::Refusal::Code code, const std::string& why);
  void say_no(Link& link, wire::Refusal::Code code, const std::string& why);
  void park(Link& link, const wire::Frame& frame);
  void unpark();
  LinkPtr adopt(Tcp::socket socket, std::size_t body_limit, Link::Role role);
  std::string remote_name(const Link& link) const;

  // node_join.cc and node_seek.cc: until the roster is there
  wire::Join own_join() const;
  void collect();
  void on_join(Link& link, const wire::Join& join);
  void gather_complete();
  void gather_failed(wire::Refusal::Code code, const Error& error);
  void tell_waiting();
  void seek();
  void seek_at(HostPort target);
  void expect_answer(Duration patience);
  void seek_connected(const HostPort& target, Tcp::socket socket);
  void seek_again(const std::string& why);
  void frame_from_collector(Link& link, wire::Frame& frame);
  void on_redirect(const wire::Redirect& redirect);
  void join_deadline();
  void join_failed(Error error);
  Result<> become_member(const wire::Roster& roster, LinkPtr collector);

  // node_return.cc: peers that come to a run under way
  std::optional<PeerId> admitter() const;
  void on_return(Link& link, const wire::Join& join);
  void admit_waiting();
  bool admit(const Returner& returner);
  void let_in(PeerId rank, const LinkPtr& link);
  Result<std::string> address_of(const wire::Join& join, const Link& link) const;
  std::string address_for(const Link& asker, const Peer& peer) const;
  std::vector<std::string> living_for(const Link& asker, PeerId head) const;
  std::string obstacle(const wire::Join& join) const;
  void send_on(Link& link);
  void tell_returner(const Returner& returner);
  void on_changes(const wire::Changes& changes);
  void on_departure(const wire::Departure& departure);
  void on_arrival(const wire::Arrival& arrival);
  void arrive(const wire::Arrival& arrival, const LinkPtr& link);
  void detach(LinkPtr& link);

  // node_invite.cc: the run is found again where it was once collected
  void invite();
  void invite_at(const Tcp::endpoint& endpoint);
  void on_invitation(Link& link, const wire::Invitation& invitation);

  // node_links.cc: connections between peers, life and death
  void open(PeerId rank);
  void connect(PeerId rank);
  void open_again(PeerId rank, const std::string& why, bool refused);
  void on_hello(Link& link, const wire::Hello& hello);
  void on_welcome(Link& link, const wire::Welcome& welcome);
  void out_ready(PeerId rank);
  void tell(PeerId rank, const wire::Frame& frame);
  std::vector<PeerId> next_living(int direction) const;
  std::set<PeerId> neighbours() const;
  void watch();
  void check_silence();
  void notice(PeerId rank, wire::Departure::Kind kind);
  void say(const std::string& line);
  void depart(const wire::Departure& departure);
  void send_news(Link& link, std::uint64_t told);
  void tell_news(PeerId rank);
  void spread_news();
  Link* usable(const Peer& peer) const;
  void expel(const std::string& why);
  bool member() const { return state_ == State::member || state_ == State::leaving; }
  Incarnation life() const { return peers_[self_].entry.incarnation; }

  // node_leave.cc
  void check_leave();
  void say_farewell();
  void left(Result<> result);

  // node_messages.cc
  void pump(PeerId rank);
  void on_chunk(Link& link, const wire::Chunk& chunk, std::string& payload);
  void on_ack(Link& link, const wire::Ack& ack);
  void acknowledge(Peer& peer);

  // node_barrier.cc
  PeerId coordinator() const;
  void arrive(const std::string& key);
  void on_arrive(PeerId from, const wire::Arrive& arrive);
  void open_if_all_arrived(const std::string& key);
  void barrier_open(const std::string& key);
  void barriers_changed(PeerId rank, PeerId coordinator_before);
  void tell_barriers();
  std::string missing_at(const Barrier& barrier) const;
  void fail_barriers(const Error& error);

  boost::asio::io_context& io_;
  const ControlOptions options_;
  Log& log_;
  Mailbox& mailbox_;
  Ledger& ledger_;
  const std::uint64_t instance_;
  const std::string machine_;

  Tcp::acceptor acceptor_;
  Timer accept_again_;
  Timer ticker_;
  Instant last_tick_;
  Listening listening_;
  std::uint16_t port_ = 0;
  HostPort rendezvous_;
  bool rendezvous_on_loopback_ = false;
  std::vector<IpAddress> rendezvous_addresses_;  // what its name meant when this peer started
  bool collector_ = false;  // knows that it is

  State state_ = State::idle;
  std::set<LinkPtr> links_;
  std::vector<Parked> parked_;

  // Joining
  std::string transport_address_;
  Joined joined_;
  Timer join_timer_;
  std::unique_ptr<Gathering> gathering_;
  std::map<std::uint64_t, LinkPtr> joiners_;  // by instance
  Tcp::resolver resolver_;
  Timer attempt_timer_;
  Timer backoff_timer_;
  std::uint64_t attempt_ = 0;
  std::size_t failures_ = 0;
  std::set<std::uint64_t> asked_;   // instances that redirected us in this attempt
  HostPort asking_;
  LinkPtr seeking_;
  std::vector<HostPort> living_;  // of a run under way: peers to ask where the rendezvous does not answer
  std::size_t turn_ = 0;          // which of them is asked
  bool accepted_ = false;
  bool under_way_ = false;        // it was a run under way that accepted this peer
  std::string missing_;
  std::string last_failure_;
  bool rendezvous_taken_ = false;  // rank 0 found its own rendezvous in use

  // Member
  std::uint64_t run_ = 0;
  PeerId self_ = 0;
  std::vector<Peer> peers_;
  News news_;
  std::optional<wire::Arrival> arrival_;  // this peer's own, where it came to a run under way
  std::uint64_t pings_ = 0;

  std::shared_ptr<Tcp::socket> inviting_;  // is being connected to the rendezvous
  Instant invited_;                        // when that began
  std::vector<Returner> returners_;  // wait here to be let in, in the order in which they came

  std::map<std::string, Barrier> barriers_;
  std::map<std::string, std::uint64_t> barrier_uses_;    // by this peer
  std::map<std::string, std::uint64_t> barrier_opened_;  // so many uses of the name
  std::deque<std::string> passed_;

  // Leaving
  Done leave_done_;
  Timer leave_timer_;
  Instant leave_until_;
  bool farewell_said_ = false;
  std::uint64_t farewell_ = 0;  // news_ before it
  std::set<PeerId> told_farewell_;
};

std::string_view word(wire::Departure::Kind kind);
Death::How how_of(wire::Departure::Kind kind);
// Replaces those that one has heard of before, if there are any new ones.
void hear_of(const google::protobuf::RepeatedPtrField<std::string>& addresses, std::vector<HostPort>& living);
Roster::Entry entry_of(const wire::Member& member);
// Can there be such a member in a run of so many peers?
bool plausible(const wire::Member& member, std::size_t peers);

}  // namespace gossamer::control
