#include "runtime/simulator/control.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace gossamer::sim {
namespace {

// Streams of random numbers that no payload draws from.
constexpr std::uint64_t kMessages = std::uint64_t{0xC3} << 32, kNews = std::uint64_t{0xC4} << 32;

}  // namespace

ControlPlane::ControlPlane(EventQueue& queue, Delay delay, std::size_t peers, std::uint64_t seed, std::function<void(PeerId)> wake)
    : queue_(queue), delay_(delay), seed_(seed), wake_(std::move(wake)), now_(peers), desks_(peers), random_(seed, Purpose::faults, 0, 0xC2) {
  for (Desk& desk : desks_) desk.known = desk.told = now_;
}

ControlPlane::Wire& ControlPlane::wire(PeerId from, Incarnation life, PeerId to) {
  return wires_.try_emplace({from, life, to}, Random(mix_seed(seed_, life), Purpose::link, from, kMessages + to)).first->second;
}

ControlPlane::Wire& ControlPlane::news_wire(PeerId about, PeerId to) {
  return news_wires_.try_emplace({about, to}, Random(seed_, Purpose::link, about, kNews + to)).first->second;
}

// In order: never before the one before it.
Time ControlPlane::arrival(Wire& wire, Duration after) {
  wire.last = std::max(wire.last, queue_.now() + after + delay_.draw(wire.random));
  return wire.last;
}

void ControlPlane::died(PeerId peer, Duration noticed_after) {
  GOSSAMER_CHECK(now_[peer].alive, "a peer dies once per life");
  now_[peer].alive = false;
  Desk& desk = desks_[peer];
  desk.news.clear();
  desk.letters.clear();
  for (auto& [ends, wire] : wires_) {
    const auto& [from, life, to] = ends;
    if (from == peer && life == now_[peer].life) wire.cut = wire.arrived + random_.below(wire.sent - wire.arrived + 1);
  }
  announce(peer, noticed_after);
}

bool ControlPlane::admits(PeerId peer) const {
  if (now_[peer].alive) return false;
  for (PeerId other = 0; other < now_.size(); ++other)
    if (now_[other].alive) return desks_[other].told[peer].life == now_[peer].life && !desks_[other].told[peer].alive;
  return false;
}

Incarnation ControlPlane::returned(PeerId peer) {
  GOSSAMER_CHECK(admits(peer), "a life begins when the one before it is known to be gone");
  Desk& desk = desks_[peer];
  for (PeerId other = 0; other < now_.size(); ++other)
    if (now_[other].alive) {
      desk.known = desk.told = desks_[other].told;
      break;
    }
  now_[peer] = {now_[peer].life + 1, true};
  desk.known[peer] = desk.told[peer] = now_[peer];
  desk.news.clear();
  desk.letters.clear();
  announce(peer, {});
  // It hears later of what whoever let it in had not heard yet.
  for (PeerId other = 0; other < now_.size(); ++other) {
    const State told = desk.told[other], now = now_[other];
    if (other == peer || (told.life == now.life && told.alive == now.alive)) continue;
    const auto later = [&](const News& news) {
      Wire& wire = news_wire(other, peer);
      ++under_way_;
      queue_.at(arrival(wire, std::chrono::milliseconds(10)), [this, peer, life = now_[peer].life, news] {
        --under_way_;
        if (now_[peer].alive && now_[peer].life == life) tell(peer, news);
      });
    };
    if (told.alive) later({other, told.life, false});
    if (now.life > told.life) later({other, now.life, true});
    if (now.life > told.life && !now.alive) later({other, now.life, false});
  }
  return now_[peer].life;
}

std::vector<Incarnation> ControlPlane::roster(PeerId peer) const {
  std::vector<Incarnation> alive(now_.size());
  for (PeerId other = 0; other < alive.size(); ++other)
    if (desks_[peer].known[other].alive) alive[other] = desks_[peer].known[other].life;
  return alive;
}

std::vector<Incarnation> ControlPlane::ended(PeerId peer) const {
  std::vector<Incarnation> ended(now_.size());
  for (PeerId other = 0; other < ended.size(); ++other)
    if (!desks_[peer].known[other].alive) ended[other] = desks_[peer].known[other].life;
  return ended;
}

