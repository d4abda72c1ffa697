#include "runtime/simulator/network.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <fmt/format.h>
#include <optional>
#include <set>
#include <utility>
#include <xxhash.h>

#include "base/check.h"
#include "base/serial.h"

namespace gossamer::sim {
namespace {

Duration time_for(std::size_t bytes, double bandwidth) {
  return bandwidth > 0 ? from_seconds(static_cast<double>(bytes) / bandwidth) : Duration{};
}

// What a card sends of a message before it turns to another link's.
constexpr std::size_t kPiece = std::size_t{64} << 10;
constexpr std::size_t kPiecesMost = 32;  // of one message: larger ones have larger pieces

std::string pack(std::uint64_t a, std::uint64_t b) {
  Writer writer;
  writer.put(a);
  writer.put(b);
  return {reinterpret_cast<const char*>(writer.view().data()), writer.view().size()};
}

struct Memory {
  AlignedBuffer<std::byte> owned;
  MemoryView view;
  std::size_t uses = 0;  // puts under way from it
  bool retired = false;
};

}  // namespace

// One life of a peer, as the network sees it.
struct Network::Endpoint {
  PeerId peer = 0;
  std::uint64_t life = 0;
  bool alive = true;
  FabricEvents events;
  Traffic traffic;
  // The card sends a piece of each link's first message in turn, as one does that serves several connections.
  std::map<std::uint32_t, std::deque<std::shared_ptr<Flight>>> sending;  // by link
  std::deque<std::uint32_t> turns;
  bool card_busy = false;
  Time card_in;  // when it has taken in what came so far
  std::map<std::uint64_t, std::shared_ptr<Memory>> regions;
  std::uint64_t next_region = 1;
  std::size_t memory = 0, memory_most = 0;
  std::uint32_t next_link = 0;
  std::map<std::uint32_t, std::uint64_t> links;      // open ones, and the life at the other end
  std::map<std::uint32_t, std::size_t> in_flight;    // puts per link
  std::set<std::uint32_t> down;
  std::map<std::uint64_t, std::shared_ptr<Flight>> puts;  // not ended yet, by the order in which they left
  Random refusals;

  Endpoint(PeerId who, std::uint64_t number, std::uint64_t seed)
      : peer(who), life(number), refusals(seed, Purpose::faults, who, number) {}
};

struct Network::Flight {
  std::shared_ptr<Endpoint> from;
  std::shared_ptr<Endpoint> to;
  std::uint32_t link = 0;
  bool is_put = false;
  std::uint64_t token = 0;
  std::uint64_t number = 0;
  std::shared_ptr<Memory> source, target;
  std::size_t source_offset = 0, target_offset = 0, size = 0;
  std::uint64_t source_hash = 0;
  std::vector<std::byte> notice;
  bool lost = false;
  bool broken = false;
  bool over = false;  // ended before its time, by a crash or at the end of the run
  std::size_t lands = 0;  // bytes of a lost put that do
  std::size_t unsent = 0, piece = 0;  // while the card sends it; the piece that it sends, or sent last
  Time link_free;         // when the link has taken it
  Duration latency{}, held{};
  Duration back{};        // from landing to Ended
  std::optional<Duration> again;  // how long after it its notice comes a second time
};

namespace {

class SimRegion final : public Region {
 public:
  SimRegion(std::uint64_t life, std::uint64_t id, std::shared_ptr<Memory> memory, std::function<void()> release)
      : life_(life), id_(id), memory_(std::move(memory)), release_(std::move(release)) {}
  ~SimRegion() override {
    GOSSAMER_CHECK(memory_->uses == 0, "a region was destroyed while a put under way still names it");
    memory_->retired = true;
    release_();
  }
  MemoryView memory() const override { return memory_->view; }
  RemoteRegion remote() const override { return {pack(life_, id_), 0, memory_->view.size}; }
  std::uint64_t life() const { return life_; }
  const std::shared_ptr<Memory>& shared() const { return memory_; }

