#include "runtime/control/environment.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <utility>

namespace gossamer {
namespace {

// What one launcher says.
struct Source {
  std::string name;
  std::string rank_name;
  std::string peers_name;
  std::optional<PeerId> rank;
  std::optional<std::size_t> peers;
  std::optional<int> local_rank;
  std::string rendezvous;

  std::string text() const {
    std::string said;
    if (rank) said += rank_name + "=" + std::to_string(*rank);
    if (peers) said += (said.empty() ? "" : ", ") + peers_name + "=" + std::to_string(*peers);
    return said.empty() ? name : name + " (" + said + ")";
  }
};

class Variables {
 public:
  explicit Variables(const EnvironmentLookup& lookup) : lookup_(lookup) {}

  // An empty value counts as none: some launchers export every name that they know.
  std::optional<std::string> text(std::string_view name) const {
    auto value = lookup_(name);
    if (value && value->empty()) value.reset();
    return value;
  }
  bool has(std::string_view name) const { return text(name).has_value(); }

  template <class T>
  Result<std::optional<T>> number(std::string_view name, std::uint64_t least, std::uint64_t most) const {
    const auto value = text(name);
    if (!value) return std::optional<T>();
    std::uint64_t parsed = 0;
    const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), parsed);
    if (error != std::errc{} || end != value->data() + value->size() || parsed < least || parsed > most)
      return fail(Errc::invalid_argument, "the environment variable " + std::string(name) + " is '" + *value + "', not a number from " +
                                              std::to_string(least) + " to " + std::to_string(most));
    return std::optional<T>(static_cast<T>(parsed));
  }

  Result<Source> source(std::string name, std::string_view rank, std::string_view peers, std::string_view local_rank) const {
    Source source;
    source.name = std::move(name);
    source.rank_name = rank;
    source.peers_name = peers;
    GOSSAMER_TRY_ASSIGN(source.rank, number<PeerId>(rank, 0, UINT32_MAX - 1));
    GOSSAMER_TRY_ASSIGN(source.peers, number<std::size_t>(peers, 1, UINT32_MAX));
    if (!local_rank.empty()) { GOSSAMER_TRY_ASSIGN(source.local_rank, number<int>(local_rank, 0, INT32_MAX)); }
    if (source.rank && source.peers && *source.rank >= *source.peers)
      return fail(Errc::invalid_argument, source.text() + ": a rank is smaller than the number of peers");
    return source;
  }

 private:
  const EnvironmentLookup& lookup_;
};

// A port that all processes of one job find by themselves, below the ports that systems give out at random (from 32768 on).
std::uint16_t port_of_job(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return static_cast<std::uint16_t>(20000 + hash % 12000);
}

