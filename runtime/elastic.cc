#include "runtime/elastic.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/serial.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

}  // namespace

Elastic::Elastic(ElasticSetup setup, const Topology& graph, Engine& engine, Trainer& trainer)
    : setup_(std::move(setup)),
      graph_(graph),
      engine_(engine),
      trainer_(trainer),
      membership_({.self = setup_.self,
                   .life = setup_.life,
                   .alive = setup_.alive,
                   .ended = setup_.ended,
                   .rounds_shared = setup_.rounds_shared,
                   .member = !setup_.newcomer}),
      member_(!setup_.newcomer),
      headed_(membership_.view()) {
  if (member_) head_ = 0;
  setup_.alive[setup_.self] = setup_.life;
  told_ = setup_.alive;
  look_for_sponsor();
}

void Elastic::died(PeerId peer, Incarnation life) {
  if (setup_.alive.at(peer) <= life) setup_.alive[peer] = 0;
  if (setup_.hub == peer && !error_)
    error_ = Error{Errc::peer_gone, fmt::format("peer {} is gone, the hub, without which its leaves cannot go on; start the run again, or use an algorithm "
                                                "without a hub, as ad-psgd",
                                                peer)};
  asking_.erase(peer);
  membership_.died(peer, life);
  if (sponsor_ == peer) {
    sponsor_.reset();
    look_for_sponsor();
  }
  settle();
}

void Elastic::returned(PeerId peer, Incarnation life) {
  setup_.alive.at(peer) = std::max(setup_.alive[peer], life);
  told_[peer] = std::max(told_[peer], life);
  asking_.erase(peer);
  no_members_.erase(peer);
  membership_.returned(peer, life);
  look_for_sponsor();
  settle();
}

void Elastic::look_for_sponsor() {
  if (member_ || has_state_ || sponsor_) return;
  const auto asks = [&](PeerId peer) { return peer != setup_.self && alive(peer) && !no_members_.contains(peer); };
  const std::vector<PeerId> neighbours = potential_neighbours(graph_, setup_.self);
  if (const auto near = std::find_if(neighbours.begin(), neighbours.end(), asks); near != neighbours.end()) {
    sponsor_ = *near;
  } else {
    for (PeerId peer = 0; peer < setup_.alive.size() && !sponsor_; ++peer)
      if (asks(peer)) sponsor_ = peer;
  }
  if (sponsor_) messages_.push_back({*sponsor_, kStatePlease, ""});
}

Result<> Elastic::heard(PeerId from, std::string_view topic, std::string_view bytes) {
  if (topic == kViews) {
    GOSSAMER_TRY(membership_.heard(from, bytes_of(bytes), engine_.next_round()));
    settle();
  } else if (topic == kStatePlease) {
    if (from >= setup_.alive.size()) return {};
    if (!member_) messages_.push_back({from, kState, ""});
    asking_.insert(from);  // and gets it once there is something to give
  } else if (topic == kState && !member_ && !has_state_) {
    if (bytes.empty()) {  // it is a newcomer itself
      if (from != sponsor_) return {};
      no_members_.insert(from);
      sponsor_.reset();
      look_for_sponsor();
      return {};
    }
    Reader reader(bytes_of(bytes));
    std::vector<float> model(trainer_.model().size());
    reader.array(std::span(model));
    if (!reader.ok()) return fail(Errc::corrupt, fmt::format("peer {} sent a model that does not parse, or of another size", from));
    GOSSAMER_TRY(trainer_.load(reader));
    std::copy(model.begin(), model.end(), trainer_.model().begin());
    has_state_ = true;
    membership_.apply();
    settle();
  }
  return {};
}

void Elastic::at_rest() {
  if (asking_.empty() || !member_) return;
  Writer writer;
  writer.array(std::span<const float>(trainer_.model()));
  trainer_.save(writer);
  for (const PeerId peer : std::exchange(asking_, {})) messages_.push_back({peer, kState, text_of(writer.view())});
}

// What follows from what was just heard.
void Elastic::settle() {
  membership_.advance(engine_.next_round());
  for (View& view : membership_.take_views()) {
    succeed(view);
    views_.push_back(std::move(view));
  }
  const auto is_told = [&](const View& view) {
    for (PeerId peer = 0; peer < view.lives.size(); ++peer)
      if (view.lives[peer] > told_[peer]) return false;
    return true;
  };
  // Up to the last one whose members are all known.  Those before it are passed through in one go, so that nothing is sent to whoever
  // was in them alone.
  if (const auto last = std::find_if(views_.rbegin(), views_.rend(), is_told); last != views_.rend()) {
    const View before = member_ ? engine_.view() : View{.lives = std::vector<Incarnation>(told_.size())};
    for (const PeerId peer : changed(before, *last))
      if (peer != setup_.self && last->has(peer)) newcomers_.push_back({peer, last->lives[peer]});
    for (auto view = views_.begin(); view != last.base(); ++view) {
      if (member_) {
        engine_.install(*view);
        continue;
      }
      member_ = true;
      const Round begun = trainer_.steps() / setup_.local_steps;
      engine_.enter(*view, setup_.rounds_shared ? view->first_round : begun);
      trainer_.go_to(engine_.next_round() * setup_.local_steps);
    }
    views_.erase(views_.begin(), last.base());
  }
  engine_.hold(membership_.frozen() || !views_.empty());
  for (auto& message : membership_.take_messages()) messages_.push_back({message.to, kViews, text_of(message.bytes)});
}

void Elastic::succeed(const View& next) {
  const auto goes_on = [&](PeerId peer) { return headed_.has(peer) && next.has(peer, headed_.lives[peer]); };
  const bool first = headed_.members() == 0;  // of a newcomer, which may have been told already
  if (head_ && !first && !goes_on(*head_)) {
    head_.reset();
    for (PeerId peer = 0; peer < next.lives.size() && !head_; ++peer)
      if (goes_on(peer)) head_ = peer;
  }
  headed_ = next;
}

void Elastic::told_head(PeerId peer) {
  if (!head_ || !headed_.has(*head_)) head_ = peer;
}

std::vector<Elastic::Message> Elastic::take_messages() { return std::exchange(messages_, {}); }
std::vector<Elastic::Newcomer> Elastic::take_newcomers() { return std::exchange(newcomers_, {}); }

}  // namespace gossamer
