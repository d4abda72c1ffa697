#include "gossip/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <utility>

#include "base/check.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

// vector = a * vector + add
void affine_apply(Affine affine, std::span<const float> add, std::span<float> vector) {
  const auto a = static_cast<float>(affine.a);
  if (a == 1) {
    for (std::size_t i = 0; i < vector.size(); ++i) vector[i] += add[i];
  } else if (a == 0) {
    std::memcpy(vector.data(), add.data(), add.size_bytes());
  } else {
    for (std::size_t i = 0; i < vector.size(); ++i) vector[i] = a * vector[i] + add[i];
  }
}

}  // namespace

Engine::Engine(EngineSetup setup, const Clock& clock, const Topology& topology, Mixer& mixer, Transport& transport,
               Stream& stream)
    : setup_(setup),
      clock_(clock),
      topology_(topology),
      mixer_(mixer),
      transport_(transport),
      stream_(stream),
      shadow_(setup.vector_size),
      add_(setup.vector_size) {}

void Engine::publish(std::span<const float> vector, double learning_rate) {
  GOSSAMER_CHECK(!open_, "publish() while a round is open");
  GOSSAMER_CHECK(!pending_, "publish() before the last correction was applied");
  GOSSAMER_CHECK(vector.size() == setup_.vector_size, "vector of another size");
  std::memcpy(shadow_.data(), vector.data(), vector.size_bytes());
  open_.emplace();
  open_->edges = topology_.at(next_round_, setup_.self);
  open_->info = {next_round_, setup_.self, setup_.peers, &open_->edges, learning_rate};
  open_->opened = clock_.now();
  ++next_round_;
  Plan plan = mixer_.begin(stream_, open_->info, shadow_.span());
  for (Outgoing& what : plan.send) open_->sends.push_back({std::move(what), std::nullopt, {}});
  open_->awaits = std::move(plan.await);
}

void Engine::apply(std::span<float> vector) {
  if (!pending_) return;
  GOSSAMER_CHECK(vector.size() == setup_.vector_size, "vector of another size");
  affine_apply(affine_, add_.span(), vector);
  pending_ = false;
}

Result<> Engine::adopt(Plan plan) {
  for (Outgoing& what : plan.send) open_->sends.push_back({std::move(what), std::nullopt, {}});
  open_->awaits = std::move(plan.await);
  return {};
}

Result<> Engine::step() {
  events_.clear();
  transport_.poll(&events_);
  for (const PeerId peer : events_.gone) gone_[peer] = true;
  if (!events_.faults.empty()) {
    const Fault& fault = events_.faults.front();
    return fail(fault.error.code, fault.error.message);
  }
  for (const Arrival& arrival : events_.arrivals) {
    ++stats_.payloads_received;
    const Key key{arrival.header.round, arrival.header.phase, arrival.from};
    // Rounds only move forward, so a payload of a closed round, or a second one of the same phase, breaks the protocol.
    const bool late = arrival.header.round + 1 < next_round_ || (arrival.header.round + 1 == next_round_ && !open_);
    if (late || !waiting_.emplace(key, arrival).second)
      return fail(Errc::corrupt, fmt::format("peer {} sent a payload of round {} phase {} that nobody awaits (this peer is at round {})",
                                             arrival.from, arrival.header.round, arrival.header.phase, next_round_));
    Round& last = stats_.last_from[arrival.from];
    last = std::max(last, arrival.header.round);
  }
  if (!open_) return {};

  for (;;) {
    GOSSAMER_TRY_ASSIGN(const bool all_sent, pump_sends());
    GOSSAMER_TRY_ASSIGN(const bool advanced, pump_arrivals());
    if (advanced) continue;
    if (all_sent && open_->awaits.empty()) {
      close();
      return {};
    }
    break;
  }
  for (const PeerId peer : waiting_for())
    if (gone_.contains(peer))
      return fail(Errc::peer_gone, fmt::format("lost the connection to peer {} in round {}", peer, open_->info.round));
  if (const Duration open_for = clock_.now() - open_->opened; open_for > setup_.round_deadline)
    return fail(Errc::timed_out, fmt::format("round {} is open for {:.1f} s (deadline {:.1f} s): {}", open_->info.round,
                                             seconds(open_for), seconds(setup_.round_deadline), describe_waiting()));
  return {};
}