std::string with_port(const std::string& host, std::uint64_t port) {
  const bool v6 = host.find(':') != std::string::npos && host.front() != '[';
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Source> torchrun(const Variables& variables) {
  GOSSAMER_TRY_ASSIGN(Source source, variables.source("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"));
  GOSSAMER_TRY_ASSIGN(auto port, variables.number<std::uint16_t>("MASTER_PORT", 1, 65534));
  const auto host = variables.text("MASTER_ADDR");
  // Its agent may keep MASTER_PORT for a store of its own; then the next one is ours.
  const auto store = variables.text("TORCHELASTIC_USE_AGENT_STORE");
  if (host && port) source.rendezvous = with_port(*host, std::uint64_t{*port} + (store == "True" ? 1 : 0));
  return source;
}

// Open MPI and PMIx name no host.  Where all peers are on this machine, none is needed.
Result<Source> open_mpi(const Variables& variables) {
  GOSSAMER_TRY_ASSIGN(Source source, variables.source("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"));
  GOSSAMER_TRY_ASSIGN(auto local, variables.number<std::size_t>("OMPI_COMM_WORLD_LOCAL_SIZE", 1, UINT32_MAX));
  const auto job = variables.text("PMIX_NAMESPACE");
  if (source.peers && local == source.peers && job) source.rendezvous = with_port("127.0.0.1", port_of_job(*job));
  return source;
}

Result<Source> slurm(const Variables& variables) {
  GOSSAMER_TRY_ASSIGN(Source source, variables.source("Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"));
  GOSSAMER_TRY_ASSIGN(auto step_tasks, variables.number<std::size_t>("SLURM_STEP_NUM_TASKS", 1, UINT32_MAX));
  if (step_tasks) {
    source.peers = step_tasks;
    source.peers_name = "SLURM_STEP_NUM_TASKS";
  }
  const auto nodes = variables.text("SLURM_STEP_NODELIST");
  const auto job = variables.text("SLURM_JOB_ID");
  if (!nodes || !job) return source;
  auto hosts = expand_hostlist(*nodes, 1);
  if (!hosts) return fail("SLURM_STEP_NODELIST", hosts.error());
  const auto step = variables.text("SLURM_STEP_ID");
  source.rendezvous = with_port(hosts->front(), port_of_job(*job + "." + step.value_or("0")));
  return source;
}

Error conflict(const Source& a, const Source& b) {
  return {Errc::invalid_argument, a.text() + " and " + b.text() +
                                      " both say which peer this is, and disagree: unset the stale one, or decide with GOSSAMER_RANK and GOSSAMER_PEERS"};
}

bool agree(const Source& a, const Source& b) {
  return (!a.rank || !b.rank || a.rank == b.rank) && (!a.peers || !b.peers || a.peers == b.peers);
}

// The launchers' words, the innermost that counts.
Result<std::optional<Source>> launcher(const Variables& variables) {
  std::vector<Source> inner;
  if (variables.has("RANK") && variables.has("WORLD_SIZE")) {
    GOSSAMER_TRY_ASSIGN(Source source, torchrun(variables));
    inner.push_back(std::move(source));
  }
  // torchrun proper, which other launchers may start once per host, knows best.
  const bool torchrun_itself = !inner.empty() && variables.has("TORCHELASTIC_RUN_ID");
  if (!torchrun_itself) {
    if (variables.has("OMPI_COMM_WORLD_RANK")) {
      GOSSAMER_TRY_ASSIGN(Source source, open_mpi(variables));
      inner.push_back(std::move(source));
    }
    // srun --mpi=pmix sets PMIX_RANK beside Slurm's own, which say more.
    if (variables.has("PMIX_RANK")) {
      GOSSAMER_TRY_ASSIGN(Source source, variables.source("PMIx", "PMIX_RANK", "", ""));
      inner.push_back(std::move(source));
    }
  }
  for (std::size_t i = 1; i < inner.size(); ++i)
    if (!agree(inner[0], inner[i])) return Failure(conflict(inner[0], inner[i]));

  // The environment of a batch script has SLURM_PROCID=0, too; only a step's processes are peers.
  const bool step = variables.has("SLURM_PROCID") && variables.has("SLURM_STEP_ID");
  const bool only_pmix = inner.size() == 1 && inner[0].name == "PMIx";
  if (step && (inner.empty() || only_pmix)) {
    GOSSAMER_TRY_ASSIGN(Source source, slurm(variables));
    if (only_pmix && !agree(source, inner[0])) return Failure(conflict(inner[0], source));
    return std::optional<Source>(std::move(source));
  }
  if (inner.empty()) return std::optional<Source>();
  Source& first = inner[0];
  for (const Source& other : inner) {
    if (!first.peers) first.peers = other.peers;
    if (!first.local_rank) first.local_rank = other.local_rank;
    if (first.rendezvous.empty()) first.rendezvous = other.rendezvous;
  }
  // A hand-set RANK is no launcher inside the step, so it has to fit it.
  if (step && first.name == "torchrun" && !torchrun_itself) {
    GOSSAMER_TRY_ASSIGN(Source source, slurm(variables));
    if (!agree(first, source)) return Failure(conflict(first, source));
    if (first.rendezvous.empty()) first.rendezvous = source.rendezvous;
  }
  return std::optional<Source>(std::move(first));
}

}  // namespace

