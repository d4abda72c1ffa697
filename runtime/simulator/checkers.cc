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
    : setup_(setup), queue_(queue), begun_(setup.peers), ledgers_(setup.peers), progress_(setup.peers, queue.now()), left_(setup.peers) {}

void Checkers::violate(std::string_view checker, PeerId peer, Round round, std::string what) {
  ++found_;
  if (told_[std::string(checker)]++ >= kToldMax) return;
  violations_.push_back({std::string(checker), peer, round, seconds(queue_.now() - EventQueue::kStart), std::move(what)});
}

void Checkers::begun(PeerId peer, Round round) {
  if (round != begun_[peer])
    violate("staleness", peer, round, fmt::format("begins round {} after round {}", round, static_cast<std::int64_t>(begun_[peer]) - 1));
  begun_[peer] = round + 1;
  if (setup_.traits.asynchronous || !setup_.traits.uses_graph || round < setup_.rounds_open) return;
  const Round closed = round - setup_.rounds_open;
  for (const Edge& edge : setup_.topology->at(closed, peer).in)
    if (begun_[edge.peer] <= closed)
      violate("staleness", peer, round,
              fmt::format("begins round {} although peer {}, its neighbour in round {}, has begun only {} rounds", round, edge.peer, closed,
                          begun_[edge.peer]));
}

void Checkers::encoded(PeerId from, Round round, const Outgoing& what, std::span<const std::byte> bytes) {
  const std::uint64_t hash = XXH3_64bits(bytes.data(), bytes.size());
  for (const PeerId to : what.to) payloads_[{from, to, round, what.phase}].push_back(hash);
}

void Checkers::handed_over(PeerId to, const Arrival& arrival) {
  const Key key{arrival.from, to, arrival.header.round, arrival.header.phase};
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

void Checkers::corrected(PeerId peer, Round round, double a, std::span<const float> shadow, std::span<const float> add) {
  progressed(peer);
  if (setup_.traits.exchanges == Exchanges::model && a == 1 && ledgers_[peer].kept) {
    Ledger& ledger = ledgers_[peer];
    for (std::size_t i = 0; i < add.size() && i < ledger.model.size(); ++i) ledger.model[i] += add[i];
    ledger.scale += norm(add);
  } else {
    ledgers_[peer].kept = false;
  }
  if (!setup_.keeps_mean) return;
  Sum& sum = setup_.traits.asynchronous ? whole_ : rounds_[round];
  sum.sum.resize(setup_.vector_size);
  for (std::size_t i = 0; i < add.size(); ++i) sum.sum[i] += add[i] + (a - 1) * shadow[i];
  sum.scale += norm(shadow) + norm(add);
  if (setup_.traits.asynchronous || ++sum.peers < setup_.peers) return;
  check_sum(sum, round);
  rounds_.erase(round);
}

void Checkers::check_sum(const Sum& sum, Round round) {
  const double moved = norm(std::span<const double>(sum.sum));
  if (!(moved <= kMeanTolerance * sum.scale))
    violate("mean", 0, round, fmt::format("the corrections sum to a vector of norm {:.3g} instead of 0 (their sizes add up to {:.3g})", moved, sum.scale));
}

void Checkers::own_replica(PeerId from, PeerId to, Round round, Phase phase, std::uint64_t hash) {
  replicas_[{from, to, round, phase}] = hash;
}

void Checkers::their_replica(PeerId at, PeerId of, Round round, Phase phase, std::uint64_t hash) {
  const auto owner = replicas_.find({of, at, round, phase});
  if (owner == replicas_.end()) return;  // "once" has said so
  if (owner->second != hash) violate("replica", at, round, fmt::format("holds a replica of peer {} that has parted from its owner's", of));
  replicas_.erase(owner);
}

void Checkers::started(PeerId peer, std::span<const float> model) {
  ledgers_[peer].model.assign(model.begin(), model.end());
  ledgers_[peer].own = ledgers_[peer].model;
  ledgers_[peer].scale = norm(model);
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

void Checkers::ended() {
  if (setup_.keeps_mean && setup_.traits.asynchronous && !whole_.sum.empty()) check_sum(whole_, 0);
  if (mass_.peers == setup_.peers) {
    if (!(std::abs(weight_ - static_cast<double>(setup_.peers)) <= 1e-9 * static_cast<double>(setup_.peers)))
      violate("mass", 0, begun_[0], fmt::format("the push-sum weights sum to {:.12g} with {} peers", weight_, setup_.peers));
    const double apart = norm(std::span<const double>(mass_.sum));
    if (!(apart <= kLedgerTolerance * mass_.scale))
      violate("mass", 0, begun_[0], fmt::format("the push-sum shares are {:.3g} away from the starts plus the local steps", apart));
  }
  for (const auto& [key, hashes] : payloads_)
    violate("once", key.to, key.round, fmt::format("a payload of peer {} (round {}, phase {}) was sent and never handed over", key.from, key.round, key.phase));
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
    checkers_.begun(self_, info.round);
    if (!asynchronous_) shadows_[info.round] = shadow;
    live_ = shadow;
    return inner_->begin(stream, info, shadow);
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<std::byte> out) override {
    auto encoded = inner_->encode(stream, info, what, out);
    if (!encoded) return encoded;
    checkers_.encoded(self_, info.round, what, out.first(encoded->used));
    for (const PeerId to : what.to)
      if (const auto replica = inner_->replica(to, Replica::own); !replica.empty())
        checkers_.own_replica(self_, to, info.round, what.phase, hash(replica));
    return encoded;
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) checkers_.handed_over(self_, arrival);
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
    checkers_.corrected(self_, info.round, affine->a, snapshot == shadows_.end() ? live_ : snapshot->second, add);
    if (snapshot != shadows_.end()) shadows_.erase(snapshot);
    return affine;
  }

  void view(const View& view, const Topology& graph, std::span<const PeerId> changed) override { inner_->view(view, graph, changed); }

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
};

class WatchedOptimizer final : public Optimizer {
 public:
  WatchedOptimizer(std::unique_ptr<Optimizer> inner, PeerId self, Checkers& checkers)
      : inner_(std::move(inner)), self_(self), checkers_(checkers) {}

  void apply(Stream& stream, double learning_rate, std::span<const float> gradient, std::span<float> model) override {
    before_.assign(model.begin(), model.end());
    inner_->apply(stream, learning_rate, gradient, model);
    checkers_.stepped(self_, before_, model);
  }
  void save(Writer& writer) const override { inner_->save(writer); }
  Result<> load(Reader& reader) override { return inner_->load(reader); }

 private:
  std::unique_ptr<Optimizer> inner_;
  PeerId self_;
  Checkers& checkers_;
  std::vector<float> before_;
};

}  // namespace

std::unique_ptr<Mixer> watch(std::unique_ptr<Mixer> mixer, PeerId self, Checkers& checkers) {
  return std::make_unique<WatchedMixer>(std::move(mixer), self, checkers);
}

std::unique_ptr<Optimizer> watch(std::unique_ptr<Optimizer> optimizer, PeerId self, Checkers& checkers) {
  return std::make_unique<WatchedOptimizer>(std::move(optimizer), self, checkers);
}

}  // namespace gossamer::sim
