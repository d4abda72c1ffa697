#include "gossip/membership.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/check.h"

namespace gossamer {
namespace {

constexpr std::uint32_t kMagic = 0x56535347;  // "GSSV"
constexpr std::uint16_t kVersion = 2;
enum class Kind : std::uint16_t { apply = 1, prepare = 2, promise = 3, install = 4, invite = 5 };

Writer begin(Kind kind) {
  Writer writer;
  writer.put(kMagic);
  writer.put(kVersion);
  writer.put(kind);
  return writer;
}

template <class Ballot>
void put_ballot(Writer& writer, const Ballot& ballot) {
  writer.put(ballot.number);
  writer.put(ballot.order);
  writer.put(ballot.attempt);
}

void put(Writer& writer, const View& view) {
  writer.put(view.number);
  writer.put(view.first_round);
  writer.array(std::span<const Incarnation>(view.lives));
}

template <class Ballot>
Ballot get_ballot(Reader& reader) {
  Ballot ballot;
  ballot.number = reader.get<std::uint32_t>();
  ballot.order = reader.get<std::uint32_t>();
  ballot.attempt = reader.get<std::uint32_t>();
  return ballot;
}

View get_view(Reader& reader, std::size_t peers) {
  View view;
  view.number = reader.get<std::uint32_t>();
  view.first_round = reader.get<Round>();
  view.lives.resize(peers);
  reader.array(std::span<Incarnation>(view.lives));
  return view;
}

std::string names(const std::vector<PeerId>& peers) {
  std::string text;
  for (const PeerId peer : peers) text += fmt::format("{}{}", text.empty() ? "" : ", ", peer);
  return text;
}

}  // namespace

Membership::Membership(MembershipSetup setup)
    : setup_(std::move(setup)), member_(setup_.member), view_(View::first(setup_.alive.size())), before_(view_.lives), ended_(setup_.ended), applied_(setup_.alive.size()) {
  GOSSAMER_CHECK(setup_.self < setup_.alive.size(), "rank out of range");
  setup_.alive[setup_.self] = setup_.life;
  ended_.resize(setup_.alive.size());
  told_ = setup_.alive;
  if (!member_) view_.lives.assign(view_.lives.size(), 0);
}

void Membership::died(PeerId peer, Incarnation life) {
  ended_.at(peer) = std::max(ended_.at(peer), life);
  if (setup_.alive[peer] <= life) {
    setup_.alive[peer] = 0;
    std::erase_if(early_, [&](const Message& message) { return message.to == peer; });
  }
  if (proposer_ == peer) hand_on();
}

void Membership::returned(PeerId peer, Incarnation life) {
  told_.at(peer) = std::max(told_.at(peer), life);
  if (setup_.alive[peer] == life)
    for (Message& message : early_)
      if (message.to == peer) messages_.push_back(std::move(message));
  std::erase_if(early_, [&](const Message& message) { return message.to == peer; });
  learn(peer, life);
}

void Membership::learn(PeerId peer, Incarnation life) {
  if (setup_.alive.at(peer) >= life || ended_[peer] >= life) return;
  setup_.alive[peer] = life;
  if (applying_ && !member_) send_application(peer);
}

void Membership::apply() {
  GOSSAMER_CHECK(!member_, "a member applied");
  applying_ = true;
  // To everybody, since whoever is the next coordinator has to know.
  for (PeerId peer = 0; peer < setup_.alive.size(); ++peer)
    if (peer != setup_.self && alive(peer)) send_application(peer);
}

void Membership::send_application(PeerId to) {
  Writer writer = begin(Kind::apply);
  writer.put(setup_.life);
  send(to, writer);
}

// Veterans by rank, then newcomers by rank.
std::uint32_t Membership::order(PeerId peer) const {
  const bool veteran = view_.has(peer, before_[peer]);
  return veteran ? peer : static_cast<std::uint32_t>(before_.size()) + peer;
}

std::optional<PeerId> Membership::coordinator() const {
  std::optional<PeerId> first;
  for (PeerId peer = 0; peer < setup_.alive.size(); ++peer)
    if (lives_on(peer) && (!first || order(peer) < order(*first))) first = peer;
  return first;
}

// Whoever has promised a coordinator that died takes no view of an earlier ballot, since that one may have installed another.  If it
// has, somebody who lives on answers with it; if it has not, somebody answers with the view that was refused: so this peer asks
// them all, whoever else may lead.
bool Membership::leads() const {
  if (coordinator() == setup_.self) return true;
  if (refused_ <= view_.number || promised_.number <= view_.number) return false;
  const PeerId to = proposer(promised_);
  return to == setup_.self || !lives_on(to);
}

// The members that live on, and the newcomers that live and have asked.
std::vector<Incarnation> Membership::desired() const {
  std::vector<Incarnation> lives(setup_.alive.size());
  for (PeerId peer = 0; peer < lives.size(); ++peer)
    if (lives_on(peer) || (alive(peer) && applied_[peer] == setup_.alive[peer])) lives[peer] = setup_.alive[peer];
  return lives;
}

void Membership::advance(Round next_round) {
  if (!member_) enter();
  if (!member_ || error_) return;
  answer_late(next_round);
  if (!leads()) {
    proposal_.reset();
    return;
  }
  const std::vector<Incarnation> lives = desired();
  if (proposal_ && proposal_->lives == lives && proposal_->ballot >= promised_) return;
  // Whoever was stopped for a change that is not needed any more goes on with the same members in a new view.
  const bool somebody_waits = promised_.number > view_.number;
  if (lives == view_.lives && !somebody_waits) return;
  propose(next_round);
}

void Membership::propose(Round next_round) {
  const std::vector<Incarnation> lives = desired();
  std::vector<PeerId> lost;
  std::size_t kept = 0;
  std::optional<PeerId> lowest;
  for (PeerId peer = 0; peer < lives.size(); ++peer) {
    if (!view_.has(peer)) continue;
    if (!lowest) lowest = peer;
    if (lives_on(peer)) {
      ++kept;
    } else {
      lost.push_back(peer);
    }
  }
  if (2 * kept < view_.members() || (2 * kept == view_.members() && !lives_on(*lowest))) {
    error_ = Error{Errc::peer_gone, fmt::format("{} of {} members are left (peers {} are gone): the others may be going on without this "
                                                "part, which ends here",
                                                kept, view_.members(), names(lost))};
    return;
  }
  const Ballot ballot{view_.number + 1, order(setup_.self), ++attempts_};
  // A later coordinator takes this peer for dead: the control plane's verdict on it is under way.
  if (ballot < promised_) return;
  proposal_ = Proposal{ballot, lives, {}};
  promised_ = ballot;
  proposal_->promises[setup_.self] = std::max(next_round, view_.first_round);
  Writer writer = begin(Kind::prepare);
  put_ballot(writer, proposal_->ballot);
  put_ballot(writer, chosen_);
  put(writer, view_);
  send_to_members(writer);
  count_promises();
}

void Membership::promise(PeerId to, const Ballot& ballot, Round next_round) {
  Writer writer = begin(Kind::promise);
  put_ballot(writer, ballot);
  // A newcomer that has just heard of its first view has yet to go to where that begins.
  writer.put(std::max(next_round, view_.first_round));
  put(writer, view_);
  send(to, writer);
}

void Membership::count_promises() {
  if (!proposal_ || proposal_->ballot != promised_) return;
  Round first = 0;
  for (PeerId peer = 0; peer < setup_.alive.size(); ++peer) {
    if (!lives_on(peer)) continue;
    const auto promised = proposal_->promises.find(peer);
    if (promised == proposal_->promises.end()) return;
    first = std::max(first, promised->second);
  }
  const View next{proposal_->ballot.number, setup_.rounds_shared ? first : 0, proposal_->lives};
  const Ballot ballot = proposal_->ballot;
  Writer writer = begin(Kind::install);
  put_ballot(writer, ballot);
  put(writer, next);
  send_to_members(writer);
  install(next, ballot);
}

void Membership::install(const View& view, const Ballot& ballot) {
  if (!member_ || view.number <= view_.number) return;
  if (ballot < promised_) {
    refused_ = std::max(refused_, view.number);
    return;
  }
  if (!view.has(setup_.self, setup_.life)) {
    error_ = Error{Errc::timed_out, fmt::format("the other peers went on without this one (view {})", view.number)};
    return;
  }
  before_ = view_.lives;
  installed(view, ballot);
  Writer writer = begin(Kind::invite);
  put_ballot(writer, ballot);
  put(writer, view);
  writer.array(std::span<const Incarnation>(before_));
  for (PeerId peer = 0; peer < view.lives.size(); ++peer)
    if (view.has(peer) && !view.has(peer, before_[peer])) send(peer, writer);
  proposer_ = proposer(ballot);
  if (!lives_on(*proposer_)) hand_on();
}

// The proposer may have died before everybody had its view.
void Membership::hand_on() {
  proposer_.reset();
  Writer writer = begin(Kind::install);
  put_ballot(writer, chosen_);
  put(writer, view_);
  send_to_members(writer);
}

void Membership::installed(const View& view, const Ballot& ballot) {
  view_ = view;
  chosen_ = ballot;
  fresh_.push_back(view);
  member_ = true;
  proposal_.reset();
  proposer_.reset();
  // A view names a life only if it was known to live: it may be that this peer had not been told yet.
  for (PeerId peer = 0; peer < view.lives.size(); ++peer)
    if (view.has(peer)) learn(peer, view.lives[peer]);
}

// A newcomer goes where most of the old members, or all that live, went.  Had it believed a single one, and that one died at once, it would be in a
// view that the others never were in.
void Membership::enter() {
  for (const auto& [by, invitation] : invitations_) {
    const View& view = invitation.view;
    if (!view.has(setup_.self, setup_.life)) continue;
    std::size_t veterans = 0, living = 0, votes = 0, living_votes = 0;
    for (PeerId peer = 0; peer < view.lives.size(); ++peer) {
      if (!view.has(peer, invitation.before[peer])) continue;
      const bool lives = setup_.alive[peer] == view.lives[peer];
      const auto vote = invitations_.find(peer);
      const bool voted = vote != invitations_.end() && vote->second.view == view;
      ++veterans;
      living += lives;
      votes += voted;
      living_votes += lives && voted;
    }
    if (2 * votes <= veterans && (living == 0 || living_votes < living)) continue;
    before_ = invitation.before;
    installed(View(view), Ballot(invitation.ballot));
    return;
  }
}

// A question came before the view that it builds on.
void Membership::answer_late(Round next_round) {
  if (!unanswered_ || unanswered_->second.number > view_.number + 1) return;
  const auto [from, ballot] = *std::exchange(unanswered_, std::nullopt);
  if (ballot.number <= view_.number || ballot < promised_) return;
  promised_ = ballot;
  promise(from, ballot, next_round);
}

Result<> Membership::heard(PeerId from, std::span<const std::byte> bytes, Round next_round) {
  GOSSAMER_TRY(take(from, bytes, next_round));
  // Whatever it was may have left this peer to lead on: a prepare, for one, of a coordinator that is known to be dead.
  advance(next_round);
  return {};
}

Result<> Membership::take(PeerId from, std::span<const std::byte> bytes, Round next_round) {
  if (from >= setup_.alive.size() || from == setup_.self)
    return fail(Errc::corrupt, fmt::format("a membership message of peer {}, which is not one of the others", from));
  Reader reader(bytes);
  const auto corrupt = [&] { return fail(Errc::corrupt, fmt::format("peer {} sent a membership message that does not parse", from)); };
  if (reader.get<std::uint32_t>() != kMagic) return corrupt();
  if (const auto version = reader.get<std::uint16_t>(); version != kVersion)
    return fail(Errc::version, fmt::format("peer {} speaks version {} of the membership protocol, this peer {}: start all peers from one build",
                                           from, version, kVersion));
  const auto kind = reader.get<Kind>();
  if (kind == Kind::apply) {
    const auto life = reader.get<Incarnation>();
    if (!reader.ok() || reader.left() > 0) return corrupt();
    applied_[from] = std::max(applied_[from], life);
    return {};
  }
  if (kind == Kind::invite) {
    const auto ballot = get_ballot<Ballot>(reader);
    const View view = get_view(reader, setup_.alive.size());
    std::vector<Incarnation> before(setup_.alive.size());
    reader.array(std::span<Incarnation>(before));
    if (!reader.ok() || reader.left() > 0) return corrupt();
    Invitation& newest = invitations_[from];
    if (newest.view.number <= view.number) newest = {ballot, view, std::move(before)};  // the same again: of another life of that member
    return {};
  }
  const auto ballot = get_ballot<Ballot>(reader);
  const auto chosen = kind == Kind::prepare ? get_ballot<Ballot>(reader) : Ballot{};
  const Round theirs = kind == Kind::promise ? reader.get<Round>() : 0;
  const View view = get_view(reader, setup_.alive.size());
  if (!reader.ok() || reader.left() > 0) return corrupt();
  switch (kind) {
    case Kind::apply:
    case Kind::invite: break;
    case Kind::prepare:
      // The coordinator may be in a view that this peer has not heard of: the one who proposed it died, or is slower.
      install(view, chosen);
      if (!member_ || view.number > view_.number) {
        if (!unanswered_ || unanswered_->second < ballot) unanswered_ = {from, ballot};
        return {};
      }
      if (ballot >= promised_) promised_ = ballot;
      if (ballot == promised_ || view.number < view_.number) promise(from, ballot, next_round);
      return {};
    case Kind::promise: {
      if (!member_) return {};
      const bool asked = proposal_ && proposal_->ballot == promised_ && std::pair(ballot.number, ballot.order) == std::pair(promised_.number, promised_.order);
      if (view.number > view_.number) {
        refused_ = std::max(refused_, view.number);
        if (!asked) return {};
        // Somebody was in it when this peer asked, so everybody has to go through it.
        install(view, promised_);
        hand_on();
        proposal_.reset();
        return {};
      }
      if (asked && proposal_->ballot == ballot) {
        proposal_->promises[from] = theirs;
        count_promises();
      }
      return {};
    }
    case Kind::install:
      install(view, ballot);
      return {};
  }
  return fail(Errc::corrupt, fmt::format("peer {} sent a membership message of unknown kind {}", from, static_cast<int>(kind)));
}

void Membership::send_to_members(const Writer& writer) {
  for (PeerId peer = 0; peer < setup_.alive.size(); ++peer)
    if (peer != setup_.self && lives_on(peer)) send(peer, writer);
}

void Membership::send(PeerId to, const Writer& writer) {
  auto& messages = setup_.alive[to] > told_[to] ? early_ : messages_;
  messages.push_back({to, {writer.view().begin(), writer.view().end()}});
}

std::vector<Membership::Message> Membership::take_messages() { return std::exchange(messages_, {}); }

std::vector<View> Membership::take_views() { return std::exchange(fresh_, {}); }

}  // namespace gossamer