Result<LaunchEnvironment> discover_launch(const EnvironmentLookup& lookup) {
  const Variables variables(lookup);
  GOSSAMER_TRY_ASSIGN(Source own, variables.source("Gossamer's own variables", "GOSSAMER_RANK", "GOSSAMER_PEERS", "GOSSAMER_LOCAL_RANK"));
  LaunchEnvironment found;
  found.rank = own.rank;
  found.peers = own.peers;
  found.local_rank = own.local_rank;
  found.rendezvous = variables.text("GOSSAMER_RENDEZVOUS").value_or("");
  if (own.rank || own.peers || !found.rendezvous.empty()) found.source = own.text();
  // Who sets the rank has started this process itself; what it inherited from further out is not about it.
  if (own.rank) return found;

  GOSSAMER_TRY_ASSIGN(const std::optional<Source> outer, launcher(variables));
  if (!outer) return found;
  if (!agree(own, *outer)) return Failure(conflict(own, *outer));
  found.rank = outer->rank;
  if (!found.peers) found.peers = outer->peers;
  if (!found.local_rank) found.local_rank = outer->local_rank;
  if (found.rendezvous.empty()) found.rendezvous = outer->rendezvous;
  found.source = found.source.empty() ? outer->text() : outer->text() + ", with " + found.source;
  return found;
}

namespace {

// The comma-separated parts outside of brackets.
Result<std::vector<std::string_view>> split_hostlist(std::string_view list) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i < list.size() && list[i] == '[') ++depth;
    if (i < list.size() && list[i] == ']') --depth;
    if (depth < 0 || depth > 1) break;
    if (i < list.size() && (list[i] != ',' || depth > 0)) continue;
    if (i == begin) {
      depth = -1;
      break;
    }
    parts.push_back(list.substr(begin, i - begin));
    begin = i + 1;
  }
  if (depth != 0) return fail(Errc::corrupt, "'" + std::string(list) + "' is no list of hosts");
  return parts;
}

// "1-3,07" into the numbers with their leading zeros.
Result<std::vector<std::string>> expand_ranges(std::string_view ranges, std::size_t limit) {
  const auto wrong = [&] { return fail(Errc::corrupt, "'[" + std::string(ranges) + "]' is no range of host numbers"); };
  const auto number = [](std::string_view text, std::uint64_t& to) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), to);
    return !text.empty() && text.size() <= 18 && error == std::errc{} && end == text.data() + text.size();
  };
  std::vector<std::string> found;
  std::size_t begin = 0;
  while (begin <= ranges.size()) {
    const std::size_t end = std::min(ranges.find(',', begin), ranges.size());
    const std::string_view range = ranges.substr(begin, end - begin);
    const std::size_t dash = range.find('-');
    const std::string_view low = range.substr(0, dash);
    const std::string_view high = dash == std::string_view::npos ? low : range.substr(dash + 1);
    std::uint64_t from = 0;
    std::uint64_t to = 0;
    if (!number(low, from) || !number(high, to) || to < from) return wrong();
    for (std::uint64_t i = from; i <= to && found.size() < limit; ++i) {
      std::string digits = std::to_string(i);
      if (digits.size() < low.size()) digits.insert(0, low.size() - digits.size(), '0');
      found.push_back(std::move(digits));
    }
    begin = end + 1;
  }
  return found;
}

// "n[1-2]r[1-2]": the last bracket turns fastest.
Result<std::vector<std::string>> expand_part(std::string_view part, std::size_t limit) {
  const std::size_t open = part.find('[');
  if (open == std::string_view::npos) return std::vector<std::string>{std::string(part)};
  const std::size_t close = part.find(']', open);
  GOSSAMER_TRY_ASSIGN(const auto numbers, expand_ranges(part.substr(open + 1, close - open - 1), limit));
  GOSSAMER_TRY_ASSIGN(const auto tails, expand_part(part.substr(close + 1), limit));
  std::vector<std::string> found;
  for (const std::string& number : numbers)
    for (const std::string& tail : tails)
      if (found.size() < limit) found.push_back(std::string(part.substr(0, open)) + number + tail);
  return found;
}

}  // namespace

Result<std::vector<std::string>> expand_hostlist(std::string_view list, std::size_t limit) {
  GOSSAMER_TRY_ASSIGN(const auto parts, split_hostlist(list));
  std::vector<std::string> hosts;
  for (const std::string_view part : parts) {
    if (hosts.size() >= limit) break;
    GOSSAMER_TRY_ASSIGN(auto expanded, expand_part(part, limit - hosts.size()));
    for (std::string& host : expanded) hosts.push_back(std::move(host));
  }
  return hosts;
}

}  // namespace gossamer
