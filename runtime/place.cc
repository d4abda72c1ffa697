#include "runtime/place.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

namespace gossamer {
namespace {

struct Launcher {
  std::string_view name;
  std::string_view rank;
  std::string_view peers;
};
// Slurm comes last: a job that srun or sbatch started may start an mpirun or torchrun of its own inside.
constexpr Launcher kLaunchers[] = {
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"PMI", "PMI_RANK", "PMI_SIZE"},
    {"torchrun", "RANK", "WORLD_SIZE"},
    {"Slurm", "SLURM_PROCID", "SLURM_NTASKS"},
};

bool parse(std::string_view text, std::size_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

Result<std::size_t> number(const Environment& environment, std::string_view name) {
  std::size_t value = 0;
  if (!parse(value_of(environment, name), &value))
    return fail(Errc::invalid_argument, fmt::format("environment variable {}: `{}` is not a whole number",
                                                    name, value_of(environment, name)));
  return value;
}

// Where rank 0 of a launcher's run can be met, or empty.
std::string launcher_rendezvous(const Environment& environment, std::string_view launcher) {
  const auto host = value_of(environment, "MASTER_ADDR"), port = value_of(environment, "MASTER_PORT");
  if (!host.empty() && !port.empty())
    return host.find(':') == std::string_view::npos ? fmt::format("{}:{}", host, port)
                                                    : fmt::format("[{}]:{}", host, port);
  if (launcher == "Slurm") {
    const std::string first = first_slurm_host(value_of(environment, "SLURM_JOB_NODELIST"));
    std::size_t job = 0;
    // Two jobs that share a node get different ports as long as their numbers differ modulo 10000.
    if (!first.empty() && parse(value_of(environment, "SLURM_JOB_ID"), &job))
      return fmt::format("{}:{}", first, 20000 + job % 10000);
  }
  return {};
}

}  // namespace

std::string first_slurm_host(std::string_view list) {
  const std::size_t bracket = list.find_first_of("[,");
  if (bracket == std::string_view::npos || list[bracket] == ',') return std::string(list.substr(0, bracket));
  const std::string_view inside = list.substr(bracket + 1);
  const std::string_view number = inside.substr(0, inside.find_first_of("-,]"));
  const std::size_t close = inside.find(']');
  if (close == std::string_view::npos) return {};
  const std::string_view rest = inside.substr(close + 1);
  return std::string(list.substr(0, bracket)) + std::string(number) +
         std::string(rest.substr(0, rest.find(',')));
}

Result<> check_rendezvous(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  std::size_t port = 0;
  const bool form =
      colon != std::string::npos && colon > 0 && parse(std::string_view(address).substr(colon + 1), &port);
  const std::string_view host = form ? std::string_view(address).substr(0, colon) : std::string_view();
  const bool bare_v6 =
      host.find(':') != std::string_view::npos && (host.front() != '[' || host.back() != ']');
  if (!form || port == 0 || port > 65535 || bare_v6)
    return fail(
        Errc::invalid_argument,
        fmt::format(
            "`{}` is not a place to meet; write host:port (or [v6 address]:port) with a port in [1, 65535]",
            address));
  return {};
}

Result<Place> find_place(const PlaceFlags& flags, const Environment& environment) {
  Place place;
  std::optional<std::size_t> rank = flags.rank, peers = flags.peers;
  place.rendezvous = flags.rendezvous;
  place.source = "flags";

  const auto from_variable = [&](std::optional<std::size_t>* value, std::string_view name,
                                 std::string_view source) -> Result<> {
    if (*value || value_of(environment, name).empty()) return {};
    GOSSAMER_TRY_ASSIGN(*value, number(environment, name));
    place.source = source;
    return {};
  };
  GOSSAMER_TRY(from_variable(&rank, "GOSSAMER_RANK", "environment"));
  GOSSAMER_TRY(from_variable(&peers, "GOSSAMER_PEERS", "environment"));
  if (place.rendezvous.empty()) place.rendezvous = value_of(environment, "GOSSAMER_RENDEZVOUS");

  std::string_view launcher;
  for (const Launcher& candidate : kLaunchers) {
    // Both are needed: a login shell may hold half of a launcher's variables.
    if (value_of(environment, candidate.rank).empty() || value_of(environment, candidate.peers).empty())
      continue;
    launcher = candidate.name;
    GOSSAMER_TRY(from_variable(&rank, candidate.rank, launcher));
    GOSSAMER_TRY(from_variable(&peers, candidate.peers, launcher));
    break;
  }
  if (place.rendezvous.empty()) place.rendezvous = launcher_rendezvous(environment, launcher);

  if (!rank)
    return fail(Errc::invalid_argument,
                "which peer this is is not known; use --rank, set GOSSAMER_RANK, or start under srun, mpirun "
                "or torchrun "
                "(`gossamer run` starts all peers of a run on this machine)");
  if (!peers)
    return fail(Errc::invalid_argument,
                "how many peers there are is not known; use --peers or set GOSSAMER_PEERS");
  if (*peers == 0 || *peers > 1'000'000)
    return fail(Errc::invalid_argument,
                fmt::format("{} peers make no run; there must be 1 to 1000000", *peers));
  if (*rank >= *peers)
    return fail(Errc::invalid_argument,
                fmt::format("rank {} does not exist among {} peers; ranks run from 0 to {}", *rank, *peers,
                            *peers - 1));
  if (place.rendezvous.empty()) {
    if (*peers > 1)
      return fail(Errc::invalid_argument,
                  "where the peers meet is not known; use --rendezvous host:port (the host of rank 0) or set "
                  "GOSSAMER_RENDEZVOUS");
  } else {
    GOSSAMER_TRY(check_rendezvous(place.rendezvous));
  }
  place.rank = static_cast<PeerId>(*rank);
  place.peers = *peers;
  return place;
}

}  // namespace gossamer
