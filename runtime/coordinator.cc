#include "runtime/coordinator.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "base/file.h"
#include "kernels/vector.h"
#include "runtime/report/html.h"
#include "runtime/report/safetensors.h"
#include "runtime/report/summary.h"
#include "topologies/draw.h"

namespace gossamer {
namespace {

// Mean over peers of |S x_i - mean S x|^2, square root.
double distance_of_sketches(const std::map<PeerId, messages::Record>& records) {
  const std::size_t size = records.begin()->second.sketch.size();
  if (size == 0) return kUnknown;
  std::vector<double> mean(size);
  for (const auto& [peer, record] : records) {
    if (record.sketch.size() != size) return kUnknown;
    for (std::size_t i = 0; i < size; ++i) mean[i] += record.sketch[i] / static_cast<double>(records.size());
  }
  double sum = 0;
  for (const auto& [peer, record] : records)
    for (std::size_t i = 0; i < size; ++i) sum += (record.sketch[i] - mean[i]) * (record.sketch[i] - mean[i]);
  return std::sqrt(sum / static_cast<double>(records.size()));
}

}  // namespace

Coordinator::Coordinator(const RunFile& run, const Topology& topology, const Layout& layout, Log& log, std::string out,
                         std::size_t peers)
    : run_(run), topology_(topology), layout_(layout), log_(log), out_(std::move(out)), peers_(peers) {}

Result<> Coordinator::open() {
  if (out_.empty()) return {};
  for (PeerId peer = 0; peer < peers_; ++peer) {
    GOSSAMER_TRY_ASSIGN(auto writer, RecordWriter::open(out_ + "/" + record_file_name(peer)));
    writers_.push_back(std::move(writer));
  }
  topology_svg_ = draw_svg(topology_, {});
  return write_file_atomically(out_ + "/topology.svg", topology_svg_);
}

Result<> Coordinator::resume() {
  if (out_.empty()) return {};
  for (PeerId peer = 0; peer < peers_; ++peer) {
    const std::string path = out_ + "/" + record_file_name(peer);
    GOSSAMER_TRY_ASSIGN(auto writer, RecordWriter::open(path, RecordWriter::Start::resume));
    writers_.push_back(std::move(writer));
    GOSSAMER_TRY_ASSIGN(auto rows, read_records(path));
    for (IntervalRecord& row : rows) {
      found_[{peer, row.step}] = until_now_[peer] = {row.seconds, row.bytes_sent, row.bytes_received};
      reported_[peer] = row.step;
      settled_until_ = std::max(settled_until_.value_or(0), row.step);
      records_.push_back(std::move(row));
    }
  }
  topology_svg_ = draw_svg(topology_, {});
  return write_file_atomically(out_ + "/topology.svg", topology_svg_);
}

Result<> Coordinator::take(PeerId from, std::string_view topic, std::string_view bytes) {
  if (from >= peers_) return fail(Errc::corrupt, fmt::format("a message of peer {} in a run of {} peers", from, peers_));
  if (topic == messages::kRecord) {
    GOSSAMER_TRY_ASSIGN(auto record, messages::unpack_record(bytes));
    if (absent_.contains(from)) return {};  // of a life that has ended
    IntervalRecord& row = record.record;
    row.peer = from;
    if (const auto found = found_.find({from, row.step}); found != found_.end())
      before_[from] = {found->second.seconds - row.seconds, found->second.bytes_sent - row.bytes_sent, found->second.bytes_received - row.bytes_received};
    const Before& before = before_[from];
    row.seconds += before.seconds;
    row.bytes_sent += before.bytes_sent;
    row.bytes_received += before.bytes_received;
    until_now_[from] = {row.seconds, row.bytes_sent, row.bytes_received};
    const std::uint64_t step = row.step;
    if (settled_until_ && step <= *settled_until_) return {};  // of one who came late; the row is written
    steps_[step].insert_or_assign(from, std::move(record));
    reported_[from] = step;
    std::vector<std::uint64_t> complete;
    for (const auto& [earlier, records] : steps_)
      if (all_reported(earlier)) complete.push_back(earlier);
    for (const std::uint64_t one : complete) settle(one);
  } else if (topic == messages::kSummary) {
    GOSSAMER_TRY_ASSIGN(auto summary, messages::unpack_summary(bytes));
    summary.peer = from;
    summary.bytes_sent += before_[from].bytes_sent;
    summary.bytes_received += before_[from].bytes_received;
    summaries_[from] = std::move(summary);
  } else if (topic == messages::kModel) {
    std::vector<float> model(layout_.size());
    if (const auto parsed = messages::unpack_model(bytes, model); !parsed)
      return fail(fmt::format("final model of peer {}", from), parsed.error());
    models_[from] = std::move(model);
  }
  return {};
}

void Coordinator::left(PeerId peer) {
  if (!absent_.insert(peer).second) return;
  if (!summaries_.contains(peer) || !models_.contains(peer)) {
    summaries_.erase(peer);
    models_.erase(peer);
  }
  std::vector<std::uint64_t> complete;
  for (const auto& [step, records] : steps_)
    if (all_reported(step)) complete.push_back(step);
  for (const std::uint64_t step : complete) settle(step);
}

void Coordinator::came(PeerId peer, double at) {
  absent_.erase(peer);
  before_[peer] = until_now_[peer];
  before_[peer].seconds = at;
}

// Steps are reported in order, so what a newcomer missed is complete without it once it has reported a later one.
bool Coordinator::all_reported(std::uint64_t step) const {
  const auto records = steps_.find(step);
  for (PeerId peer = 0; peer < peers_; ++peer) {
    if (absent_.contains(peer) || records->second.contains(peer)) continue;
    const auto last = reported_.find(peer);
    if (last == reported_.end() || last->second < step) return false;
  }
  return true;
}

// All peers have reported this step: the consensus distance is known, and the rows can be written.
void Coordinator::settle(std::uint64_t step) {
  auto& records = steps_[step];
  settled_until_ = std::max(settled_until_.value_or(0), step);
  Interval all{.step = step, .loss = 0, .accuracy = 0, .consensus_distance = distance_of_sketches(records)};
  for (auto& [peer, record] : records) {
    IntervalRecord& row = record.record;
    row.consensus_distance = all.consensus_distance;
    const double share = 1.0 / static_cast<double>(records.size());
    all.epoch += row.epoch * share;
    all.seconds = std::max(all.seconds, row.seconds);
    all.loss += row.loss * share;
    all.accuracy += row.accuracy * share;
    all.bytes_sent += static_cast<double>(row.bytes_sent) * share;
    if (peer < writers_.size())
      if (const auto written = writers_[peer].append(row); !written && !write_failed_) {
        write_failed_ = true;  // the run goes on: its models are worth more than its log
        log_.error("{}", written.error().message);
      }
    records_.push_back(row);
  }
  settled_.push_back(all);
  steps_.erase(step);
}

std::vector<Interval> Coordinator::intervals() { return std::exchange(settled_, {}); }

std::vector<PeerId> Coordinator::missing() const {
  std::vector<PeerId> missing;
  for (PeerId peer = 0; peer < peers_; ++peer)
    if (!absent_.contains(peer) && (!summaries_.contains(peer) || !models_.contains(peer))) missing.push_back(peer);
  return missing;
}

Result<RunSummary> Coordinator::finish(Task& task, Stream& stream, std::optional<PeerId> hub, double wall_s, double samples, Round rounds) {
  const double n = static_cast<double>(models_.size());
  // The mean in double, in the order of the peers.
  std::vector<double> sum(layout_.size());
  for (const auto& [peer, model] : models_)
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += model[i];
  std::vector<float> mean(layout_.size());
  for (std::size_t i = 0; i < sum.size(); ++i) mean[i] = static_cast<float>(sum[i] / n);
  double spread = 0;
  for (const auto& [peer, model] : models_) spread += squared_distance(model, mean) / n;

  const auto of_hub = hub ? models_.find(*hub) : models_.end();
  const std::span<const float> result = of_hub == models_.end() ? std::span<const float>(mean) : of_hub->second;

  RunSummary summary;
  if (of_hub != models_.end()) summary.hub = hub;
  summary.algorithm = run_.algorithm;
  summary.topology = topology_.name();
  if (const auto compressor = make_compressor(run_.compression)) summary.codec = (*compressor)->name();
  summary.transport = run_.transport.kind;
  summary.seed = run_.seed;
  summary.parameters = layout_.size();
  const Evaluation evaluation = task.evaluate(stream, result);
  summary.mean_model_loss = evaluation.loss;
  summary.mean_model_accuracy = evaluation.accuracy;
  summary.consensus_distance = std::sqrt(spread);
  for (const auto& [peer, one] : summaries_) {
    summary.peers.push_back(one);
    summary.bytes_sent_per_peer += static_cast<double>(one.bytes_sent) / n;
  }
  summary.all_reduce_bytes_per_peer = 2 * (n - 1) / n * 4 * static_cast<double>(layout_.size()) * static_cast<double>(rounds);
  summary.wall_s = wall_s;
  summary.samples_per_s = wall_s > 0 ? samples / wall_s : kUnknown;
  GOSSAMER_TRY(write(summary, result));
  return summary;
}

Result<> Coordinator::write(const RunSummary& summary, std::span<const float> result) {
  if (out_.empty()) return {};
  GOSSAMER_TRY(write_summary(out_ + "/summary.json", summary));
  const std::map<std::string, std::string> about = {{"algorithm", run_.algorithm}, {"run", run_.name}};
  GOSSAMER_TRY(write_safetensors(out_ + "/model.safetensors", result, layout_, about));
  if (run_.report.save_models)
    for (const auto& [peer, model] : models_)
      GOSSAMER_TRY(write_safetensors(fmt::format("{}/model-{}.safetensors", out_, peer), model, layout_, about));
  ReportInput report;
  report.title = run_.name.empty() ? run_.algorithm : run_.name;
  report.runs.push_back({.name = report.title, .summary = summary, .records = records_, .run_yaml = to_yaml(run_), .topology_svg = topology_svg_});
  return write_file_atomically(out_ + "/report.html", report_html(report));
}

}  // namespace gossamer
