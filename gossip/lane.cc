#include "gossip/lane.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "kernels/vector.h"
#include "topologies/topology_spec.h"
#include "topologies/without.h"

namespace gossamer {
namespace {

// vector = a * vector + add
void affine_apply(double a, std::span<const float> add, std::span<float> vector) {
  if (a == 0) {
    copy(add, vector);
    return;
  }
  if (a != 1) scale(static_cast<float>(a), vector);
  axpy(1, add, vector);
}

std::span<float> sized(AlignedBuffer<float>& vector, std::size_t size) {
  if (vector.size() != size) vector = AlignedBuffer<float>(size);
  return vector.span();
}

void drop_edges(PeerId peer, Neighbourhood& edges) {
  const auto ends_there = [&](const Edge& edge) { return edge.peer == peer; };
  std::erase_if(edges.in, ends_there);
  std::erase_if(edges.out, ends_there);
}

std::span<float> floats(const SendBuffer& buffer, std::size_t count) { return {reinterpret_cast<float*>(buffer.bytes.data()), count}; }

// "peer 1, peer 3"
std::string senders(std::span<const Arrival> arrivals) {
  std::string text;
  for (const Arrival& arrival : arrivals) text += fmt::format("{}peer {}", text.empty() ? "" : ", ", arrival.from);
  return text;
}

}  // namespace

Lane::Lane(const EngineSetup& setup, std::uint32_t bucket, std::size_t size, const Clock& clock, const Topology& topology, Mixer& mixer,
           Transport& transport, Stream& stream)
    : setup_(setup),
      bucket_(bucket),
      size_(size),
      clock_(clock),
      topology_(topology),
      mixer_(mixer),
      traits_(mixer.traits()),
      transport_(transport),
      stream_(stream) {
  GOSSAMER_CHECK(setup.rounds_open >= 1, "at least one round must be able to open");
  for (std::size_t slot = setup.rounds_open; slot > 0; --slot) slots_.push_back(slot - 1);
  eras_.push_back(era_of(View::first(setup_.peers)));
  if (traits_.asynchronous) speakers_ = neighbours();
}

void Lane::enter(const View& view, Round first_round) {
  GOSSAMER_CHECK(next_round_ == 0 && eras_.size() == 1, "a newcomer enters once, before its first round");
  next_round_ = first_round;
  eras_.front() = era_of(view);
  std::vector<PeerId> everybody(setup_.peers);
  std::iota(everybody.begin(), everybody.end(), PeerId{0});
  mixer_.view(view, graph(eras_.front()), everybody);
  for (const PeerId peer : everybody)
    if (!view.has(peer)) gone_.insert(peer);
  if (traits_.asynchronous) speakers_ = neighbours();
}

Lane::Era Lane::era_of(const View& view) const {
  if (view.members() == view.lives.size()) return {view, nullptr};
  std::vector<bool> absent(view.lives.size());
  for (PeerId peer = 0; peer < absent.size(); ++peer) absent[peer] = !view.has(peer);
  return {view, without(topology_, std::move(absent))};
}

std::vector<PeerId> Lane::neighbours() const {
  std::vector<PeerId> peers = potential_neighbours(graph(eras_.back()), setup_.self);
  std::erase_if(peers, [&](PeerId peer) { return !view().has(peer); });
  return peers;
}

// The next round is the first one of the next view.
bool Lane::era_ends() const { return eras_.size() > 1 && eras_[1].view.first_round <= next_round_; }

void Lane::next_era() {
  const std::vector<PeerId> ranks = changed(eras_[0].view, eras_[1].view);
  eras_.pop_front();
  mixer_.view(eras_[0].view, graph(eras_[0]), ranks);
}

void Lane::install(const View& next) {
  GOSSAMER_CHECK(next.number > view().number && next.lives.size() == setup_.peers, "views out of order");
  const std::vector<PeerId> ranks = changed(view(), next);
  for (const PeerId peer : ranks) {
    forget(peer);
    if (next.has(peer)) {
      gone_.erase(peer);
    } else {
      gone_.insert(peer);
    }
  }
  eras_.push_back(era_of(next));
  if (!traits_.asynchronous) {
    GOSSAMER_CHECK(next.first_round >= next_round_, "a view of rounds that have begun");
    return;
  }
  next_era();
  // Who asked in the view before may be no neighbour in this one, and still waits.
  for (const PeerId peer : neighbours())
    if (std::find(speakers_.begin(), speakers_.end(), peer) == speakers_.end()) speakers_.push_back(peer);
}

// Whoever left is not waited for any more, and nothing of it is used.
void Lane::forget(PeerId peer) {
  transport_.drop_peer(peer);
  std::erase_if(waiting_, [&](const auto& waiting) {
    if (waiting.second.from != peer) return false;
    transport_.release(waiting.second);
    return true;
  });
  for (auto& [number, round] : open_) {
    bool cut = std::erase_if(round.awaits, [&](const Await& await) { return await.from == peer; }) > 0;
    for (Pending& pending : round.sends) cut = std::erase(pending.what.to, peer) > 0 || cut;
    drop_served(round.sends);
    drop_edges(peer, round.edges);
    stats_.cut_short += cut;
  }
  for (Answer& answer : answers_) {
    for (Pending& pending : answer.sends) std::erase(pending.what.to, peer);
    drop_served(answer.sends);
  }
}

// Payloads that nobody is left to get.
void Lane::drop_served(std::vector<Pending>& sends) {
  std::erase_if(sends, [&](const Pending& pending) {
    if (!pending.what.to.empty()) return false;
    if (pending.buffer && !pending.kept) transport_.give_back(*pending.buffer);
    return true;
  });
}

// By the age of the oldest open round, not by their number: on a schedule of graphs later rounds may close before it.
bool Lane::can_publish() const {
  if (traits_.asynchronous) return skips_ < setup_.skips_max;
  if (era_ends() && !open_.empty()) return false;
  return open_.empty() || next_round_ - open_.begin()->first < setup_.rounds_open;
}

void Lane::publish(std::span<const float> vector, double learning_rate) {
  GOSSAMER_CHECK(can_publish(), "publish() while too many rounds are open");
  GOSSAMER_CHECK(!correction_ready(), "publish() before the last correction was applied");
  if (traits_.asynchronous) copy(vector, sized(shadow_, size_));
  published_ = true;
  if (traits_.asynchronous && !open_.empty()) {
    ++stats_.skipped;
    ++skips_;
    owed_ = true;
    return;
  }
  owed_ = false;
  while (era_ends()) next_era();
  OpenRound& round = open_[next_round_];
  round.edges = graph(eras_.front()).at(next_round_, setup_.self);
  for (std::size_t later = 1; later < eras_.size(); ++later)
    for (const PeerId peer : changed(eras_[later - 1].view, eras_[later].view)) drop_edges(peer, round.edges);
  round.info = {next_round_, setup_.self, setup_.peers, &round.edges, learning_rate, slots_.back(), eras_.front().view.number};
  slots_.pop_back();
  round.opened = clock_.now();
  ++next_round_;
  std::span<const float> snapshot = vector;
  if (traits_.payload_is_snapshot && !round.edges.out.empty()) {
    if (home_) {
      GOSSAMER_CHECK(vector.data() == floats(*home_, size_).data(), "publish() of a vector that is not where apply() left it");
      round.kept = home_;
      home_shown_ = true;
    } else if (const auto buffer = transport_.lease()) {  // without a free one the payload is encoded later, as others are
      round.kept = *buffer;
    }
  }
  round.info.payload_kept = round.kept.has_value();
  if (traits_.asynchronous) {
    snapshot = shadow_.span();
  } else if (!round.kept && setup_.rounds_open == 1) {
    copy(vector, sized(shadow_, size_));
    snapshot = shadow_.span();
  } else if (!round.kept) {
    if (!snapshots_.empty()) {
      round.snapshot = std::move(snapshots_.back());
      snapshots_.pop_back();
    }
    copy(vector, sized(round.snapshot, size_));
    snapshot = round.snapshot.span();
  }
  Plan plan = mixer_.begin(stream_, round.info, snapshot);
  for (Outgoing& what : plan.send) round.sends.push_back({std::move(what), std::nullopt, {}});
  round.awaits = std::move(plan.await);
  if (traits_.asynchronous) settle(round.info);
  if (!round.kept) return;
  GOSSAMER_CHECK(round.sends.size() == 1, "one payload is the snapshot");
  Pending& payload = round.sends.front();
  payload.buffer = round.kept;
  payload.kept = true;
  if (const auto encoded = encode(round.info, payload); !encoded) failed_ = encoded.error();
}

std::span<float> Lane::apply(std::span<float> vector) {
  if (!home_) first_home_ = vector;
  if (!unmixed_.empty()) {
    OpenRound& round = unmixed_.mapped();
    std::optional<SendBuffer> buffer;
    const std::span<float> to = elsewhere(vector, &buffer);
    const auto moved = mixer_.mix(stream_, round.info, round.last, vector, to);
    for (const Arrival& arrival : round.last) transport_.release(arrival);
    if (moved) {
      stats_.correction_norm = std::sqrt(*moved);
    } else {
      failed_ = fail(fmt::format("round {}, with payloads of {}", round.info.round, senders(round.last)), moved.error()).value();
    }
    finish(round);
    unmixed_ = {};
    move_home(buffer);
    return to;
  }
  if (home_shown_ && open_.empty()) {
    std::optional<SendBuffer> buffer;
    const std::span<float> to = elsewhere(vector, &buffer);
    copy(stream_, vector, to);
    move_home(buffer);
    vector = to;
  }
  if (pending_) affine_apply(a_, sum_.span(), vector);
  pending_ = false;
  return vector;
}

// Where the vector may be written; `buffer` is what is taken for it.  Without a free one that is the trainer's own memory, where nobody
// else reads.
std::span<float> Lane::elsewhere(std::span<float> vector, std::optional<SendBuffer>* buffer) {
  if (!vector_moves()) return vector;
  const auto leased = transport_.lease();
  if (!leased) return first_home_;
  *buffer = *leased;
  return floats(*leased, size_);
}

void Lane::move_home(std::optional<SendBuffer> buffer) {
  if (home_) transport_.give_back(*home_);
  home_ = buffer;
  home_shown_ = false;
}

void Lane::lost(std::span<const PeerId> peers) { gone_.insert(peers.begin(), peers.end()); }

// What a round had to itself is free for the next one.
void Lane::finish(OpenRound& round) {
  slots_.push_back(round.info.slot);
  if (round.snapshot.size() > 0) snapshots_.push_back(std::move(round.snapshot));
  const auto kept = std::exchange(round.kept, std::nullopt);
  if (kept && !(home_ && home_->index == kept->index)) transport_.give_back(*kept);  // else the vector still lies there
}

Result<> Lane::advance() {
  if (failed_) return Failure(*failed_);
  for (auto& answer : answers_) {
    drop_gone(answer.sends);
    GOSSAMER_TRY(pump_sends(answer.info, answer.sends));
  }
  std::erase_if(answers_, [](const Answer& answer) { return answer.sends.empty(); });
  for (auto next = open_.begin(); next != open_.end();) {
    OpenRound& round = next->second;
    GOSSAMER_TRY_ASSIGN(const bool closed, advance(round));
    if (!closed) {
      GOSSAMER_TRY(check(round));
      ++next;
      continue;
    }
    // Whatever else came for this round was never awaited: an unknown phase, or no neighbour of this round.
    if (const auto left = waiting_.lower_bound({round.info.round, 0, 0}); left != waiting_.end() && left->first.round == round.info.round)
      return unawaited(left->second);
    ++stats_.rounds;
    skips_ = 0;
    if (!round.last.empty()) {
      unmixed_ = open_.extract(next++);
      continue;
    }
    if (!traits_.asynchronous) settle(round.info);
    finish(round);
    next = open_.erase(next);
  }
  return {};
}

// Keeps what came until its round can use it.
Result<> Lane::take(const Arrival& arrival) {
  ++stats_.payloads_received;
  const Key key{arrival.header.round, arrival.header.phase, arrival.from};
  Round& last = stats_.last_from[arrival.from];
  last = std::max(last, arrival.header.round);
  if (traits_.asynchronous && !awaited(key)) return answer(arrival);
  // Rounds only move forward, so a payload of a closed round, or a second one of the same phase, breaks the protocol.
  const bool late = arrival.header.round < next_round_ && !open_.contains(arrival.header.round);
  if (late || !waiting_.emplace(key, arrival).second) return unawaited(arrival);
  return {};
}

Failure Lane::unawaited(const Arrival& arrival) const {
  return fail(Errc::corrupt, fmt::format("peer {} sent a payload of round {} phase {} that nobody awaits (this peer is at round {})",
                                         arrival.from, arrival.header.round, arrival.header.phase, next_round_));
}

// Nobody waits for an answer to a peer that is gone.
void Lane::drop_gone(std::vector<Pending>& sends) {
  for (Pending& pending : sends) std::erase_if(pending.what.to, [&](PeerId to) { return gone_.contains(to); });
  drop_served(sends);
}

// Hands an asynchronous mixer what nobody awaited, at once.
Result<> Lane::answer(const Arrival& arrival) {
  const RoundInfo info{.round = arrival.header.round, .self = setup_.self, .peers = setup_.peers, .view = view().number};
  auto plan = mixer_.arrived(stream_, info, {&arrival, 1});
  transport_.release(arrival);
  if (!plan) return fail(fmt::format("a payload of {}", senders({&arrival, 1})), plan.error());
  settle(info);
  Answer answer{info, {}};
  for (Outgoing& what : plan->send) answer.sends.push_back({std::move(what), std::nullopt, {}});
  if (!answer.sends.empty()) answers_.push_back(std::move(answer));
  return {};
}

// True when the round has ended.
Result<bool> Lane::advance(OpenRound& round) {
  for (;;) {
    // Whoever is waited for may be waiting for a mailbox.
    for (const Await& await : round.awaits)
      if (!gone_.contains(await.from)) GOSSAMER_TRY(transport_.open(await.from, true));
    GOSSAMER_TRY_ASSIGN(const bool all_sent, pump_sends(round.info, round.sends));
    // What a mixer sends may depend on what came before it, and the other way round: phases do not mix.
    if (!all_sent) return false;
    if (round.awaits.empty()) return true;
    GOSSAMER_TRY_ASSIGN(const bool advanced, pump_arrivals(round));
    if (!advanced) return false;
  }
}

// Into its buffer.
Result<> Lane::encode(const RoundInfo& info, Pending& pending) {
  GOSSAMER_TRY_ASSIGN(const Encoded encoded, mixer_.encode(stream_, info, pending.what, pending.buffer->bytes));
  pending.header.codec = static_cast<std::uint16_t>(encoded.codec);
  pending.header.phase = pending.what.phase;
  pending.header.kind = pending.what.kind;
  pending.header.round = info.round;
  pending.header.view = info.view;
  pending.header.bucket = bucket_;
  pending.header.count = encoded.count;
  pending.header.used = encoded.used;
  if (traits_.asynchronous) settle(info);
  return {};
}

// Encodes and sends whatever has credit; true when nothing is left to send.
Result<bool> Lane::pump_sends(const RoundInfo& info, std::vector<Pending>& sends) {
  for (Pending& pending : sends) {
    std::vector<PeerId> now;
    for (const PeerId to : pending.what.to) {
      if (gone_.contains(to)) continue;
      GOSSAMER_TRY(transport_.open(to, false));
      if (transport_.has_credit(to)) now.push_back(to);
    }
    if (now.empty()) continue;
    if (!pending.buffer) {
      auto buffer = transport_.lease();
      if (!buffer) {
        if (buffer.error().code == Errc::would_block) continue;
        return Failure(buffer.error());
      }
      pending.buffer = *buffer;
      if (auto encoded = encode(info, pending); !encoded) {
        transport_.give_back(*std::exchange(pending.buffer, std::nullopt));
        return Failure(encoded.error());
      }
    }
    std::erase_if(pending.what.to, [&](PeerId to) { return std::find(now.begin(), now.end(), to) != now.end(); });
    transport_.send(*pending.buffer, pending.header, now, pending.what.to.empty() && !pending.kept);
    stats_.payloads_sent += now.size();
  }
  std::erase_if(sends, [](const Pending& pending) { return pending.what.to.empty(); });
  return sends.empty();
}

// Hands the arrivals of the present phase to the mixer; true when it did, and a new plan is in force.
Result<bool> Lane::pump_arrivals(OpenRound& round) {
  std::vector<Arrival> here;
  for (const Await& await : round.awaits) {
    const auto came = waiting_.find({round.info.round, await.phase, await.from});
    if (came == waiting_.end()) return false;
    if (came->second.header.view != round.info.view && !traits_.asynchronous)
      return fail(Errc::corrupt, fmt::format("peer {} sent a payload of round {} in view {}, this peer is in view {} there", await.from,
                                             round.info.round, came->second.header.view, round.info.view));
    here.push_back(came->second);
  }
  std::sort(here.begin(), here.end(), [](const Arrival& a, const Arrival& b) { return a.from < b.from; });
  if (mixes_late()) {
    for (const Arrival& arrival : here) waiting_.erase({arrival.header.round, arrival.header.phase, arrival.from});
    round.last = std::move(here);
    round.awaits.clear();
    return true;
  }
  auto plan = mixer_.arrived(stream_, round.info, here);
  for (const Arrival& arrival : here) {
    waiting_.erase({arrival.header.round, arrival.header.phase, arrival.from});
    transport_.release(arrival);
  }
  if (!plan) return fail(fmt::format("round {}, with payloads of {}", round.info.round, senders(here)), plan.error());
  if (traits_.asynchronous) settle(round.info);
  for (Outgoing& what : plan->send) round.sends.push_back({std::move(what), std::nullopt, {}});
  round.awaits = std::move(plan->await);
  return true;
}

// When the trainer takes the correction the payloads can go straight into its vector.
bool Lane::mixes_late() const {
  return setup_.trainer_waits && setup_.rounds_open == 1 && traits_.mixes_in_one_pass && !traits_.asynchronous;
}

// Takes the mixer's result into the shadow, if others may ask for that, and into what waits for the trainer.
void Lane::settle(const RoundInfo& info) {
  const auto affine = mixer_.result(stream_, info, sized(add_, size_));
  if (!affine) return;
  stats_.correction_norm = std::sqrt(affine->squared_norm ? *affine->squared_norm : squared_norm(add_.span()));
  if (traits_.asynchronous) affine_apply(affine->a, add_.span(), shadow_.span());
  if (!pending_) {
    a_ = affine->a;
    std::swap(add_, sum_);
    pending_ = true;
  } else {
    a_ *= affine->a;
    affine_apply(affine->a, add_.span(), sum_.span());
  }
}

// An asynchronous peer is spoken to at any time by whoever is its neighbour in the round of that other peer.
void Lane::listen() {
  if (!traits_.asynchronous || !published_) return;
  for (const PeerId peer : speakers_)
    if (!gone_.contains(peer))
      if (const auto opened = transport_.open(peer, true); !opened) gone_.insert(peer);
}

bool Lane::awaited(const Key& key) const {
  const auto round = open_.find(key.round);
  if (round == open_.end()) return false;
  const auto& awaits = round->second.awaits;
  return std::find(awaits.begin(), awaits.end(), Await{key.from, key.phase}) != awaits.end();
}

Result<> Lane::check(const OpenRound& round) const {
  for (const PeerId peer : waiting_for(round))
    if (gone_.contains(peer) && !setup_.elastic)
      return fail(Errc::peer_gone, fmt::format("lost the connection to peer {} in round {}", peer, round.info.round));
  if (const Duration open_for = clock_.now() - round.opened; open_for >= setup_.round_deadline)
    return fail(Errc::timed_out, fmt::format("round {} is open for {:.1f} s (deadline {:.1f} s): {}", round.info.round,
                                             seconds(open_for), seconds(setup_.round_deadline), describe_waiting(round)));
  return {};
}

std::vector<PeerId> Lane::waiting_for() const {
  std::vector<PeerId> peers;
  for (const auto& [number, round] : open_) {
    const auto these = waiting_for(round);
    peers.insert(peers.end(), these.begin(), these.end());
  }
  std::sort(peers.begin(), peers.end());
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  return peers;
}

std::vector<PeerId> Lane::waiting_for(const OpenRound& round) const {
  std::vector<PeerId> peers;
  for (const Await& await : round.awaits)
    if (!waiting_.contains({round.info.round, await.phase, await.from})) peers.push_back(await.from);
  for (const Pending& pending : round.sends) peers.insert(peers.end(), pending.what.to.begin(), pending.what.to.end());
  return peers;
}

std::string Lane::describe_waiting(const OpenRound& round) const {
  std::string text;
  for (const Await& await : round.awaits)
    if (!waiting_.contains({round.info.round, await.phase, await.from}))
      text += fmt::format("{}nothing came from peer {}", text.empty() ? "" : ", ", await.from);
  for (const Pending& pending : round.sends)
    for (const PeerId to : pending.what.to) text += fmt::format("{}peer {} takes no payload", text.empty() ? "" : ", ", to);
  return text.empty() ? "waiting for nobody" : text;
}

Time Lane::next_deadline() const {
  Time next{std::numeric_limits<std::int64_t>::max()};
  for (const auto& [number, round] : open_) next = std::min(next, round.opened + setup_.round_deadline);
  return next;
}

}  // namespace gossamer
