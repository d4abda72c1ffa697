// The run file: everything that one run is, in YAML.
//
// Keys, defaults and reasons are documented in docs/run-file.md.  Precedence: --set flag > GOSSAMER_*
// environment > file > preset of the algorithm > default.  An unknown key is an error that names the nearest
// known one, with line and column.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "kernels/compressor.h"
#include "runtime/environment.h"
#include "topologies/topology_file.h"
#include "trainer/data.h"
#include "trainer/optimizer.h"
#include "trainer/tasks.h"

namespace gossamer {

enum class Synchrony : std::uint8_t { bulk, stale, async };
enum class Overlap : std::uint8_t { none, delayed, layerwise };
enum class MixingOrder : std::uint8_t { adapt_then_combine, combine_then_adapt };

struct SynchronyOptions {
  Synchrony mode = Synchrony::bulk;
  std::uint32_t stale = 1;        // mode stale: rounds a neighbour may lag
  std::uint32_t skips_max = 8;    // mode async: publications in a row that may find the last exchange still open
  std::uint32_t local_steps = 1;  // H
};

struct MixingOptions {
  double step_size = 1;  // CHOCO's gamma
  MixingOrder order = MixingOrder::adapt_then_combine;
  bool weigh_by_samples = false;
  std::string replicas = "auto";  // CHOCO: auto | per-edge | aggregate
  bool verify_replicas = false;   // CHOCO: every payload carries its replica's hash, and one that has parted ends the run
  double momentum = 0.9;          // qg-dsgdm
  double clip = 1;                // clipped-gossip: how far one neighbour may move this peer, before its weight
  std::size_t rank = 1;           // power-gossip
  std::size_t power_iterations = 1;  // power-gossip: exchanges per round
};

struct TransportOptions {
  std::string kind = "ucx";  // ucx | libfabric | loopback
  std::string interface;     // network interface name or subnet; empty chooses
  std::string tls;           // UCX_TLS for this run; empty leaves UCX's own choice
  std::string provider;      // of libfabric; empty leaves libfabric's own choice
  bool checksum = false;
  Duration spin{0};          // how long a peer that waits looks for news before it sleeps
  bool lend = true;          // large payloads stay where they are for neighbours on the same machine (transports/channel.h)
};

struct DeadlineOptions {
  Duration join = std::chrono::seconds(60);      // until every peer must have come
  Duration heartbeat = std::chrono::seconds(1);  // how often peers say that they live
  Duration silence = std::chrono::seconds(10);   // after how long without it a peer is taken for dead
  Duration round = std::chrono::seconds(60);     // how long a round may wait for a neighbour
};

// Whether the members of a run may change.
enum class MembershipMode : std::uint8_t {
  fixed,    // a peer that dies ends the run
  elastic,  // the others go on without it; started again, it returns
};

struct MembershipOptions {
  MembershipMode mode = MembershipMode::fixed;
  std::uint32_t restarts = 0;                    // `gossamer run`: how often it starts a peer again that died
  Duration restart_after = std::chrono::seconds(1);
};

struct TrainerOptions {
  TaskOptions task;  // which model and loss
  DataOptions data;
  PartitionOptions partition;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  std::size_t batch_size = 32;
  double epochs = 10;
  std::uint64_t steps = 0;  // instead of epochs, when not 0
  // For experiments with slow peers: a step takes at least `pace` (0: as fast as it can be), and at one peer
  // `factor` times as long as it would.
  Duration pace{};
  struct Slow {
    PeerId peer = 0;
    double factor = 1;
  } slow;
};

struct ReportOptions {
  std::uint64_t interval_steps = 0;  // between two records of one peer; 0: a hundredth of the run
  double evaluate_every_epochs = 1;  // test loss and accuracy of each peer's own model; 0 never
  bool save_models = true;
};

struct RunFile {
  std::string name;  // of the file, without folder and extension
  std::string algorithm = "d-psgd";
  TopologySpec topology;
  SynchronyOptions synchrony;
  CompressionOptions compression;
  MixingOptions mixing;
  Overlap overlap = Overlap::none;
  double bucket_mib = 1;  // layerwise: the least size of a part of the vector, in MiB
  TrainerOptions trainer;
  TransportOptions transport;
  DeadlineOptions deadlines;
  MembershipOptions membership;
  ReportOptions report;
  std::uint64_t seed = 1;
};

struct Overrides {
  std::vector<std::pair<std::string, std::string>> sets;  // --set trainer.epochs=3
  std::optional<std::size_t> peers;                       // --peers
  std::optional<Environment> environment;                 // empty: this process's own
};

// Reads, applies the algorithm's preset, then the environment, then `overrides`, and checks every value's
// range. Relative paths are relative to the file's folder; those of flags and variables to the current one.
// Errors: invalid_argument ("file:line:column: key: cause; remedy"), not_found and io for the file itself and
// for data and topology files that it names.
Result<RunFile> load_run_file(const std::string& path, const Overrides& overrides = {});
// The same for a text; `origin` stands for the file's path.  Data files need not exist.
Result<RunFile> parse_run_file(std::string_view text, const std::string& origin,
                               const Overrides& overrides = {});

// The resolved run as YAML, every key written out that means something for this run; load_run_file() of it
// gives the same run.
std::string to_yaml(const RunFile& run);

// Every key that a run file may hold, as "trainer.optimizer.momentum"; those of list items are not among them.
std::vector<std::string> run_file_keys();

// The environment variable that stands for a key: "trainer.batch_size" is GOSSAMER_TRAINER_BATCH_SIZE.
std::string variable_of(std::string_view key);

// The words of run files.
std::string_view name(Synchrony mode);
std::string_view name(Overlap overlap);
std::string_view name(MembershipMode mode);
std::string_view name(MixingOrder order);
std::string_view name(CodecId codec);
std::string_view name(Norm norm);
std::string_view name(Scope scope);

}  // namespace gossamer
