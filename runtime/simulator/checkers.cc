#include "runtime/simulator/checkers.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>
#include <xxhash.h>

#include "base/check.h"

namespace gossamer::sim {
namespace {

constexpr int kToldMax = 5;  // violations of each kind that are kept
// Of the sum of the norms of what was summed: rounding of float32 leaves 1e-7 of each, a lost difference much more.
constexpr double kMeanTolerance = 2e-6;
constexpr double kLedgerTolerance = 1e-5;

double norm(std::span<const double> x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return std::sqrt(sum);
}
double norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

}  // namespace

bool keeps_mean(const Algorithm& algorithm, CodecId codec) {
  return algorithm.keeps_mean && (algorithm.shape != Shape::star || codec == CodecId::none);
}

Checkers::Checkers(CheckSetup setup, const EventQueue& queue)
    : setup_(setup),
      queue_(queue),
      begun_(setup.peers),
      ledgers_(setup.peers),
      progress_(setup.peers, queue.now()),
      left_(setup.peers),
      lives_(setup.peers, 1),
      in_force_(setup.peers, View::first(setup.peers)),
      newest_(in_force_),
      recent_(setup.peers),
      newcomer_(setup.peers) {}

void Checkers::violate(std::string_view checker, PeerId peer, Round round, std::string what) {
  ++found_;
  if (told_[std::string(checker)]++ >= kToldMax) return;
  violations_.push_back({std::string(checker), peer, round, seconds(queue_.now() - EventQueue::kStart), std::move(what)});
}

void Checkers::begun(PeerId peer, Round round, const Neighbourhood* edges) {
  if (round != begun_[peer] && !newcomer_[peer])
    violate("staleness", peer, round, fmt::format("begins round {} after round {}", round, static_cast<std::int64_t>(begun_[peer]) - 1));
  begun_[peer] = round + 1;
  newcomer_[peer] = false;
  if (setup_.traits.asynchronous || !setup_.traits.uses_graph) return;
  auto& recent = recent_[peer];
  Begun& now = recent.emplace_back(Begun{round, {}});
  for (const Edge& edge : edges ? edges->in : setup_.topology->at(round, peer).in)
    now.neighbours.push_back({edge.peer, in_force_[peer].lives[edge.peer]});
  if (recent.size() <= setup_.rounds_open) return;
  const Begun closed = std::move(recent.front());
  recent.erase(recent.begin());
  for (const Life& neighbour : closed.neighbours)
    if (lives(neighbour) && begun_[neighbour.peer] <= closed.round)
      violate("staleness", peer, round,
              fmt::format("begins round {} although peer {}, its neighbour in round {}, has begun only {} rounds", round, neighbour.peer,
                          closed.round, begun_[neighbour.peer]));
}

void Checkers::encoded(PeerId from, Round round, const Outgoing& what, std::span<const std::byte> bytes) {
  const std::uint64_t hash = XXH3_64bits(bytes.data(), bytes.size());
  for (const PeerId to : what.to) payloads_[{now(from), {to, in_force_[from].lives[to]}, round, what.phase}].push_back(hash);
}

void Checkers::handed_over(PeerId to, const Arrival& arrival) {
  const Key key{{arrival.from, arrival.header.incarnation}, now(to), arrival.header.round, arrival.header.phase};
  const std::uint64_t hash = XXH3_64bits(arrival.bytes.data(), arrival.bytes.size());
  const auto sent = payloads_.find(key);
  if (sent == payloads_.end()) {
    violate("once", to, key.round, fmt::format("was handed payload {} of peer {} (phase {}) twice, or it was never sent", arrival.header.sequence,
                                              arrival.from, key.phase));
    return;
  }
  auto& hashes = sent->second;
  const auto same = std::find(hashes.begin(), hashes.end(), hash);
  if (same == hashes.end())
    violate("once", to, key.round, fmt::format("payload {} of peer {} is not what was sent", arrival.header.sequence, arrival.from));
  hashes.erase(same == hashes.end() ? hashes.begin() : same);
  if (hashes.empty()) payloads_.erase(sent);
}

void Checkers::corrected(PeerId peer, Round round, double a, std::span<const float> shadow, std::span<const float> add,
                         std::optional<PeerId> partner) {
  progressed(peer);
  if (setup_.traits.exchanges == Exchanges::model && a == 1 && ledgers_[peer].kept) {
    Ledger& ledger = ledgers_[peer];
    for (std::size_t i = 0; i < add.size() && i < ledger.model.size(); ++i) ledger.model[i] += add[i];
    ledger.scale += norm(add);
  } else {
    ledgers_[peer].kept = false;
  }
  if (!setup_.keeps_mean || !lives(now(peer))) return;
  const View& view = in_force_[peer];
  if (setup_.traits.asynchronous) {
    const Life one = now(peer);
    if (!partner) return this->add(whole_, a, shadow, add);
    const Life other{*partner, view.lives[*partner]};
    return this->add(pairs_[{std::min(one, other), std::max(one, other)}], a, shadow, add);
  }
  Sum& sum = rounds_[{view.number, round}];
  this->add(sum, a, shadow, add);
  sum.members = view.lives;
  if (++sum.peers < view.members()) return;
  check_sum(sum, 0, round);
  rounds_.erase({view.number, round});
}

void Checkers::add(Sum& sum, double a, std::span<const float> shadow, std::span<const float> add) const {
  sum.sum.resize(setup_.vector_size);
  for (std::size_t i = 0; i < add.size(); ++i) sum.sum[i] += add[i] + (a - 1) * shadow[i];
  sum.scale += norm(shadow) + norm(add);
}

void Checkers::check_sum(const Sum& sum, PeerId peer, Round round) {
  ++sums_checked_;
  const double moved = norm(std::span<const double>(sum.sum));
  if (!(moved <= kMeanTolerance * sum.scale))
    violate("mean", peer, round, fmt::format("the corrections sum to a vector of norm {:.3g} instead of 0 (their sizes add up to {:.3g})", moved, sum.scale));
}

void Checkers::own_replica(PeerId from, PeerId to, Round round, Phase phase, std::uint64_t hash) {
  replicas_[{now(from), {to, in_force_[from].lives[to]}, round, phase}] = hash;
}

void Checkers::their_replica(PeerId at, PeerId of, Round round, Phase phase, std::uint64_t hash) {
  const auto owner = replicas_.find({{of, in_force_[at].lives[of]}, now(at), round, phase});
  if (owner == replicas_.end()) return;  // "once" has said so
  if (owner->second != hash) violate("replica", at, round, fmt::format("holds a replica of peer {} that has parted from its owner's", of));
  replicas_.erase(owner);
}

void Checkers::started(PeerId peer, std::span<const float> model) {
  ledgers_[peer].model.assign(model.begin(), model.end());
  ledgers_[peer].own = ledgers_[peer].model;
  ledgers_[peer].scale = norm(model);
  ledgers_[peer].kept = true;
}

void Checkers::mass_begins(PeerId peer, std::span<const float> model) { ledgers_[peer].own.assign(model.begin(), model.end()); }

void Checkers::entered(PeerId peer, const View& view) {
  in_force_[peer] = view;
  if (setup_.traits.asynchronous) return;
  if (newcomer_[peer]) begun_[peer] = view.first_round;
  newcomer_[peer] = false;
  if (begun_[peer] != view.first_round)
    violate("view", peer, begun_[peer], fmt::format("is in view {} in round {}; it begins in round {}", view.number, begun_[peer], view.first_round));
}

void Checkers::died(PeerId peer) {
  left(peer);
  const Life gone = now(peer);
  dead_.insert(gone);
  std::erase_if(rounds_, [&](const auto& round) { return round.second.members[peer] == gone.life; });
}

void Checkers::returned(PeerId peer, Incarnation life) {
  lives_[peer] = life;
  left_[peer] = false;
  progress_[peer] = queue_.now();
  begun_[peer] = 0;
  recent_[peer].clear();
  newcomer_[peer] = true;
  ledgers_[peer] = {};
  newest_[peer] = in_force_[peer] = View{.lives = std::vector<Incarnation>(setup_.peers)};
}

void Checkers::installed(PeerId peer, const View& view) {
  newest_[peer] = view;
  if (!view.has(peer, lives_[peer])) violate("view", peer, begun_[peer], fmt::format("installs view {}, which it is not in", view.number));
  Known& known = views_[view.number];
  if (known.by.empty()) known.view = view;
  if (known.view != view) {
    // What only the dead have seen never was.
    const auto other = std::find_if(known.by.begin(), known.by.end(), [&](const Life& one) { return lives(one); });
    if (other != known.by.end())
      violate("view", peer, begun_[peer], fmt::format("installs another view {} than peer {}", view.number, other->peer));
    known = {view, {}};
  }
  known.by.push_back(now(peer));
}

void Checkers::check_views() {
  std::optional<PeerId> first;
  for (PeerId peer = 0; peer < setup_.peers; ++peer) {
    if (!lives(now(peer))) continue;
    if (!first) first = peer;
    const View& view = newest_[peer];
    if (view != newest_[*first])
      violate("view", peer, begun_[peer], fmt::format("ends in view {}, and peer {} in view {}", view.number, *first, newest_[*first].number));
    for (PeerId other = 0; other < setup_.peers; ++other)
      if (view.has(other) != lives(now(other)) || (view.has(other) && view.lives[other] != lives_[other]))
        violate("view", peer, begun_[peer], fmt::format("ends in a view that {} peer {}", view.has(other) ? "still has" : "lacks", other));
  }
}

void Checkers::stepped(PeerId peer, std::span<const float> before, std::span<const float> after) {
  progressed(peer);
  Ledger& ledger = ledgers_[peer];
  double moved = 0;
  for (std::size_t i = 0; i < before.size() && i < ledger.model.size(); ++i) {
    const double by = static_cast<double>(after[i]) - before[i];
    ledger.model[i] += by;
    ledger.own[i] += by;
    moved += by * by;
  }
  ledger.scale += std::sqrt(moved) + norm(after) * 0x1p-10;  // every addition rounds the model
}

void Checkers::progressed(PeerId peer) { progress_[peer] = queue_.now(); }
void Checkers::left(PeerId peer) { left_[peer] = true; }

void Checkers::look_for_progress() {
  if (setup_.progress_bound <= Duration{}) return;
  for (PeerId peer = 0; peer < setup_.peers; ++peer) {
    if (left_[peer] || queue_.now() - progress_[peer] <= setup_.progress_bound) continue;
    violate("progress", peer, begun_[peer], fmt::format("no step and no correction for {:.3g} s", seconds(queue_.now() - progress_[peer])));
    progress_[peer] = queue_.now();  // told once per bound
  }
}

void Checkers::memory(PeerId peer, std::size_t bytes, std::size_t bound) {
  if (bytes > bound) violate("memory", peer, begun_[peer], fmt::format("has {} bytes registered; {} is the most that it should need", bytes, bound));
}

void Checkers::at_rest(PeerId peer, std::span<const float> model, const std::optional<Mass>& mass) {
  const Ledger& ledger = ledgers_[peer];
  if (mass) {
    if (!(mass->weight > 0)) violate("mass", peer, begun_[peer], fmt::format("its push-sum weight is {}", mass->weight));
    ++mass_.peers;
    weight_ += mass->weight;
    mass_.sum.resize(model.size());
    mass_.scale += ledger.scale + norm(model);
    for (std::size_t i = 0; i < model.size(); ++i)
      mass_.sum[i] += static_cast<double>(mass->x[i]) + model[i] - mass->expected[i] - ledger.own[i];
  }
  if (!ledger.kept || setup_.traits.exchanges != Exchanges::model || ledger.model.size() != model.size()) return;
  double apart = 0;
  for (std::size_t i = 0; i < model.size(); ++i) apart += (model[i] - ledger.model[i]) * (model[i] - ledger.model[i]);
  if (!(std::sqrt(apart) <= kLedgerTolerance * (ledger.scale + norm(model))))
    violate("ledger", peer, begun_[peer], fmt::format("the model is {:.3g} away from its start plus its steps plus its corrections", std::sqrt(apart)));
}

void Checkers::check_mass() {
  if (mass_.peers == 0) return;
  std::optional<PeerId> first;
  for (PeerId peer = 0; peer < setup_.peers; ++peer)
    if (lives(now(peer)) && !first) first = peer;
  const View& view = in_force_[*first];
  if (mass_.peers != view.members()) return;
  for (PeerId peer = 0; peer < setup_.peers; ++peer)
    if (view.has(peer) && (!lives({peer, view.lives[peer]}) || in_force_[peer] != view)) return;
  const auto members = static_cast<double>(view.members());
  if (!(std::abs(weight_ - members) <= 1e-9 * members))
    violate("mass", 0, begun_[0], fmt::format("the push-sum weights sum to {:.12g} with {} members", weight_, members));
  const double apart = norm(std::span<const double>(mass_.sum));
  if (!(apart <= kLedgerTolerance * mass_.scale))
    violate("mass", 0, begun_[0], fmt::format("the push-sum shares are {:.3g} away from the starts plus the local steps", apart));
}

void Checkers::ended() {
  if (setup_.keeps_mean && !whole_.sum.empty()) check_sum(whole_, 0, 0);
  for (const auto& [ends, sum] : pairs_)
    if (lives(ends.first) && lives(ends.second)) check_sum(sum, ends.first.peer, 0);
  check_mass();
  check_views();
  for (const auto& [key, hashes] : payloads_)
    if (lives(key.from) && lives(key.to))
      violate("once", key.to.peer, key.round,
              fmt::format("a payload of peer {} (round {}, phase {}) was sent and never handed over", key.from.peer, key.round, key.phase));
}

namespace {

class WatchedMixer final : public Mixer {
 public:
  WatchedMixer(std::unique_ptr<Mixer> inner, PeerId self, Checkers& checkers)
      : inner_(std::move(inner)), self_(self), checkers_(checkers), asynchronous_(inner_->traits().asynchronous) {}