// Encodes and sends whatever has credit; true when nothing is left to send.
Result<bool> Engine::pump_sends() {
  for (Pending& pending : open_->sends) {
    std::vector<PeerId> now;
    for (const PeerId to : pending.what.to) {
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
      auto encoded = mixer_.encode(stream_, open_->info, pending.what, buffer->bytes);
      if (!encoded) {
        transport_.give_back(*buffer);
        return Failure(encoded.error());
      }
      pending.buffer = *buffer;
      pending.header.codec = static_cast<std::uint16_t>(encoded->codec);
      pending.header.phase = pending.what.phase;
      pending.header.kind = pending.what.kind;
      pending.header.round = open_->info.round;
      pending.header.count = encoded->count;
      pending.header.used = encoded->used;
    }
    std::erase_if(pending.what.to, [&](PeerId to) { return std::find(now.begin(), now.end(), to) != now.end(); });
    transport_.send(*pending.buffer, pending.header, now, pending.what.to.empty());
    stats_.payloads_sent += now.size();
  }
  std::erase_if(open_->sends, [](const Pending& pending) { return pending.what.to.empty(); });
  return open_->sends.empty();
}

// Hands the arrivals of the present phase to the mixer; true when it did, and a new plan is in force.
Result<bool> Engine::pump_arrivals() {
  if (open_->awaits.empty()) return false;
  std::vector<Arrival> here;
  for (const Await& await : open_->awaits) {
    if (const auto came = waiting_.find({open_->info.round, await.phase, await.from}); came != waiting_.end())
      here.push_back(came->second);
    else
      GOSSAMER_TRY(transport_.open(await.from, true));
  }
  const bool gather = mixer_.traits().gather;
  if (here.empty() || (gather && here.size() < open_->awaits.size())) return false;
  // A mixer may send what an arrival makes of its state only after it has sent what it owes before.
  if (!open_->sends.empty()) return false;
  std::sort(here.begin(), here.end(), [](const Arrival& a, const Arrival& b) { return a.from < b.from; });
  auto plan = mixer_.arrived(stream_, open_->info, here);
  for (const Arrival& arrival : here) {
    waiting_.erase({arrival.header.round, arrival.header.phase, arrival.from});
    transport_.release(arrival);
  }
  if (!plan) return fail(fmt::format("round {}", open_->info.round), plan.error());
  GOSSAMER_TRY(adopt(std::move(*plan)));
  return true;
}

void Engine::close() {
  affine_ = mixer_.result(stream_, open_->info, add_.span());
  stats_.correction_norm = std::sqrt(squared_norm(add_.span()));
  // The shadow is what the model will be once the trainer has applied the correction.
  affine_apply(affine_, add_.span(), shadow_.span());
  pending_ = true;
  ++stats_.rounds;
  stats_.waiting += clock_.now() - open_->opened;
  open_.reset();
}

std::vector<PeerId> Engine::waiting_for() const {
  std::vector<PeerId> peers;
  if (!open_) return peers;
  for (const Await& await : open_->awaits)
    if (!waiting_.contains({open_->info.round, await.phase, await.from})) peers.push_back(await.from);
  for (const Pending& pending : open_->sends) peers.insert(peers.end(), pending.what.to.begin(), pending.what.to.end());
  std::sort(peers.begin(), peers.end());
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  return peers;
}

std::string Engine::describe_waiting() const {
  std::string text;
  for (const Await& await : open_->awaits)
    if (!waiting_.contains({open_->info.round, await.phase, await.from}))
      text += fmt::format("{}nothing came from peer {}", text.empty() ? "" : ", ", await.from);
  for (const Pending& pending : open_->sends)
    for (const PeerId to : pending.what.to)
      text += fmt::format("{}peer {} takes no payload", text.empty() ? "" : ", ", to);
  return text.empty() ? "waiting for nobody" : text;
}

Time Engine::next_deadline() const {
  Time next = transport_.next_deadline();
  if (open_) next = std::min(next, open_->opened + setup_.round_deadline);
  return next;
}

}  // namespace gossamer
