// PowerGossip: Vogels, Karimireddy, Jaggi, "Practical Low-Rank Communication Compression in Decentralized Deep
// Learning", NeurIPS 2020, arXiv 2008.01425.
//
// For every edge and every matrix of the model the two ends keep one orthonormal basis b of `rank` columns, the same
// bits at both.  An iteration sends the own matrix times b, and both ends learn how the difference D of their
// matrices acts on b:
//
//     b on the left side:   q = D^T b,   D ~ b q^T,   next b = orthonormal(q), on the right side
//     b on the right side:  q = D b,     D ~ q b^T,   next b = orthonormal(q), on the left side
//     x_i += w_ij (approximation of x_j - x_i)
//
// which is a power iteration that runs while the models move.  No replica, no error memory and nothing to tune.
// D is always "higher id minus lower id": both ends subtract the same two floats in the same order, so q, the bases
// and the moves are the same bits, one end's with the other sign, and the mean is kept.
//
// With several iterations per round each is a phase.  Tensors that are no matrices, or where rank is no less than a
// side, travel whole in phase 0.
#include <cstring>
#include <fmt/format.h>
#include <map>

#include "base/random.h"
#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/low_rank.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

struct Matrix {
  std::size_t offset = 0, rows = 0, columns = 0;
};

// A column that vanished would never come back, so it is drawn anew.
Result<> make_basis(Stream& stream, std::span<float> columns, std::size_t rank, Random random) {
  const std::size_t height = columns.size() / rank;
  for (int attempt = 0; attempt < 8; ++attempt) {
    const auto vanished = orthonormalise(stream, best_kernels(), columns, rank);
    if (!vanished) return fail(Errc::diverged, "the models' difference is no longer a number");
    if (*vanished == 0) return {};
    for (std::size_t k = 0; k < rank; ++k)
      if ((*vanished >> k & 1) != 0)
        for (float& value : columns.subspan(k * height, height)) value = static_cast<float>(random.normal());
  }
  return fail(Errc::internal, "random columns are dependent");  // of fewer columns than rows: never
}

class PowerGossip final : public Mixer {
 public:
  explicit PowerGossip(const MixerSetup& setup) : setup_(setup), sum_(setup.layout->size()) {
    for (const Tensor& tensor : setup.layout->tensors()) {
      const std::size_t rows = tensor.shape.size() < 2 ? 1 : tensor.shape.front();
      const std::size_t columns = rows == 0 ? 0 : tensor.count / rows;
      if (std::min(rows, columns) > setup.rank) {
        matrices_.push_back({tensor.offset, rows, columns});
        capacity_ += setup.rank * std::max(rows, columns);
      } else {
        vectors_.push_back({tensor.offset, 1, tensor.count});
        capacity_ += tensor.count;
      }
    }
  }

