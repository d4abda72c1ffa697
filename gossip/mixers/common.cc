#include <fmt/format.h>

#include "gossip/mixers/mixers.h"

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

}  // namespace gossamer
