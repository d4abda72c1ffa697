// Training on quadratics whose every step can be written down: f_i(x) = a_i/2 |x - c_i|^2 with plain SGD, over a Network;
// and the same in double with the mixing matrix, to compare with.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kernels/vector.h"
#include "tests/gossip/network.h"
#include "topologies/topology_spec.h"

namespace gossamer::testing_support {

using Matrix = std::vector<std::vector<double>>;  // a row per peer

inline std::unique_ptr<Topology> graph(const std::string& family, std::size_t peers, WeightRule weights = WeightRule::standard) {
  TopologySpec spec = family_spec(family, peers);
  spec.weights = weights;
  auto topology = make_topology(spec);
  EXPECT_TRUE(topology) << topology.error().message;
  return std::move(*topology);
}

// Peers pull towards different points, and not equally hard.
inline double curvature(PeerId peer) { return 0.5 + 0.25 * (peer % 4); }
inline double centre(PeerId peer, std::size_t i) { return std::sin(3. * peer + i) + 0.5 * peer; }
inline double slope(PeerId peer, std::size_t i, double x) { return curvature(peer) * (x - centre(peer, i)); }

// Where the sum of all f_i is least.
inline double optimum(std::size_t peers, std::size_t i) {
  double up = 0, down = 0;
  for (PeerId p = 0; p < peers; ++p) {
    up += curvature(p) * centre(p, i);
    down += curvature(p);
  }
  return up / down;
}

// A local step of everybody, through the mixer's hook.
inline void local_step(Network& network, double rate) {
  Stream stream;
  for (PeerId p = 0; p < network.size(); ++p) {
    auto& x = network.model(p);
    std::vector<float> g(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) g[i] = static_cast<float>(slope(p, i, x[i]));
    network.mixer(p).gradient(stream, {.round = network.engine(p).next_round(), .self = p, .peers = network.size(), .learning_rate = rate}, g);
    axpy(static_cast<float>(-rate), g, x);
  }
}

inline void train(Network& network, int steps, double rate) {
  for (int t = 0; t < steps; ++t) {
    local_step(network, rate);
    const auto result = network.round();
    ASSERT_TRUE(result) << "step " << t << ": " << result.error().message;
  }
}

inline Matrix mix(const Topology& topology, Round round, const Matrix& x) {
  Matrix y = x;
  for (PeerId p = 0; p < x.size(); ++p) {
    const Neighbourhood edges = topology.at(round, p);
    for (std::size_t i = 0; i < x[p].size(); ++i) {
      y[p][i] = edges.self_weight * x[p][i];
      for (const Edge& edge : edges.in) y[p][i] += edge.weight * x[edge.peer][i];
    }
  }
  return y;
}

inline Matrix slopes(const Matrix& x) {
  Matrix g = x;
  for (PeerId p = 0; p < x.size(); ++p)
    for (std::size_t i = 0; i < x[p].size(); ++i) g[p][i] = slope(p, i, x[p][i]);
  return g;
}

// x + a y
inline Matrix plus(Matrix x, double a, const Matrix& y) {
  for (std::size_t p = 0; p < x.size(); ++p)
    for (std::size_t i = 0; i < x[p].size(); ++i) x[p][i] += a * y[p][i];
  return x;
}

inline Matrix models(Network& network) {
  Matrix x;
  for (PeerId p = 0; p < network.size(); ++p) x.emplace_back(network.model(p).begin(), network.model(p).end());
  return x;
}

inline double largest_difference(const Matrix& a, const Matrix& b) {
  double most = 0;
  for (std::size_t p = 0; p < a.size(); ++p)
    for (std::size_t i = 0; i < a[p].size(); ++i) most = std::max(most, std::abs(a[p][i] - b[p][i]));
  return most;
}

inline double largest_error(Network& network) {
  double most = 0;
  for (PeerId p = 0; p < network.size(); ++p)
    for (std::size_t i = 0; i < network.model(p).size(); ++i)
      most = std::max(most, std::abs(network.model(p)[i] - optimum(network.size(), i)));
  return most;
}

// What make_mixer() says of a combination.
inline std::string refusal(const std::string& algorithm, const Topology& topology, CompressionOptions compression = {},
                           const std::function<void(MixerSetup&)>& adjust = {}) {
  const Layout layout = Layout::flat(10);
  const auto compressor = make_compressor(compression).value();
  MixerSetup setup{.self = 0, .peers = topology.peer_count(), .layout = &layout, .topology = &topology, .compressor = compressor.get()};
  if (adjust) adjust(setup);
  const auto mixer = make_mixer(algorithm, setup);
  if (mixer) return "";
  EXPECT_EQ(mixer.error().code, Errc::invalid_argument);
  return mixer.error().message;
}

}  // namespace gossamer::testing_support
