#include "gossip/engine.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "base/check.h"
#include "gossip/lane.h"

namespace gossamer {

Engine::Engine(EngineSetup setup, const Clock& clock, const Topology& topology, Mixer& mixer, Transport& transport, Stream& stream)
    : Engine(setup, clock, topology, std::vector<EnginePart>{{0, setup.vector_size, &mixer}}, transport, stream) {}

Engine::Engine(EngineSetup setup, const Clock& clock, const Topology& topology, std::span<const EnginePart> parts, Transport& transport,
               Stream& stream)
    : transport_(transport), stream_(stream), parts_(parts.begin(), parts.end()) {
  std::size_t end = 0;
  for (const EnginePart& part : parts_) {
    GOSSAMER_CHECK(part.offset == end, "parts cover the vector without a gap");
    end += part.count;
    lanes_.push_back(std::make_unique<Lane>(setup, static_cast<std::uint32_t>(lanes_.size()), part.count, clock, topology, *part.mixer,
                                            transport, stream));
  }
  GOSSAMER_CHECK(!parts_.empty() && end == setup.vector_size, "parts cover the whole vector");
}

Engine::~Engine() = default;

const MixerTraits& Engine::traits() const { return lanes_.front()->traits(); }

void Engine::start(std::span<const float> common) {
  for (const EnginePart& part : parts_) part.mixer->start(common.subspan(part.offset, part.count));
}

void Engine::gradient(std::span<float> gradient, double learning_rate) {
  for (std::size_t part = 0; part < parts_.size(); ++part)
    this->gradient(part, gradient.subspan(parts_[part].offset, parts_[part].count), learning_rate);
}

void Engine::gradient(std::size_t part, std::span<float> gradient, double learning_rate) {
  parts_[part].mixer->gradient(stream_, {.round = lanes_[part]->next_round(), .learning_rate = learning_rate}, gradient);
}

bool Engine::can_publish() const {
  return !held_ && std::all_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->can_publish(); });
}

void Engine::enter(const View& view, Round first_round) {
  for (auto& lane : lanes_) lane->enter(view, first_round);
}

void Engine::install(const View& view) {
  for (auto& lane : lanes_) {
    GOSSAMER_CHECK(lane->next_round() == next_round(), "a view while a round is published in part");
    lane->install(view);
  }
}

const View& Engine::view() const { return lanes_.front()->view(); }

std::vector<PeerId> Engine::neighbours() const { return lanes_.front()->neighbours(); }

bool Engine::owes_publication() const { return lanes_.front()->owes_publication(); }

bool Engine::owes_exchange() const { return lanes_.front()->owes_exchange(); }

void Engine::publish(std::span<const float> vector, double learning_rate) {
  for (std::size_t part = 0; part < parts_.size(); ++part)
    publish(part, vector.subspan(parts_[part].offset, parts_[part].count), learning_rate);
}

void Engine::publish(std::size_t part, std::span<const float> range, double learning_rate) {
  GOSSAMER_CHECK(!held_, "publish() while the engine is held");
  lanes_[part]->publish(range, learning_rate);
}

std::size_t Engine::open_rounds() const {
  std::size_t most = 0;
  for (const auto& lane : lanes_) most = std::max(most, lane->open_rounds());
  return most;
}

bool Engine::correction_ready() const {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->correction_ready(); });
}

std::span<float> Engine::apply(std::span<float> vector) {
  if (lanes_.size() == 1) return lanes_.front()->apply(vector);
  for (std::size_t part = 0; part < parts_.size(); ++part) lanes_[part]->apply(vector.subspan(parts_[part].offset, parts_[part].count));
  return vector;
}

Result<> Engine::step() {
  events_.clear();
  transport_.poll(&events_);
  for (auto& lane : lanes_) lane->lost(events_.gone);
  if (!events_.faults.empty()) return Failure(events_.faults.front().error);
  for (auto& lane : lanes_) lane->listen();
  for (const Arrival& arrival : events_.arrivals) {
    if (arrival.header.bucket >= lanes_.size())
      return fail(Errc::corrupt, fmt::format("peer {} sent a payload of part {}; the vector has {} parts here", arrival.from,
                                             arrival.header.bucket, lanes_.size()));
    GOSSAMER_TRY(lanes_[arrival.header.bucket]->take(arrival));
  }
  for (auto& lane : lanes_) GOSSAMER_TRY(lane->advance());
  return {};
}

Time Engine::next_deadline() const {
  Time next = transport_.next_deadline();
  for (const auto& lane : lanes_) next = std::min(next, lane->next_deadline());
  return next;
}

bool Engine::drained() const {
  return transport_.drained() && std::all_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->answered(); });
}

std::vector<PeerId> Engine::waiting_for() const {
  std::vector<PeerId> peers;
  for (const auto& lane : lanes_) {
    const auto these = lane->waiting_for();
    peers.insert(peers.end(), these.begin(), these.end());
  }
  std::sort(peers.begin(), peers.end());
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  return peers;
}

EngineStats Engine::stats() const {
  EngineStats all = lanes_.front()->stats();
  double square = all.correction_norm * all.correction_norm;
  for (std::size_t part = 1; part < lanes_.size(); ++part) {
    const EngineStats& one = lanes_[part]->stats();
    all.rounds = std::min(all.rounds, one.rounds);
    all.cut_short = std::max(all.cut_short, one.cut_short);
    all.skipped = std::max(all.skipped, one.skipped);
    all.payloads_sent += one.payloads_sent;
    all.payloads_received += one.payloads_received;
    square += one.correction_norm * one.correction_norm;
    for (const auto& [peer, round] : one.last_from) {
      const auto [last, first_heard] = all.last_from.emplace(peer, round);
      if (!first_heard) last->second = std::min(last->second, round);
    }
  }
  if (lanes_.size() > 1) all.correction_norm = std::sqrt(square);
  return all;
}

Round Engine::rounds_closed() const {
  Round rounds = lanes_.front()->stats().rounds;
  for (const auto& lane : lanes_) rounds = std::min(rounds, lane->stats().rounds);
  return rounds;
}

Round Engine::next_round() const {
  Round next = lanes_.front()->next_round();
  for (const auto& lane : lanes_) next = std::min(next, lane->next_round());
  return next;
}

}  // namespace gossamer