 private:
  std::uint64_t life_, id_;
  std::shared_ptr<Memory> memory_;
  std::function<void()> release_;
};

struct SimTarget final : Target {
  SimTarget(std::shared_ptr<Memory> region, std::uint32_t of) : memory(std::move(region)), link(of) {}
  std::uint64_t size() const override { return memory->view.size; }
  std::shared_ptr<Memory> memory;
  std::uint32_t link;
};

}  // namespace

class SimLink final : public Link {
 public:
  SimLink(Network& network, std::shared_ptr<Network::Endpoint> from, std::shared_ptr<Network::Endpoint> to, std::uint32_t id)
      : network_(network), from_(std::move(from)), to_(std::move(to)), id_(id) {}

  ~SimLink() override {
    from_->links.erase(id_);
    std::erase(from_->events.down, id_);
  }

  Result<std::unique_ptr<Target>> open(const RemoteRegion& remote) override {
    if (from_->down.contains(id_)) return fail(Errc::peer_gone, "cannot open a region: the peer has gone");
    Reader reader(std::as_bytes(std::span(remote.key.data(), remote.key.size())));
    const auto life = reader.get<std::uint64_t>();
    const auto id = reader.get<std::uint64_t>();
    if (!reader.ok() || reader.left() != 0 || life != to_->life)
      return fail(Errc::corrupt, "the region's key is not of this fabric, or of a previous life of this peer");
    const auto found = to_->regions.find(id);
    if (found == to_->regions.end() || found->second->view.size != remote.size)
      return fail(Errc::corrupt, "the region's key names no region of this peer");
    return std::make_unique<SimTarget>(found->second, id_);
  }

  Errc put(const Put& put) override {
    if (put.notice.size() > kNoticeSizeMax) return Errc::invalid_argument;
    const auto* source = dynamic_cast<const SimRegion*>(put.source);
    const auto* target = dynamic_cast<const SimTarget*>(put.target);
    if ((put.source && (!source || source->life() != from_->life)) || (put.target && (!target || target->link != id_)))
      return Errc::invalid_argument;
    if (put.size > 0 && (!source || !target)) return Errc::invalid_argument;
    if (source && (put.source_offset > source->memory().size || put.size > source->memory().size - put.source_offset))
      return Errc::invalid_argument;
    if (target && (put.target_offset > target->size() || put.size > target->size() - put.target_offset))
      return Errc::invalid_argument;
    if (from_->down.contains(id_)) return Errc::peer_gone;
    if (from_->in_flight[id_] >= network_.options_.puts_in_flight_max || refuse()) return Errc::would_block;
    auto flight = start(put.notice);
    flight->is_put = true;
    flight->token = put.token;
    flight->size = put.size;
    if (put.size > 0) {
      flight->source = source->shared();
      flight->target = target->memory;
      flight->source_offset = put.source_offset;
      flight->target_offset = put.target_offset;
      flight->source_hash = XXH3_64bits(source->memory().data + put.source_offset, put.size);
      ++flight->source->uses;
    }
    ++from_->in_flight[id_];
    ++from_->traffic.puts_sent;
    ++network_.counts_.puts;
    network_.launch(std::move(flight));
    return Errc::ok;
  }

  Errc notify(std::span<const std::byte> notice) override {
    if (notice.size() > kNoticeSizeMax) return Errc::invalid_argument;
    if (from_->down.contains(id_)) return Errc::peer_gone;
    if (refuse()) return Errc::would_block;
    ++network_.counts_.notices;
    network_.launch(start(notice));
    return Errc::ok;
  }

  std::uint32_t id() const override { return id_; }

 private:
  // A refusal is worth another try soon: the peer is woken for it.
  bool refuse() {
    if (network_.faults_.refuse <= 0 || from_->refusals.uniform() >= network_.faults_.refuse) return false;
    ++network_.counts_.refused;
    network_.queue_.at(network_.queue_.now() + std::chrono::microseconds(10),
                       [&network = network_, peer = from_->peer] { network.wake_(peer); });
    return true;
  }

  std::shared_ptr<Network::Flight> start(std::span<const std::byte> notice) {
    auto flight = std::make_shared<Network::Flight>();
    flight->from = from_;
    flight->to = to_;
    flight->link = id_;
    flight->notice.assign(notice.begin(), notice.end());
    ++from_->traffic.notices_sent;
    return flight;
  }

  Network& network_;
  std::shared_ptr<Network::Endpoint> from_, to_;
  std::uint32_t id_;
};

class SimFabric final : public Fabric {
 public:
  SimFabric(Network& network, std::shared_ptr<Network::Endpoint> endpoint) : network_(network), self_(std::move(endpoint)) {}
  ~SimFabric() override { self_->alive = false; }