  std::string_view name() const override { return "power-gossip"; }
  MixerTraits traits() const override { return {.each_once = true}; }
  std::size_t payload_capacity() const override { return capacity_ * sizeof(float); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    set_zero(sum_.span());
    phase_ = 0;
    return plan(*info.edges);
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<std::byte> out) override {
    GOSSAMER_TRY_ASSIGN(Link * link, link_to(stream, info.self, what.to.front()));
    link->sent.clear();
    if (what.phase == 0)
      for (const Matrix& vector : vectors_) link->sent.insert(link->sent.end(), shadow_.begin() + vector.offset, shadow_.begin() + vector.offset + vector.columns);
    for (std::size_t m = 0; m < matrices_.size(); ++m) append_product(stream, matrices_[m], *link, link->bases[m]);
    std::memcpy(out.data(), link->sent.data(), link->sent.size() * sizeof(float));
    return Encoded{link->sent.size() * sizeof(float), CodecId::none, link->sent.size()};
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY_ASSIGN(Link * link, link_to(stream, info.self, arrival.from));
      GOSSAMER_TRY(check_payload(arrival, CodecId::none, link->sent.size()));
      if (arrival.bytes.size() != link->sent.size() * sizeof(float))
        return fail(Errc::corrupt, fmt::format("peer {} sent {} bytes of products, not {}", arrival.from, arrival.bytes.size(), link->sent.size() * sizeof(float)));
      std::vector<float> difference(link->sent.size());
      if (!difference.empty()) std::memcpy(difference.data(), arrival.bytes.data(), arrival.bytes.size());
      const bool lower = info.self < arrival.from;
      for (std::size_t i = 0; i < difference.size(); ++i)
        difference[i] = lower ? difference[i] - link->sent[i] : link->sent[i] - difference[i];
      const auto weight = static_cast<float>((lower ? 1 : -1) * setup_.step_size * weight_from(*info.edges, arrival.from));
      GOSSAMER_TRY(move(stream, *link, difference, weight, info.self, arrival.from));
    }
    ++phase_;
    return plan(*info.edges);
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo&, std::span<float> add) override {
    return moved_by(stream, sum_.span(), add);
  }

  void view(const View&, const Topology&, std::span<const PeerId> changed) override {
    for (const PeerId peer : changed) links_.erase(peer);
  }

  void save(Writer& writer) const override {
    writer.put<std::uint64_t>(links_.size());
    for (const auto& [peer, link] : links_) {
      writer.put(peer);
      writer.put(link.iterations);
      for (const auto& basis : link.bases) writer.array(std::span(basis.data(), basis.size()));
    }
  }

  Result<> load(Reader& reader) override {
    links_.clear();
    for (auto left = reader.get<std::uint64_t>(); left > 0 && reader.ok(); --left) {
      Link& link = links_[reader.get<PeerId>()];
      link.iterations = reader.get<std::uint64_t>();
      for (const Matrix& matrix : matrices_) {
        link.bases.emplace_back(setup_.rank * (link.left() ? matrix.rows : matrix.columns));
        reader.array(std::span(link.bases.back()));
      }
    }
    return reader.ok() ? Result<>{} : fail(Errc::corrupt, "the bases of power-gossip do not parse");
  }

 private:
  struct Link {
    std::uint64_t iterations = 0;
    std::vector<std::vector<float>> bases;  // one per matrix: columns of its side, one behind the other
    std::vector<float> sent;                // vectors, then products
    bool left() const { return iterations % 2 == 0; }
  };

  Plan plan(const Neighbourhood& edges) const {
    Plan plan;
    if (phase_ >= setup_.power_iterations || (phase_ > 0 && matrices_.empty())) return plan;
    for (const Edge& edge : edges.out) plan.send.push_back({.id = edge.peer, .phase = phase_, .kind = 0, .to = {edge.peer}});
    for (const Edge& edge : edges.in) plan.await.push_back({edge.peer, phase_});
    return plan;
  }

  Random draws(PeerId self, PeerId other, std::size_t matrix, std::uint64_t iteration) const {
    const std::uint64_t edge = std::uint64_t{std::min(self, other)} << 32 | std::max(self, other);
    return {setup_.seed, Purpose::low_rank, edge, mix_seed(matrix, iteration)};
  }

  // What is kept of an edge; random bases when it is used for the first time.
  Result<Link*> link_to(Stream& stream, PeerId self, PeerId other) {
    const auto [found, fresh] = links_.try_emplace(other);
    Link& link = found->second;
    if (fresh)
      for (std::size_t m = 0; m < matrices_.size(); ++m) {
        Random random = draws(self, other, m, 0);
        auto& basis = link.bases.emplace_back(setup_.rank * matrices_[m].rows);
        for (float& value : basis) value = static_cast<float>(random.normal());
        GOSSAMER_TRY(make_basis(stream, basis, setup_.rank, random));
      }
    return &link;
  }

  // Appends X^T b or X b, with X the model as moved so far in this round.
  void append_product(Stream& stream, const Matrix& matrix, Link& link, std::span<const float> basis) {
    const std::size_t at = link.sent.size(), size = setup_.rank * (link.left() ? matrix.columns : matrix.rows);
    link.sent.resize(at + size);
    const std::span<float> product(link.sent.data() + at, size);
    const MatrixOf moved{EncodeOf::feedback, shadow_.data() + matrix.offset, sum_.data() + matrix.offset, matrix.rows, matrix.columns};
    if (link.left())
      multiply_transposed(stream, best_kernels(), moved, basis, setup_.rank, product);
    else
      multiply(stream, best_kernels(), moved, basis, setup_.rank, product);
  }

  // sum += weight * approximation, and the next bases.
  Result<> move(Stream& stream, Link& link, std::span<const float> difference, float weight, PeerId self, PeerId other) {
    const std::size_t r = setup_.rank;
    if (phase_ == 0)
      for (const Matrix& vector : vectors_) {
        for (std::size_t i = 0; i < vector.columns; ++i) sum_[vector.offset + i] += weight * difference[i];
        difference = difference.subspan(vector.columns);
      }
    for (std::size_t m = 0; m < matrices_.size(); ++m) {
      const Matrix& matrix = matrices_[m];
      const auto product = difference.first(r * (link.left() ? matrix.columns : matrix.rows));
      difference = difference.subspan(product.size());
      const std::span<const float> basis(link.bases[m]);
      add_product(stream, best_kernels(), weight, link.left() ? basis : product, link.left() ? product : basis, r,
                  sum_.span().subspan(matrix.offset, matrix.rows * matrix.columns));
      link.bases[m].assign(product.begin(), product.end());
      GOSSAMER_TRY(make_basis(stream, link.bases[m], r, draws(self, other, m, link.iterations + 1)));
    }
    ++link.iterations;
    return {};
  }

  MixerSetup setup_;
  std::vector<Matrix> matrices_, vectors_;
  std::size_t capacity_ = 0;  // floats
  std::map<PeerId, Link> links_;
  std::span<const float> shadow_;
  AlignedBuffer<float> sum_;
  Phase phase_ = 0;
};

Result<std::unique_ptr<Mixer>> make_power_gossip(const MixerSetup& setup) {
  if (setup.rank < 1 || setup.rank > 64 || setup.power_iterations < 1 || setup.power_iterations > 64)
    return fail(Errc::invalid_argument, fmt::format("power-gossip needs a mixing.rank and mixing.power_iterations from 1 to 64, not {} and {}",
                                                    setup.rank, setup.power_iterations));
  if (!(setup.step_size > 0 && setup.step_size <= 1))
    return fail(Errc::invalid_argument, fmt::format("power-gossip needs 0 < mixing.step_size <= 1, not {}", setup.step_size));
  return std::make_unique<PowerGossip>(setup);
}

}  // namespace

Algorithm power_gossip_algorithm() {
  return {.name = "power-gossip",
          .summary = "Neighbours exchange low-rank products of their models, a power iteration on each edge's difference.",
          .source = "Vogels et al., NeurIPS 2020, arXiv 2008.01425",
          .weights = Weights::symmetric,
          .keeps_mean = true,
          .plain_floats = true,
          .elastic = true,
          .make = make_power_gossip};
}

}  // namespace gossamer
