// How a peer finds whom to join.
//
// A joiner calls the rendezvous.  A peer that is not the collector answers with its own rendezvous, and so on, until the
// collector is found.  When peers name each other in a circle the joiner comes back to itself; then the peer of the
// circle with the smallest instance number collects, and each member of the circle comes to the same result.
//
// A peer that returns to a run under way seeks in the same way, and is sent to the peer that may let it in
// (node_return.cc).  Where nobody answers there, it asks others of whom it has heard.
#include <algorithm>
#include <boost/asio/connect.hpp>

#include "runtime/control/node.h"

namespace gossamer::control {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr Duration kAttemptPatience = std::chrono::seconds(3);
constexpr std::string_view kNeedsLiving = "to return to a running run, a peer needs the address of one that lives";
constexpr auto kFirstBackoff = std::chrono::milliseconds(20);
constexpr auto kLastBackoff = std::chrono::milliseconds(500);

Errc code_of(wire::Refusal::Code code) {
  switch (code) {
    case wire::Refusal::VERSION:
    case wire::Refusal::RUN: return Errc::version;
    case wire::Refusal::RANK:
    case wire::Refusal::DUPLICATE: return Errc::invalid_argument;
    case wire::Refusal::STARTED:
    case wire::Refusal::UNREACHABLE: return Errc::unsupported;
    case wire::Refusal::INCOMPLETE: return Errc::timed_out;
    case wire::Refusal::EXPELLED: return Errc::timed_out;
    default: return Errc::corrupt;
  }
}

std::string seconds_text(Duration d) {
  std::string text = std::to_string(seconds(d));
  text.resize(std::min(text.size(), text.find('.') + 2));
  return text + " s";
}

}  // namespace

void hear_of(const google::protobuf::RepeatedPtrField<std::string>& addresses, std::vector<HostPort>& living) {
  if (addresses.empty()) return;
  living.clear();
  for (const std::string& text : addresses)
    if (auto address = parse_host_port(text)) living.push_back(std::move(*address));
}

void Node::seek() {
  asked_.clear();
  accepted_ = false;
  const std::size_t turn = turn_ % (1 + living_.size());
  seek_at(turn == 0 ? rendezvous_ : living_[turn - 1]);
}

void Node::seek_at(HostPort target) {
  const std::uint64_t attempt = ++attempt_;
  asking_ = target;
  expect_answer(kAttemptPatience);
  const auto connect = [this, attempt, target](const std::vector<Tcp::endpoint>& endpoints) {
    auto socket = std::make_shared<Tcp::socket>(io_);
    asio::async_connect(*socket, endpoints, [this, attempt, target, socket](error_code error, const Tcp::endpoint&) {
      if (attempt != attempt_ || state_ != State::seeking) return;
      if (error)
        return seek_again("cannot connect to " + format_host_port(target.host, target.port) + ": " + error.message());
      seek_connected(target, std::move(*socket));
    });
  };
  error_code not_literal;
  const IpAddress literal = asio::ip::make_address(target.host, not_literal);
  if (!not_literal) return connect({Tcp::endpoint(literal, target.port)});
  resolver_.async_resolve(target.host, std::to_string(target.port),
                          [this, attempt, target, connect](error_code error, const Tcp::resolver::results_type& found) {
                            if (attempt != attempt_ || state_ != State::seeking) return;
                            if (error) return seek_again("the name '" + target.host + "' does not resolve: " + error.message());
                            std::vector<Tcp::endpoint> endpoints;
                            for (const auto& entry : found) endpoints.push_back(entry.endpoint());
                            connect(endpoints);
                          });
}

void Node::expect_answer(Duration patience) {
  attempt_timer_.expires_after(std::chrono::duration_cast<Timer::duration>(patience));
  attempt_timer_.async_wait([this, attempt = attempt_, patience](error_code error) {
    if (error || attempt != attempt_ || state_ != State::seeking) return;
    if (seeking_) {
      links_.erase(seeking_);
      seeking_->abandon();
      seeking_.reset();
    }
    resolver_.cancel();
    seek_again("no answer from " + format_host_port(asking_.host, asking_.port) + " within " + seconds_text(patience));
  });
}

void Node::seek_connected(const HostPort&, Tcp::socket socket) {
  seeking_ = adopt(std::move(socket), kRosterBodyLimit, Link::Role::collector);
  wire::Frame frame;
  *frame.mutable_join() = own_join();
  seeking_->send(frame);
  seeking_->start();
}

void Node::seek_again(const std::string& why) {
  if (state_ != State::seeking) return;
  ++attempt_;  // whatever was under way is over
  attempt_timer_.cancel();
  if (why != last_failure_) {
    // On one machine the others come a moment later; from afar it may be a wrong address.
    if (rendezvous_on_loopback_)
      log_.debug("control: {}; trying again until the join deadline", why);
    else
      log_.info("control: {}; trying again until the join deadline", why);
  }
  last_failure_ = why;
  ++turn_;
  const auto backoff = std::min<std::chrono::milliseconds>(kLastBackoff, kFirstBackoff * (1 << std::min<std::size_t>(failures_, 5)));
  ++failures_;
  backoff_timer_.expires_after(backoff);
  backoff_timer_.async_wait([this](error_code error) {
    if (!error && state_ == State::seeking) seek();
  });
}

