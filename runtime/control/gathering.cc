#include "runtime/control/gathering.h"

#include <algorithm>

#include "base/check.h"

namespace gossamer::control {
namespace {

constexpr std::size_t kListed = 12;    // ranges in a sentence
constexpr std::size_t kRemembered = 8;  // refusals in the report

wire::Refusal refusal(wire::Refusal::Code code, std::string reason) {
  wire::Refusal made;
  made.set_code(code);
  made.set_reason(std::move(reason));
  return made;
}

std::string quoted(const std::string& text) { return text.empty() ? "none" : "'" + text + "'"; }

std::string hex(std::uint64_t value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = kDigits[value & 15];
  return text;
}

}  // namespace

std::string list_ranks(const std::vector<PeerId>& ranks) {
  std::vector<std::string> parts;
  std::size_t listed = 0;
  for (std::size_t i = 0; i < ranks.size() && parts.size() < kListed;) {
    std::size_t j = i;
    while (j + 1 < ranks.size() && ranks[j + 1] == ranks[j] + 1) ++j;
    if (j >= i + 2) {
      parts.push_back(std::to_string(ranks[i]) + "-" + std::to_string(ranks[j]));
    } else {
      j = i;
      parts.push_back(std::to_string(ranks[i]));
    }
    listed += j - i + 1;
    i = j + 1;
  }
  if (listed < ranks.size()) parts.push_back(std::to_string(ranks.size() - listed) + " more");
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += i + 1 == parts.size() ? " and " : ", ";
    text += parts[i];
  }
  return text;
}

std::string describe(const wire::Join& join) {
  return (join.has_rank() ? "rank " + std::to_string(join.rank()) : std::string("a peer without rank")) + " (host " +
         join.host() + ", pid " + std::to_string(join.pid()) + ")";
}

std::optional<wire::Refusal> misfit(const wire::Join& own, const wire::Join& join, std::string_view whom) {
  const std::string other(whom);
  if (join.protocol() != kProtocol)
    return refusal(wire::Refusal::VERSION, "it speaks version " + std::to_string(join.protocol()) + " of the control protocol, " +
                                               other + " speaks " + std::to_string(kProtocol) +
                                               ": install the same Gossamer on every host");
  if (join.software_version() != own.software_version())
    return refusal(wire::Refusal::VERSION, "it is Gossamer " + quoted(join.software_version()) + ", " + other + " is " +
                                               quoted(own.software_version()) + ": install the same one on every host");
  if (join.has_rank() && join.rank() >= own.peers())
    return refusal(wire::Refusal::RANK, "rank " + std::to_string(join.rank()) + " does not exist in a run of " +
                                            std::to_string(own.peers()) + " peers");
  if (join.run_hash() != own.run_hash())
    return refusal(wire::Refusal::RUN, "its run file differs from that of " + other + " (hash " + hex(join.run_hash()) + ", not " +
                                           hex(own.run_hash()) + "): give every peer the same file and flags");
  if (join.peers() != own.peers())
    return refusal(wire::Refusal::RUN, "it expects " + std::to_string(join.peers()) + " peers, " + other + " expects " +
                                           std::to_string(own.peers()));
  if (join.elastic() != own.elastic())
    return refusal(wire::Refusal::RUN, "its run is " + std::string(join.elastic() ? "" : "not ") + "elastic, that of " + other +
                                           " is" + (own.elastic() ? "" : " not") + ": give every peer the same file and flags");
  if (join.control_port() == 0 || join.control_port() > 65535)
    return refusal(wire::Refusal::MALFORMED, "it listens on no port");
  if (join.transport_address().size() > kTransportAddressLimit)
    return refusal(wire::Refusal::MALFORMED, "its transport address is too long");
  return std::nullopt;
}

Gathering::Gathering(wire::Join own) : own_(std::move(own)) { entries_.push_back({own_, {}}); }

std::optional<wire::Refusal> Gathering::add(const wire::Join& join, const Arrival& arrival) {
  const auto refuse = [&](wire::Refusal::Code code, const std::string& why) {
    if (refused_.size() < kRemembered) refused_.push_back(describe(join) + ": " + why);
    return refusal(code, why);
  };
  if (const auto wrong = misfit(own_, join, "the collector")) return refuse(wrong->code(), wrong->reason());
  for (const Entry& entry : entries_) {
    if (entry.join.instance() == join.instance()) return refuse(wire::Refusal::DUPLICATE, "it has joined already");
    if (join.has_rank() && entry.join.has_rank() && entry.join.rank() == join.rank())
      return refuse(wire::Refusal::DUPLICATE, "rank " + std::to_string(join.rank()) + " is taken by pid " +
                                                  std::to_string(entry.join.pid()) + " on host " + entry.join.host() +
                                                  ": each peer needs a rank of its own");
  }
  if (complete()) return refuse(wire::Refusal::STARTED, "all peers have come already");
  entries_.push_back({join, arrival});
  return std::nullopt;
}

