#include <algorithm>
#include <fmt/format.h>

#include "base/check.h"
#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {

Plan exchange_with_neighbours(const Neighbourhood& edges) {
  Plan plan;
  if (!edges.out.empty()) {
    Outgoing all;
    for (const Edge& edge : edges.out) all.to.push_back(edge.peer);
    plan.send.push_back(std::move(all));
  }
  for (const Edge& edge : edges.in) plan.await.push_back({edge.peer, 0});
  return plan;
}

Result<> check_payload(const Arrival& arrival, CodecId codec, std::uint64_t count) {
  if (arrival.header.codec != static_cast<std::uint16_t>(codec))
    return fail(Errc::version, fmt::format("peer {} sent codec {}, this run uses {}; start all peers with the same run file",
                                           arrival.from, arrival.header.codec, static_cast<int>(codec)));
  if (arrival.header.count != count)
    return fail(Errc::version, fmt::format("peer {} sent a vector of {} elements, this model has {}: another model",
                                           arrival.from, arrival.header.count, count));
  return {};
}

Result<Encoded> encode_vector(Stream& stream, const MixerSetup& setup, std::span<const float> x, std::uint64_t seed,
                              std::span<std::byte> out, std::span<float> seen) {
  GOSSAMER_TRY_ASSIGN(const std::size_t used, setup.compressor->encode(stream, x, *setup.layout, seed, out));
  GOSSAMER_TRY(decode_vector(stream, setup, out.first(used), seen));
  return Encoded{used, setup.compressor->codec(), setup.layout->size()};
}

Result<> decode_vector(Stream& stream, const MixerSetup& setup, const Arrival& arrival, std::span<float> to) {
  GOSSAMER_TRY(check_payload(arrival, setup.compressor->codec(), setup.layout->size()));
  return decode_vector(stream, setup, arrival.bytes, to);
}

Result<> decode_vector(Stream& stream, const MixerSetup& setup, std::span<const std::byte> bytes, std::span<float> to) {
  const WeightedPayload one{bytes};
  return setup.compressor->decode(stream, {&one, 1}, *setup.layout, {.target = DecodeTo::assign, .out = to});
}

double weight_from(const Neighbourhood& edges, PeerId from) {
  const auto edge = std::lower_bound(edges.in.begin(), edges.in.end(), from, [](const Edge& e, PeerId p) { return e.peer < p; });
  GOSSAMER_CHECK(edge != edges.in.end() && edge->peer == from, "a payload from somebody who is no neighbour in this round");
  return edge->weight;
}

void add_difference(double weight, std::span<const float> theirs, std::span<const float> own, std::span<float> sum) {
  const auto w = static_cast<float>(weight);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += w * (theirs[i] - own[i]);
}

void set_zero(std::span<float> x) { std::fill(x.begin(), x.end(), 0.f); }

Affine moved_by(Stream& stream, std::span<const float> move, std::span<float> add) {
  return {.squared_norm = copy_and_norm(stream, move, add)};
}

}  // namespace gossamer