  std::string_view name() const override { return "simulated"; }
  std::string description() const override { return fmt::format("simulated network, peer {}", self_->peer); }
  FabricLimits limits() const override {
    return {.put_size_max = std::size_t{1} << 40,
            .puts_in_flight_max = network_.options_.puts_in_flight_max,
            .device_memory = false,
            .reliable = network_.reliable_};
  }
  Traffic traffic() const override { return self_->traffic; }
  std::string address() const override { return pack(self_->peer, self_->life); }

  Result<std::unique_ptr<Region>> allocate(std::size_t size) override {
    auto memory = std::make_shared<Memory>();
    memory->owned = AlignedBuffer<std::byte>(size);
    memory->view = {memory->owned.data(), size, MemoryKind::host};
    return keep(std::move(memory));
  }
  Result<std::unique_ptr<Region>> add_region(MemoryView view) override {
    if (view.kind != MemoryKind::host) return fail(Errc::unsupported, "the simulated network moves host memory only");
    auto memory = std::make_shared<Memory>();
    memory->view = view;
    return keep(std::move(memory));
  }

  Result<std::unique_ptr<Link>> connect(std::string_view address) override {
    Reader reader(std::as_bytes(std::span(address.data(), address.size())));
    const auto peer = reader.get<std::uint64_t>();
    const auto life = reader.get<std::uint64_t>();
    if (!reader.ok() || reader.left() != 0 || peer >= network_.endpoints_.size())
      return fail(Errc::corrupt, "not an address of the simulated network");
    const auto& there = network_.endpoints_[peer];
    const std::uint32_t id = self_->next_link++;
    self_->links.emplace(id, life);
    if (!there || there->life != life || !there->alive) {
      self_->down.insert(id);
      self_->events.down.push_back(id);
      network_.wake_(self_->peer);
    }
    return std::make_unique<SimLink>(network_, self_, there, id);
  }

  void poll(FabricEvents* events) override {
    FabricEvents& mine = self_->events;
    for (const Ended& ended : mine.ended) events->ended.push_back(ended);
    for (const Notice& notice : mine.notices) events->notices.push_back(notice);
    for (const std::uint32_t down : mine.down) events->down.push_back(down);
    mine.clear();
  }

  int wait_fd() const override { return -1; }
  bool arm() override { return self_->events.empty(); }

 private:
  Result<std::unique_ptr<Region>> keep(std::shared_ptr<Memory> memory) {
    const std::uint64_t id = self_->next_region++;
    const std::size_t size = memory->view.size;
    self_->regions.emplace(id, memory);
    self_->memory += size;
    self_->memory_most = std::max(self_->memory_most, self_->memory);
    return std::make_unique<SimRegion>(self_->life, id, std::move(memory), [endpoint = self_, id, size] {
      endpoint->regions.erase(id);
      endpoint->memory -= size;
    });
  }