void Gathering::remove(std::uint64_t instance) {
  std::erase_if(entries_, [&](const Entry& e) { return e.join.instance() == instance && instance != own_.instance(); });
}

std::string Gathering::missing() const {
  std::vector<bool> taken(own_.peers(), false);
  std::size_t ranked = 0;
  for (const Entry& entry : entries_) {
    if (!entry.join.has_rank()) continue;
    taken[entry.join.rank()] = true;
    ++ranked;
  }
  const std::size_t absent = own_.peers() - entries_.size();
  std::vector<PeerId> ranks;
  for (PeerId rank = 0; rank < own_.peers(); ++rank)
    if (!taken[rank]) ranks.push_back(rank);
  // Those that have come without a rank will fill some of the free ones; which, is not known yet.
  if (ranked == 0 || ranks.size() != absent) {
    std::string text = std::to_string(absent) + (absent == 1 ? " peer" : " peers");
    return ranked == 0 ? text + " of any rank" : text + " of the ranks " + list_ranks(ranks);
  }
  return (ranks.size() == 1 ? "rank " : "ranks ") + list_ranks(ranks);
}

std::string Gathering::report() const {
  std::string text = std::to_string(entries_.size()) + " of " + std::to_string(own_.peers()) + " peers came; missing: " + missing();
  text += "; here: ";
  for (std::size_t i = 0; i < entries_.size() && i < kListed; ++i) text += (i > 0 ? ", " : "") + describe(entries_[i].join);
  if (entries_.size() > kListed) text += " and " + std::to_string(entries_.size() - kListed) + " more";
  for (std::size_t i = 0; i < refused_.size(); ++i) text += (i == 0 ? "; refused: " : "; ") + refused_[i];
  return text;
}

Result<wire::Roster> Gathering::roster(std::uint64_t run) const {
  GOSSAMER_CHECK(complete(), "a roster is made of all peers");
  wire::Roster roster;
  roster.set_run(run);

  std::vector<const Entry*> by_rank(own_.peers(), nullptr);
  for (const Entry& entry : entries_)
    if (entry.join.has_rank()) by_rank[entry.join.rank()] = &entry;
  std::size_t free = 0;
  for (const Entry& entry : entries_) {
    if (entry.join.has_rank()) continue;
    while (by_rank[free] != nullptr) ++free;
    by_rank[free] = &entry;
  }

  // Are all on this machine?  If one is not, which of our addresses did it call?
  const Entry* elsewhere = nullptr;
  for (const Entry& entry : entries_)
    if (!entry.arrival.from.is_unspecified() && !is_local(entry.arrival.from)) elsewhere = &entry;
  const std::string here = elsewhere != nullptr ? plain(elsewhere->arrival.to).to_string() : std::string();

  for (PeerId rank = 0; rank < own_.peers(); ++rank) {
    const Entry& entry = *by_rank[rank];
    const bool own = entry.join.instance() == own_.instance();
    std::string address = entry.join.address();
    if (address.empty() && !own) address = plain(entry.arrival.from).to_string();
    if (address.empty())
      address = here.empty() ? (entries_.size() > 1 ? plain(entries_[1].arrival.to).to_string() : "127.0.0.1") : here;
    boost::system::error_code not_literal;
    const IpAddress literal = boost::asio::ip::make_address(address, not_literal);
    if (elsewhere != nullptr && !not_literal && is_loopback(literal)) {
      if (entry.join.loopback_only())
        return fail(Errc::unsupported, describe(entry.join) + " listens on " + address + " only, which " +
                                           describe(elsewhere->join) +
                                           " on another host cannot reach: start it with an address or interface of its network");
      address = here;
    }
    wire::Member& member = *roster.add_members();
    member.set_rank(rank);
    member.set_host(entry.join.host());
    member.set_address(address);
    member.set_control_port(entry.join.control_port());
    member.set_pid(entry.join.pid());
    member.set_incarnation(1);
    member.set_transport_address(entry.join.transport_address());
    member.set_instance(entry.join.instance());
    member.set_loopback_only(entry.join.loopback_only());
    if (own) roster.set_collector(rank);
  }
  return roster;
}

}  // namespace gossamer::control
