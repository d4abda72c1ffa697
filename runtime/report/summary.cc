#include "runtime/report/summary.h"

#include <fmt/core.h>

#include "base/file.h"
#include "runtime/report/json.h"

namespace gossamer {
namespace {

constexpr std::uint64_t kVersion = 1;
constexpr std::uint64_t kFileMax = std::uint64_t{1} << 30;
constexpr int kDepthMax = 4;

// The JSON library writes numbers that are not finite as null.
nlohmann::ordered_json peer_json(const PeerSummary& peer) {
  return {{"peer", peer.peer},
          {"host", peer.host},
          {"steps", peer.steps},
          {"rounds", peer.rounds},
          {"samples", peer.samples},
          {"loss", peer.loss},
          {"accuracy", peer.accuracy},
          {"bytes_sent", peer.bytes_sent},
          {"bytes_received", peer.bytes_received},
          {"wall_s", peer.wall_s},
          {"compute_s", peer.compute_s},
          {"wait_s", peer.wait_s}};
}

Result<PeerSummary> parse_peer(const nlohmann::json& object) {
  if (!object.is_object()) return fail(Errc::corrupt, "'peers' should hold objects");
  PeerSummary peer;
  ObjectReader reader(object);
  reader.take("peer", peer.peer);
  reader.take("host", peer.host);
  reader.take("steps", peer.steps);
  reader.take("rounds", peer.rounds);
  reader.take("samples", peer.samples);
  reader.take("loss", peer.loss);
  reader.take("accuracy", peer.accuracy);
  reader.take("bytes_sent", peer.bytes_sent);
  reader.take("bytes_received", peer.bytes_received);
  reader.take("wall_s", peer.wall_s);
  reader.take("compute_s", peer.compute_s);
  reader.take("wait_s", peer.wait_s);
  GOSSAMER_TRY(reader.done());
  return peer;
}

// A host name that is not UTF-8 is written with replacement characters.
std::string text_of(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

nlohmann::ordered_json summary_json(const RunSummary& summary) {
  nlohmann::ordered_json object = {
      {"version", kVersion},
      {"algorithm", summary.algorithm},
      {"topology", summary.topology},
      {"codec", summary.codec},
      {"transport", summary.transport},
      {"seed", summary.seed},
      {"parameters", summary.parameters},
      {"mean_model", {{"loss", summary.mean_model_loss}, {"accuracy", summary.mean_model_accuracy}}},
      {"consensus_distance", summary.consensus_distance},
      {"bytes_sent_per_peer", summary.bytes_sent_per_peer},
      {"all_reduce_bytes_per_peer", summary.all_reduce_bytes_per_peer},
      {"wall_s", summary.wall_s},
      {"samples_per_s", summary.samples_per_s},
      {"peers", nlohmann::ordered_json::array()}};
  if (summary.hub) object["mean_model"]["hub"] = *summary.hub;
  for (const PeerSummary& peer : summary.peers) object["peers"].push_back(peer_json(peer));
  return object;
}

}  // namespace

std::string to_json(const RunSummary& summary) {
  return text_of(summary_json(summary));
}

std::string to_json(std::span<const std::pair<std::string, RunSummary>> runs) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [name, summary] : runs)
    list.push_back({{"name", name}, {"summary", summary_json(summary)}});
  return text_of(list);
}

Result<RunSummary> parse_summary(std::string_view json) {
  GOSSAMER_TRY_ASSIGN(const nlohmann::json object, parse_json_object(json, kDepthMax));
  RunSummary summary;
  std::uint64_t version = 0;
  ObjectReader reader(object);
  reader.take("version", version);
  if (version != kVersion)
    return fail(Errc::version,
                fmt::format("it has version {}; this gossamer reads version {}: run it with the gossamer "
                            "that made it",
                            version, kVersion));
  reader.take("algorithm", summary.algorithm);
  reader.take("topology", summary.topology);
  reader.take("codec", summary.codec);
  reader.take("transport", summary.transport);
  reader.take("seed", summary.seed);
  reader.take("parameters", summary.parameters);
  if (const auto* model = reader.object("mean_model")) {
    ObjectReader inner(*model);
    inner.take("loss", summary.mean_model_loss);
    inner.take("accuracy", summary.mean_model_accuracy);
    if (model->contains("hub")) inner.take("hub", summary.hub.emplace());
    if (const auto done = inner.done(); !done) return fail("mean_model", done.error());
  }
  reader.take("consensus_distance", summary.consensus_distance);
  reader.take("bytes_sent_per_peer", summary.bytes_sent_per_peer);
  reader.take("all_reduce_bytes_per_peer", summary.all_reduce_bytes_per_peer);
  reader.take("wall_s", summary.wall_s);
  reader.take("samples_per_s", summary.samples_per_s);
  if (const auto* peers = reader.array("peers")) {
    for (const auto& item : *peers) {
      GOSSAMER_TRY_ASSIGN(PeerSummary peer, parse_peer(item));
      summary.peers.push_back(std::move(peer));
    }
  }
  GOSSAMER_TRY(reader.done());
  return summary;
}

Result<> write_summary(const std::string& path, const RunSummary& summary) {
  return write_file_atomically(path, to_json(summary));
}

Result<RunSummary> read_summary(const std::string& path) {
  GOSSAMER_TRY_ASSIGN(const std::string text, read_file(path, kFileMax));
  auto summary = parse_summary(text);
  if (!summary) return fail(path, summary.error());
  return summary;
}

}  // namespace gossamer