  std::string_view name() const override { return inner_->name(); }
  MixerTraits traits() const override { return inner_->traits(); }
  std::size_t payload_capacity() const override { return inner_->payload_capacity(); }
  void start(std::span<const float> common) override { inner_->start(common); }
  void gradient(Stream& stream, const RoundInfo& info, std::span<float> gradient) override { inner_->gradient(stream, info, gradient); }

  Plan begin(Stream& stream, const RoundInfo& info, std::span<const float> shadow) override {
    checkers_.begun(self_, info.round, info.edges);
    if (!asynchronous_) shadows_[info.round] = shadow;
    live_ = shadow;
    Plan plan = inner_->begin(stream, info, shadow);
    if (std::exchange(view_is_new_, false) && inner_->mass()) checkers_.mass_begins(self_, shadow);
    return plan;
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<std::byte> out) override {
    auto encoded = inner_->encode(stream, info, what, out);
    if (!encoded) return encoded;
    checkers_.encoded(self_, info.round, what, out.first(encoded->used));
    if (info.payload_kept) shadows_[info.round] = {reinterpret_cast<const float*>(out.data()), shadows_[info.round].size()};
    partner_ = what.to.size() == 1 ? std::optional(what.to.front()) : std::nullopt;
    for (const PeerId to : what.to)
      if (const auto replica = inner_->replica(to, Replica::own); !replica.empty())
        checkers_.own_replica(self_, to, info.round, what.phase, hash(replica));
    return encoded;
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) checkers_.handed_over(self_, arrival);
    partner_ = arrivals.size() == 1 ? std::optional(arrivals.front().from) : std::nullopt;
    auto plan = inner_->arrived(stream, info, arrivals);
    for (const Arrival& arrival : arrivals)
      if (const auto replica = inner_->replica(arrival.from, Replica::theirs); !replica.empty())
        checkers_.their_replica(self_, arrival.from, arrival.header.round, arrival.header.phase, hash(replica));
    return plan;
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo& info, std::span<float> add) override {
    const auto affine = inner_->result(stream, info, add);
    if (!affine) return affine;
    const auto snapshot = shadows_.find(info.round);
    checkers_.corrected(self_, info.round, affine->a, snapshot == shadows_.end() ? live_ : snapshot->second, add, partner_);
    if (snapshot != shadows_.end()) shadows_.erase(snapshot);
    return affine;
  }