// Each hears of the present state of a peer, on its own time, in order.
void ControlPlane::announce(PeerId peer, Duration after) {
  const News news{peer, now_[peer].life, now_[peer].alive};
  for (PeerId to = 0; to < now_.size(); ++to) {
    if (to == peer || !now_[to].alive) continue;
    Wire& wire = news_wire(peer, to);
    ++under_way_;
    queue_.at(arrival(wire, after), [this, to, life = now_[to].life, news] {
      --under_way_;
      if (now_[to].alive && now_[to].life == life) tell(to, news);
    });
  }
}

void ControlPlane::tell(PeerId to, const News& news) {
  Desk& desk = desks_[to];
  State& told = desk.told[news.peer];
  if (news.life < told.life || (news.life == told.life && news.returned >= told.alive)) return;
  told = {news.life, news.returned};
  queue_.trace().record({5, static_cast<std::uint64_t>(queue_.now().ns), to, news.peer, news.life, news.returned});
  if (!news.returned && random_.below(2) == 0) {
    const auto untaken = std::find_if(desk.news.begin(), desk.news.end(), [&](const News& other) {
      return other.peer == news.peer && other.life == news.life && other.returned;
    });
    if (untaken != desk.news.end()) {
      desk.news.erase(untaken);
      return;
    }
  }
  desk.news.push_back(news);
  wake_(to);
}

void ControlPlane::send(PeerId from, PeerId to, std::string topic, std::string bytes) {
  const State known = desks_[from].known[to];
  if (!known.alive || to == from || !now_[from].alive) return;
  const Incarnation life = now_[from].life;
  Wire& line = wire(from, life, to);
  const std::uint64_t number = line.sent++;
  ++under_way_;
  queue_.trace().record({6, static_cast<std::uint64_t>(queue_.now().ns), from, to, bytes.size()});
  queue_.at(arrival(line, {}), [this, from, to, life, number, &line, receiver = known.life, message = Message{from, std::move(topic), std::move(bytes)}]() mutable {
    --under_way_;
    if (line.cut && number >= *line.cut) return;
    if (!now_[to].alive || now_[to].life != receiver) return;
    line.arrived = number + 1;
    Desk& desk = desks_[to];
    if (desk.known[from].life > life) return;
    desk.letters.push_back({std::move(message), life});
    wake_(to);
  });
}

std::vector<ControlPlane::Life> ControlPlane::take_deaths(PeerId peer) {
  Desk& desk = desks_[peer];
  std::vector<Life> taken;
  std::erase_if(desk.news, [&](const News& news) {
    State& known = desk.known[news.peer];
    if (news.returned || known.life != news.life) return false;
    known.alive = false;
    taken.push_back({news.peer, news.life});
    return true;
  });
  return taken;
}

std::vector<ControlPlane::Life> ControlPlane::take_returns(PeerId peer) {
  Desk& desk = desks_[peer];
  std::vector<Life> taken;
  std::erase_if(desk.news, [&](const News& news) {
    State& known = desk.known[news.peer];
    if (!news.returned || known.alive) return false;
    known = {news.life, true};
    taken.push_back({news.peer, news.life});
    std::erase_if(desk.letters, [&](const Letter& letter) { return letter.message.from == news.peer && letter.life < news.life; });
    return true;
  });
  return taken;
}

std::vector<ControlPlane::Message> ControlPlane::take_messages(PeerId peer) {
  Desk& desk = desks_[peer];
  std::vector<Message> taken;
  std::erase_if(desk.letters, [&](Letter& letter) {
    if (letter.life > desk.known[letter.message.from].life) return false;
    taken.push_back(std::move(letter.message));
    return true;
  });
  return taken;
}

bool ControlPlane::waits(PeerId peer) const {
  const Desk& desk = desks_[peer];
  return !desk.news.empty() || std::any_of(desk.letters.begin(), desk.letters.end(), [&](const Letter& letter) {
    return letter.life <= desk.known[letter.message.from].life;
  });
}

bool ControlPlane::quiet() const {
  if (under_way_ > 0) return false;
  for (PeerId peer = 0; peer < now_.size(); ++peer)
    if (now_[peer].alive && waits(peer)) return false;
  return true;
}

}  // namespace gossamer::sim