  Network& network_;
  std::shared_ptr<Network::Endpoint> self_;
};

Network::Network(EventQueue& queue, const NetworkOptions& options, const FaultPlan& faults, std::size_t peers, std::uint64_t seed,
                 std::function<void(PeerId)> wake)
    : queue_(queue), options_(options), faults_(faults), seed_(seed), wake_(std::move(wake)), endpoints_(peers) {
  bool lossy = faults.loss > 0 || !faults.partitions.empty();
  for (const LinkOptions& link : options.links) lossy |= link.loss.value_or(0) > 0;
  reliable_ = !lossy || !faults.repair;
}

Network::~Network() = default;

std::unique_ptr<Fabric> Network::make_fabric(PeerId peer) {
  if (endpoints_[peer]) past_.push_back(std::move(endpoints_[peer]));
  endpoints_[peer] = std::make_shared<Endpoint>(peer, ++lives_, seed_);
  return std::make_unique<SimFabric>(*this, endpoints_[peer]);
}

std::size_t Network::memory(PeerId peer) const { return endpoints_[peer]->memory; }
std::size_t Network::memory_most(PeerId peer) const { return endpoints_[peer]->memory_most; }
std::size_t Network::links(PeerId peer) const { return endpoints_[peer]->links.size(); }

Network::Path& Network::path(PeerId from, PeerId to) {
  const auto found = paths_.find({from, to});
  if (found != paths_.end()) return found->second;
  Path path{.random = Random(seed_, Purpose::link, from, to)};
  for (const LinkOptions& link : options_.links)
    if ((link.from == from && link.to == to) || (link.both_ways && link.from == to && link.to == from)) path.special = &link;
  return paths_.emplace(std::pair{from, to}, std::move(path)).first->second;
}

bool Network::parted(PeerId from, PeerId to) const {
  const Time now = queue_.now();
  for (const CutOptions& cut : faults_.partitions) {
    const Duration since = now - EventQueue::kStart;
    if (since < cut.from || since >= cut.until) continue;
    const bool from_inside = std::find(cut.peers.begin(), cut.peers.end(), from) != cut.peers.end();
    const bool to_inside = std::find(cut.peers.begin(), cut.peers.end(), to) != cut.peers.end();
    if (from_inside != to_inside && (from_inside || !cut.one_way)) return true;
  }
  return false;
}

// Draws everything that will happen to it, always in the same order, and sends it on its way.
void Network::launch(std::shared_ptr<Flight> flight) {
  Endpoint& from = *flight->from;
  Path& way = path(from.peer, flight->to->peer);
  Random& random = way.random;
  const LinkOptions* special = way.special;
  const double loss = special && special->loss ? *special->loss : faults_.loss;
  const double bandwidth = special && special->bandwidth ? *special->bandwidth : options_.bandwidth;
  const Delay& latency = special && special->latency ? *special->latency : options_.latency;
  const auto happens = [&](double probability) { return probability > 0 && random.uniform() < probability; };

  const std::size_t bytes = flight->size + flight->notice.size();
  from.traffic.bytes_sent += bytes;
  flight->lost = happens(loss) || parted(from.peer, flight->to->peer);
  if (flight->lost) {
    ++counts_.lost;
    flight->lands = random.below(flight->size + 1);
  }
  flight->broken = flight->is_put && flight->size > 0 && happens(faults_.broken_puts);
  if (flight->broken) ++counts_.broken;
  const bool twice = happens(faults_.duplicate);
  const bool late = happens(faults_.reorder);

  way.free = std::max(queue_.now(), way.free) + time_for(bytes, bandwidth);
  flight->link_free = way.free;
  flight->latency = latency.draw(random);
  flight->back = latency.draw(random);
  if (late) {
    ++counts_.reordered;
    flight->held = Duration(static_cast<std::int64_t>(random.uniform() * static_cast<double>(faults_.reorder_delay.count())));
  }
  if (twice && !flight->lost) {
    ++counts_.duplicated;
    flight->again = latency.draw(random);
  }
  ++under_way_;
  if (flight->is_put) from.puts.emplace(flight->number = counts_.puts, flight);
  if (options_.card_bandwidth <= 0) return leave(flight);
  flight->unsent = bytes;
  auto& waiting = from.sending[flight->link];
  if (waiting.empty()) from.turns.push_back(flight->link);
  waiting.push_back(flight);
  if (!from.card_busy) send_piece(flight->from);
}

void Network::send_piece(const std::shared_ptr<Endpoint>& from) {
  from->card_busy = !from->turns.empty();
  if (!from->card_busy) return;
  const std::uint32_t link = from->turns.front();
  from->turns.pop_front();
  const std::shared_ptr<Flight> flight = from->sending[link].front();
  flight->piece = std::min(flight->unsent, std::max(kPiece, (flight->size + flight->notice.size()) / kPiecesMost));
  const Duration needed = time_for(flight->piece, options_.card_bandwidth);
  queue_.at(queue_.now() + needed, [this, from, link, flight, needed] {
    flight->unsent -= flight->piece;
    auto& waiting = from->sending[link];
    if (flight->unsent == 0) {
      waiting.pop_front();
      leave(flight);
    } else {
      queue_.at(queue_.now() + flight->latency, [this, flight, needed] {
        Time& card = flight->to->card_in;
        card = std::max(queue_.now(), card + needed);
      });
    }
    if (waiting.empty()) {
      from->sending.erase(link);
    } else {
      from->turns.push_back(link);
    }
    send_piece(from);
  });
}

// Its last byte has left the sender's card.
void Network::leave(const std::shared_ptr<Flight>& flight) {
  const Time now = queue_.now();
  Path& way = path(flight->from->peer, flight->to->peer);
  Time arrival = std::max(now, flight->link_free) + flight->latency;
  if (flight->held > Duration{}) {
    arrival = arrival + flight->held;
  } else if (options_.in_order) {
    arrival = std::max(arrival, way.last_arrival);
    way.last_arrival = arrival;
  }
  queue_.trace().record({1, static_cast<std::uint64_t>(now.ns), flight->from->peer, flight->to->peer, flight->size + flight->notice.size(),
                         static_cast<std::uint64_t>(arrival.ns), flight->lost});
  queue_.at(arrival, [this, flight] { reach(flight); });
}

// At the receiver's card, which takes in one thing after another; earlier pieces are in already.
void Network::reach(const std::shared_ptr<Flight>& flight) {
  const Duration needed = time_for(flight->piece, options_.card_bandwidth);
  Time& card = flight->to->card_in;
  card = std::max(queue_.now(), card + needed);
  if (card == queue_.now()) return land(flight);
  queue_.at(card, [this, flight] { land(flight); });
}

void Network::land(const std::shared_ptr<Flight>& flight) {
  --under_way_;
  if (flight->over) return;
  const bool reachable = flight->to->alive && endpoints_[flight->to->peer] == flight->to;
  if (flight->source) {
    const std::byte* bytes = flight->source->view.data + flight->source_offset;
    if (XXH3_64bits(bytes, flight->size) != flight->source_hash) ++sources_disturbed_;
    const std::size_t lands = flight->broken ? 0 : flight->lost ? flight->lands : flight->size;
    if (reachable && !flight->target->retired) std::memcpy(flight->target->view.data + flight->target_offset, bytes, lands);
  }
  if (!flight->lost) deliver(flight->to->peer, flight->to->life, flight->notice, flight->size + flight->notice.size());
  if (flight->again) {
    ++under_way_;
    queue_.at(queue_.now() + *flight->again, [this, flight] {
      --under_way_;
      deliver(flight->to->peer, flight->to->life, flight->notice, flight->notice.size());
    });
  }
  if (!flight->is_put) return;
  queue_.at(queue_.now() + flight->back, [this, flight] {
    if (flight->over) return;
    end(*flight);
    flight->from->puts.erase(flight->number);
    wake_(flight->from->peer);
  });
}

void Network::end(Flight& flight) {
  Endpoint& sender = *flight.from;
  flight.over = true;
  if (flight.source) --flight.source->uses;
  --sender.in_flight[flight.link];
  sender.events.ended.push_back({flight.token, sender.down.contains(flight.link) || !sender.alive ? Errc::peer_gone : Errc::ok});
}

void Network::abandon(Endpoint& endpoint) {
  for (const auto& [number, flight] : std::exchange(endpoint.puts, {})) end(*flight);
}

void Network::close() {
  for (const auto* lives : {&endpoints_, &past_})
    for (const auto& endpoint : *lives) {
      if (!endpoint) continue;
      abandon(*endpoint);
      endpoint->sending.clear();  // what a card still had to send names its endpoint
    }
}

void Network::deliver(PeerId to, std::uint64_t life, std::span<const std::byte> notice, std::uint64_t bytes) {
  Endpoint& there = *endpoints_[to];
  if (there.life != life || !there.alive) return;
  Notice& arrived = there.events.notices.emplace_back();
  arrived.size = static_cast<std::uint16_t>(notice.size());
  std::copy(notice.begin(), notice.end(), arrived.data.begin());
  there.traffic.bytes_received += bytes;
  queue_.trace().record({2, static_cast<std::uint64_t>(queue_.now().ns), to, bytes, XXH3_64bits(notice.data(), notice.size())});
  wake_(to);
}

void Network::crash(PeerId peer, std::optional<Duration> noticed_after) {
  endpoints_[peer]->alive = false;
  abandon(*endpoints_[peer]);
  if (!noticed_after) return;
  queue_.at(queue_.now() + *noticed_after, [this, gone = endpoints_[peer]->life] {
    for (const auto& other : endpoints_) {
      if (!other || !other->alive) continue;
      bool news = false;
      for (const auto& [link, to] : other->links)
        if (to == gone && other->down.insert(link).second) {
          other->events.down.push_back(link);
          news = true;
        }
      if (news) wake_(other->peer);
    }
  });
}

}  // namespace gossamer::sim