  Result<double> mix(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals, std::span<const float> vector,
                     std::span<float> to) override {
    for (const Arrival& arrival : arrivals) checkers_.handed_over(self_, arrival);
    const std::vector<float> before(vector.begin(), vector.end());
    auto moved = inner_->mix(stream, info, arrivals, vector, to);
    if (!moved) return moved;
    std::vector<float> correction(to.size());
    for (std::size_t i = 0; i < to.size(); ++i) correction[i] = to[i] - before[i];
    checkers_.corrected(self_, info.round, 1, before, correction, arrivals.size() == 1 ? std::optional(arrivals.front().from) : std::nullopt);
    shadows_.erase(info.round);
    return moved;
  }

  void view(const View& view, const Topology& graph, std::span<const PeerId> changed) override {
    checkers_.entered(self_, view);
    view_is_new_ = true;
    inner_->view(view, graph, changed);
  }

  std::span<const float> replica(PeerId peer, Replica which) const override { return inner_->replica(peer, which); }
  std::optional<Mass> mass() const override { return inner_->mass(); }
  void save(Writer& writer) const override { inner_->save(writer); }
  Result<> load(Reader& reader) override { return inner_->load(reader); }

 private:
  static std::uint64_t hash(std::span<const float> replica) { return XXH3_64bits(replica.data(), replica.size_bytes()); }