void Node::frame_from_collector(Link& link, wire::Frame& frame) {
  if (seeking_.get() != &link) return;
  switch (frame.message_case()) {
    case wire::Frame::kRedirect: {
      link.finish(kFarewellPatience);
      seeking_.reset();
      return on_redirect(frame.redirect());
    }
    case wire::Frame::kRefusal: {
      const std::string where = remote_name(link);
      link.finish(kFarewellPatience);
      seeking_.reset();
      const wire::Refusal& refusal = frame.refusal();
      if (refusal.code() == wire::Refusal::OVER) return seek_again("the peer at " + where + " says: " + refusal.reason());
      const bool incomplete = refusal.code() == wire::Refusal::INCOMPLETE || refusal.code() == wire::Refusal::UNREACHABLE;
      return join_failed({code_of(refusal.code()),
                          incomplete ? refusal.reason() : "the peer at " + where + " refused this one: " + refusal.reason()});
    }
    case wire::Frame::kWaiting:
      if (!accepted_) {
        log_.debug("control: joined at {}; missing: {}", remote_name(link), frame.waiting().missing());
        attempt_timer_.cancel();
      }
      accepted_ = true;
      failures_ = 0;
      missing_ = frame.waiting().missing();
      under_way_ = frame.waiting().started();
      // It is repeated with every heartbeat.  Who lets nobody in any more may be stopped; another one will.
      if (under_way_) {
        hear_of(frame.waiting().living(), living_);
        expect_answer(options_.silence_deadline);
      }
      return;
    case wire::Frame::kRoster: {
      attempt_timer_.cancel();
      const LinkPtr keep = seeking_;
      if (auto entered = become_member(frame.roster(), keep); !entered) {
        seeking_.reset();
        keep->finish(kFarewellPatience);
        join_failed(entered.error());
      }
      return;
    }
    default: return malformed(link, "a message that does not answer a Join");
  }
}

void Node::on_redirect(const wire::Redirect& redirect) {
  ++attempt_;
  attempt_timer_.cancel();
  hear_of(redirect.living(), living_);
  if (redirect.instance() == instance_) {
    // Of a run under way it had the address of an earlier process.
    if (!living_.empty()) return seek_again("the peer that was to be asked is gone");
    // A circle, of ourselves alone or with those that sent us round.
    if (asked_.empty() || instance_ < *asked_.begin()) return collect();
    return seek_again("the peers name each other as rendezvous; another one of them will collect");
  }
  if (!asked_.insert(redirect.instance()).second)
    return seek_again("the peers at " + options_.rendezvous + " name each other as rendezvous");
  auto target = parse_host_port(redirect.address());
  if (!target) return seek_again("was sent on to nowhere: " + target.error().message);
  log_.debug("control: {} sends us on to {}", format_host_port(asking_.host, asking_.port), redirect.address());
  seek_at(std::move(*target));
}

void Node::join_deadline() {
  const std::string within = " within " + seconds_text(options_.join_deadline);
  if (state_ == State::collecting)
    return gather_failed(wire::Refusal::INCOMPLETE,
                         {Errc::timed_out, "not all peers came" + within + ": " + gathering_->report() +
                                               (options_.elastic ? "; " + std::string(kNeedsLiving) : "")});
  if (state_ != State::seeking) return;
  if (seeking_) {
    seeking_->finish(kFarewellPatience);
    seeking_.reset();
  }
  if (accepted_ && under_way_)
    return join_failed({Errc::timed_out, "could not return to the running run" + within + ": " + missing_});
  if (accepted_)
    return join_failed({Errc::timed_out, "not all peers came" + within + "; missing: " + missing_});
  if (rendezvous_taken_)
    return join_failed({Errc::address_in_use, "port " + std::to_string(rendezvous_.port) + " is in use on this machine, and what uses it (" +
                                                  options_.rendezvous + ") did not answer as a peer of this run" + within +
                                                  ": end it, or choose another rendezvous"});
  const std::string why = last_failure_.empty() ? "nobody answered" : last_failure_;
  join_failed({Errc::timed_out, "found no run at " + options_.rendezvous + within + " (" + why +
                                    "): is the first peer running, and is this its address?" +
                                    (options_.elastic ? " (" + std::string(kNeedsLiving) + ")" : "")});
}

void Node::join_failed(Error error) {
  if (!joined_) return;
  if (state_ != State::closed) state_ = State::over;
  ++attempt_;
  join_timer_.cancel();
  attempt_timer_.cancel();
  backoff_timer_.cancel();
  unpark();  // they are refused, in words
  const Joined done = std::exchange(joined_, nullptr);
  if (error.code != Errc::interrupted) log_.error("control: cannot join: {}", error.message);
  done(Failure(std::move(error)));
}

}  // namespace gossamer::control
