// Which algorithms suit a topology, and the report as JSON and as text.
#include <fmt/format.h>
#include <cmath>
#include <nlohmann/json.hpp>

#include "topologies/check.h"

namespace gossamer {

std::vector<AlgorithmFit> fit_algorithms(const TopologyReport& r) {
  std::vector<AlgorithmFit> fits;
  const bool doubly = r.row_stochastic && r.column_stochastic;
  const bool alone = r.peers == 1;
  // The first condition that fails is the reason; `heed` is said when none does.
  const auto judge = [&](std::string algorithm, std::initializer_list<std::pair<bool, std::string>> needs,
                         std::string heed = {}) {
    for (const auto& [holds, reason] : needs)
      if (!holds && !alone) return fits.push_back({std::move(algorithm), false, reason});
    fits.push_back({std::move(algorithm), true, std::move(heed)});
  };
  const std::pair<bool, std::string> connected{r.connected, "the graph is not connected over a period"};
  const std::pair<bool, std::string> stochastic{
      doubly, r.column_stochastic
                  ? "rows of W do not sum to 1, so plain averaging would not keep the mean; use sgp"
                  : "columns of W do not sum to 1, so the mean would drift; use metropolis weights"};
  const std::pair<bool, std::string> mixes{
      r.beta < 1 - 1e-12 || !doubly,
      "some difference between peers never shrinks (beta = 1); give peers a larger "
      "self weight, for example weights: lazy"};
  const std::pair<bool, std::string> symmetric{r.symmetric, "W is not symmetric"};
  const std::pair<bool, std::string> fixed{r.period == 1, "the graph changes from round to round"};
  const std::string per_edge =
      r.period == 1 ? "" : "the graph changes, so replicas are kept per edge (replicas: per-edge)";

  judge("d-psgd", {connected, stochastic, mixes});
  judge(
      "ad-psgd",
      {connected, {r.symmetric, "exchanges are pairwise and need undirected edges; use the symmetric form"}},
      r.bipartite ? "" : "not bipartite: fine, since answers here never wait");
  judge("choco-sgd", {connected, stochastic, mixes},
        r.symmetric ? per_edge : "W is not symmetric: works in practice, the theory wants symmetric weights");
  judge("deepsqueeze", {connected, stochastic, mixes});
  judge("dcd-psgd", {connected, stochastic, mixes, fixed});
  judge("powergossip", {connected, stochastic, symmetric, mixes});
  judge("d2", {connected,
               stochastic,
               symmetric,
               fixed,
               mixes,
               {r.lambda_min && *r.lambda_min > -1.0 / 3 + 1e-12,
                fmt::format("needs lambda_min > -1/3 and it is {:.4g}; use weights: lazy",
                            r.lambda_min.value_or(-1))}});
  judge("gradient-tracking", {connected, stochastic, mixes});
  judge("qg-dsgdm", {connected, stochastic, mixes});
  judge("sgp", {connected, {r.column_stochastic, "columns of W do not sum to 1; use weights: uniform"}},
        doubly ? "W is doubly stochastic: the push-sum weights stay 1 while no message is lost" : "");
  judge("relay-sgd", {connected, fixed, {r.tree, "needs a tree; use binary-tree or path"}});
  judge("all-reduce", {},
        "uses its own exact schedule over all peers; of the topology it takes the peers only");
  judge("parameter-server", {},
        r.tree && r.degree_max + 1 == r.peers
            ? ""
            : "uses its own star with peer 0 as the hub; of the topology it takes the peers only");
  return fits;
}

std::string to_json(const TopologyReport& r) {
  // Infinities and NaN have no JSON.
  const auto number = [](double value) {
    return std::isfinite(value) ? nlohmann::ordered_json(value) : nullptr;
  };
  nlohmann::ordered_json json;
  json["name"] = r.name;
  json["peers"] = r.peers;
  json["period"] = r.period;
  json["window"] = r.window;
  json["degree_min"] = r.degree_min;
  json["degree_max"] = r.degree_max;
  json["self_weight_min"] = number(r.self_weight_min);
  json["symmetric"] = r.symmetric;
  json["row_stochastic"] = r.row_stochastic;
  json["column_stochastic"] = r.column_stochastic;
  json["connected"] = r.connected;
  json["bipartite"] = r.bipartite;
  json["tree"] = r.tree;
  json["beta"] = number(r.beta);
  json["second_eigenvalue_modulus"] = number(r.second_eigenvalue_modulus);
  json["spectral_gap"] = number(r.spectral_gap);
  json["per_round_gap"] = number(r.per_round_gap);
  json["lambda_min"] = r.lambda_min ? number(*r.lambda_min) : nullptr;
  json["rounds_to_consensus"] =
      r.rounds_to_consensus ? nlohmann::ordered_json(*r.rounds_to_consensus) : nullptr;
  json["bytes_per_peer_per_round"] = number(r.bytes_per_peer_per_round);
  json["busiest_bytes_per_round"] = number(r.busiest_bytes_per_round);
  json["method"] = r.method;
  json["residual"] = number(r.residual);
  json["lambda_min_residual"] = number(r.lambda_min_residual);
  json["algorithms"] = nlohmann::ordered_json::object();
  for (const auto& fit : r.algorithms)
    json["algorithms"][fit.algorithm] = {{"fits", fit.fits}, {"reason", fit.reason}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

namespace {
std::string human_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  for (; bytes >= 1000 && unit < 4; ++unit) bytes /= 1000;
  return fmt::format("{:.4g} {}", bytes, kUnits[unit]);
}
}  // namespace

std::string to_text(const TopologyReport& r) {
  const auto yes = [](bool value) { return value ? "yes" : "no"; };
  std::string text;
  const auto line = [&](std::string_view key, const std::string& value) {
    text += fmt::format("{:<28}{}\n", key, value);
  };
  line("topology", r.name);
  line("peers", fmt::format("{}", r.peers));
  line("period",
       r.period == 0 ? fmt::format("none ({} rounds looked at)", r.window) : fmt::format("{}", r.period));
  line("degree", r.degree_min == r.degree_max ? fmt::format("{}", r.degree_min)
                                              : fmt::format("{} to {}", r.degree_min, r.degree_max));
  line("symmetric", yes(r.symmetric));
  line("row stochastic", yes(r.row_stochastic));
  line("column stochastic", yes(r.column_stochastic));
  line("connected", yes(r.connected));
  line("bipartite", yes(r.bipartite));
  line("smallest self weight", fmt::format("{:.6g}", r.self_weight_min));
  line("beta = ||W - J||", fmt::format("{:.10g}", r.beta));
  line("second eigenvalue modulus", fmt::format("{:.10g}", r.second_eigenvalue_modulus));
  line("spectral gap",
       fmt::format(
           "{:.6g}{}", r.spectral_gap,
           r.window > 1 ? fmt::format(" over {} rounds, {:.6g} per round", r.window, r.per_round_gap) : ""));
  line("smallest eigenvalue", r.lambda_min ? fmt::format("{:.6g}", *r.lambda_min) : "-");
  line("exact average after",
       r.rounds_to_consensus ? fmt::format("{} rounds", *r.rounds_to_consensus) : "never");
  line("sent per peer and round", fmt::format("{} (busiest {})", human_bytes(r.bytes_per_peer_per_round),
                                              human_bytes(r.busiest_bytes_per_round)));
  line("method", r.residual > 0 ? fmt::format("{}, residual {:.1e}", r.method, r.residual) : r.method);
  text += "\n";
  for (const auto& fit : r.algorithms)
    line("  " + fit.algorithm, fmt::format("{}{}", fit.fits ? "fits" : "does not fit",
                                           fit.reason.empty() ? "" : (fit.fits ? "; " : ": ") + fit.reason));
  return text;
}

}  // namespace gossamer