  std::unique_ptr<Mixer> inner_;
  PeerId self_;
  Checkers& checkers_;
  bool asynchronous_;
  std::map<Round, std::span<const float>> shadows_;  // of open rounds
  std::span<const float> live_;
  std::optional<PeerId> partner_;  // of the last payload encoded or handed over
  bool view_is_new_ = false;
};

class WatchedOptimizer final : public Optimizer {
 public:
  WatchedOptimizer(std::unique_ptr<Optimizer> inner, PeerId self, std::vector<WatchedPart> parts)
      : inner_(std::move(inner)), self_(self), parts_(std::move(parts)) {}

  void begin(double learning_rate) override { inner_->begin(learning_rate); }

  void apply(Stream& stream, std::size_t offset, std::span<const float> gradient, std::span<float> model) override {
    before_.assign(model.begin(), model.end());
    inner_->apply(stream, offset, gradient, model);
    for (const WatchedPart& part : parts_) {
      if (part.offset + part.count <= offset || part.offset >= offset + model.size()) continue;
      GOSSAMER_CHECK(part.offset >= offset && part.offset + part.count <= offset + model.size(), "parts are moved whole");
      const std::size_t at = part.offset - offset;
      part.checkers->stepped(self_, std::span(before_).subspan(at, part.count), model.subspan(at, part.count));
    }
  }
  void save(Writer& writer) const override { inner_->save(writer); }
  Result<> load(Reader& reader) override { return inner_->load(reader); }

 private:
  std::unique_ptr<Optimizer> inner_;
  PeerId self_;
  std::vector<WatchedPart> parts_;
  std::vector<float> before_;
};

}  // namespace

std::unique_ptr<Mixer> watch(std::unique_ptr<Mixer> mixer, PeerId self, Checkers& checkers) {
  return std::make_unique<WatchedMixer>(std::move(mixer), self, checkers);
}

std::unique_ptr<Optimizer> watch(std::unique_ptr<Optimizer> optimizer, PeerId self, std::vector<WatchedPart> parts) {
  return std::make_unique<WatchedOptimizer>(std::move(optimizer), self, std::move(parts));
}

}  // namespace gossamer::sim
