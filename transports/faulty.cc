#include "transports/faulty.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/check.h"
#include "base/random.h"

namespace gossamer {
namespace {

// Travels instead of the notice of a put that was cut.
constexpr std::string_view kCutMarker = "gossamer/faulty: this put was cut";

bool is_cut_marker(const Notice& notice) {
  return notice.size == kCutMarker.size() &&
         std::equal(kCutMarker.begin(), kCutMarker.end(), notice.data.begin(),
                    [](char a, std::byte b) { return static_cast<std::byte>(a) == b; });
}

class FaultyLink;

struct FaultyTarget final : Target {
  explicit FaultyTarget(std::unique_ptr<Target> target) : inner(std::move(target)) {}
  std::uint64_t size() const override { return inner->size(); }
  bool mapped() const override { return inner->mapped(); }
  std::shared_ptr<Target> inner;  // shared with puts that wait in silence
};

}  // namespace

struct FaultyFabric::State {
  State(std::unique_ptr<Fabric> fabric, const FaultOptions& faults)
      : inner(std::move(fabric)), options(faults), random(faults.seed, Purpose::faults) {}

  bool chance(double probability) { return probability > 0 && random.uniform() < probability; }
  unsigned some_polls() {
    return 1 + static_cast<unsigned>(random.below(std::max(1u, options.delay_polls_max)));
  }

  template <class T>
  struct Late {
    unsigned polls = 0;
    T event;
  };
  struct UnderWay {
    std::uint64_t token = 0;
    std::uint32_t link = 0;
    bool cut = false;
  };

  void end(Ended ended) {
    unsigned polls = 0;
    if (chance(options.delay_ended)) {
      ++counts.delayed;
      polls = some_polls();
    }
    ended_late.push_back({polls, ended});
  }
  void break_link(std::uint32_t link) {
    if (down.insert(link).second) down_events.push_back(link);
  }

  std::unique_ptr<Fabric> inner;  // null once the fabric is gone and links are left over
  FaultOptions options;
  Random random;
  FaultCounts counts;
  bool silent = false;
  bool refused = false;  // since the last poll

  std::uint64_t next_token = 0;
  std::unordered_map<std::uint64_t, UnderWay> under_way;  // by the token that the inner fabric knows
  std::unordered_set<std::uint32_t> down;
  std::unordered_map<std::uint32_t, FaultyLink*> links;

  FabricEvents raw;
  std::vector<Late<Ended>> ended_late;
  std::vector<Late<Notice>> notices_late;
  std::vector<std::uint32_t> down_events;
};

namespace {

class FaultyLink final : public Link {
 public:
  FaultyLink(std::shared_ptr<FaultyFabric::State> state, std::unique_ptr<Link> inner)
      : state_(std::move(state)),
        inner_(std::move(inner)),
        limit_(state_->inner->limits().puts_in_flight_max) {
    state_->links.emplace(inner_->id(), this);
  }
  ~FaultyLink() override {
    for (const Waiting& waiting : waiting_)
      if (waiting.is_put) state_->end({waiting.put.token, Errc::peer_gone});
    waiting_.clear();
    state_->links.erase(inner_->id());
    std::erase(state_->down_events, inner_->id());
  }

  Result<std::unique_ptr<Target>> open(const RemoteRegion& region) override {
    if (is_down()) return fail(Errc::peer_gone, "cannot open a region: the peer has gone");
    GOSSAMER_TRY_ASSIGN(auto target, inner_->open(region));
    return std::make_unique<FaultyTarget>(std::move(target));
  }

  Result<std::unique_ptr<Mapping>> map(const RemoteRegion& region) override {
    if (is_down()) return fail(Errc::peer_gone, "cannot map a region: the peer has gone");
    return inner_->map(region);
  }

  Errc put(const Put& put) override {
    const auto* target = dynamic_cast<const FaultyTarget*>(put.target);
    if (!makes_sense(put, target)) return Errc::invalid_argument;
    if (is_down()) return Errc::peer_gone;
    if (refuse()) return Errc::would_block;
    if (state_->silent) return wait(put, target);
    return start(put, target ? target->inner.get() : nullptr);
  }

  Errc notify(std::span<const std::byte> notice) override {
    if (notice.size() > kNoticeSizeMax) return Errc::invalid_argument;
    if (is_down()) return Errc::peer_gone;
    if (refuse()) return Errc::would_block;
    if (state_->silent) return wait(Put{.notice = notice}, nullptr, false);
    return start_notice(notice);
  }

  std::uint32_t id() const override { return inner_->id(); }

  // After the silence: as much as the inner fabric takes.  The rest follows with later polls.
  void release() {
    std::size_t done = 0;
    for (; done < waiting_.size(); ++done) {
      Waiting& waiting = waiting_[done];
      waiting.put.notice = waiting.notice;
      Errc status = is_down()        ? Errc::peer_gone
                    : waiting.is_put ? start(waiting.put, waiting.target.get())
                                     : start_notice(waiting.notice);
      if (status == Errc::would_block) break;
      if (status != Errc::ok && waiting.is_put) state_->end({waiting.put.token, status});
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(done));
  }
  bool waits() const { return !waiting_.empty(); }

 private:
  struct Waiting {
    bool is_put = false;
    Put put;
    std::shared_ptr<Target> target;
    std::vector<std::byte> notice;
  };

  bool is_down() const { return !state_->inner || state_->down.contains(inner_->id()); }

  static bool makes_sense(const Put& put, const FaultyTarget* target) {
    if (put.notice.size() > kNoticeSizeMax || (put.target && !target)) return false;
    if (put.size > 0 && (!put.source || !target)) return false;
    const auto inside = [&](std::uint64_t offset, std::uint64_t size) {
      return offset <= size && put.size <= size - offset;
    };
    return (!put.source || inside(put.source_offset, put.source->memory().size)) &&
           (!target || inside(put.target_offset, target->size()));
  }

  bool refuse() {
    // Whoever waits behind puts that wait is refused too, so that silence keeps the order of one link.
    const bool full = waiting_.size() >= limit_ || (!state_->silent && !waiting_.empty());
    if (!full && !state_->chance(state_->options.refuse)) return false;
    if (!full) ++state_->counts.refused;
    state_->refused = true;
    return true;
  }

  Errc wait(const Put& put, const FaultyTarget* target, bool is_put = true) {
    waiting_.push_back(
        {is_put, put, target ? target->inner : nullptr, {put.notice.begin(), put.notice.end()}});
    return Errc::ok;
  }

  Errc start(Put put, const Target* target) {
    if (state_->chance(state_->options.drop_put)) {
      ++state_->counts.dropped;
      state_->end({put.token, Errc::ok});
      return Errc::ok;
    }
    FaultyFabric::State::UnderWay under_way{put.token, inner_->id(), false};
    if (put.size > 0 && state_->chance(state_->options.cut_put)) {
      under_way.cut = true;
      put.size = state_->random.below(put.size);
      put.notice = std::as_bytes(std::span(kCutMarker.data(), kCutMarker.size()));
    }
    put.token = state_->next_token++;
    put.target = target;
    const Errc status = inner_->put(put);
    if (status != Errc::ok) return status;
    state_->under_way.emplace(put.token, under_way);
    if (under_way.cut) {
      ++state_->counts.cut;
      state_->break_link(inner_->id());
    }
    return Errc::ok;
  }

  Errc start_notice(std::span<const std::byte> notice) {
    if (state_->chance(state_->options.drop_notice)) {
      ++state_->counts.dropped;
      return Errc::ok;
    }
    return inner_->notify(notice);
  }

  std::shared_ptr<FaultyFabric::State> state_;
  std::unique_ptr<Link> inner_;
  std::size_t limit_;
  std::vector<Waiting> waiting_;
};

}  // namespace

FaultyFabric::FaultyFabric(std::unique_ptr<Fabric> inner, const FaultOptions& options)
    : state_(std::make_shared<State>(std::move(inner), options)) {
  GOSSAMER_CHECK(state_->inner != nullptr, "a faulty fabric needs a fabric");
}

FaultyFabric::~FaultyFabric() {
  state_->inner.reset();
}

void FaultyFabric::go_silent() {
  state_->silent = true;
}

void FaultyFabric::resume() {
  state_->silent = false;
}

void FaultyFabric::take_down(std::uint32_t link) {
  state_->break_link(link);
}

void FaultyFabric::set_options(const FaultOptions& options) {
  state_->options = options;
}

const FaultCounts& FaultyFabric::counts() const {
  return state_->counts;
}

std::string_view FaultyFabric::name() const {
  return "faulty";
}

std::string FaultyFabric::description() const {
  return "faults over " + state_->inner->description();
}

FabricLimits FaultyFabric::limits() const {
  FabricLimits limits = state_->inner->limits();
  const FaultOptions& options = state_->options;
  if (options.drop_put > 0 || options.drop_notice > 0 || options.duplicate_notice > 0)
    limits.reliable = false;
  return limits;
}

Traffic FaultyFabric::traffic() const {
  return state_->inner->traffic();
}
DeviceMemory* FaultyFabric::device() const {
  return state_->inner->device();
}
std::string FaultyFabric::address() const {
  return state_->inner->address();
}
Result<std::unique_ptr<Region>> FaultyFabric::allocate(std::size_t size) {
  return state_->inner->allocate(size);
}
Result<std::unique_ptr<Region>> FaultyFabric::allocate_device(std::size_t size) {
  return state_->inner->allocate_device(size);
}
Result<std::unique_ptr<Region>> FaultyFabric::add_region(MemoryView memory) {
  return state_->inner->add_region(memory);
}

Result<std::unique_ptr<Link>> FaultyFabric::connect(std::string_view address) {
  GOSSAMER_TRY_ASSIGN(auto link, state_->inner->connect(address));
  return std::make_unique<FaultyLink>(state_, std::move(link));
}

void FaultyFabric::poll(FabricEvents* events) {
  State& state = *state_;
  state.raw.clear();
  state.inner->poll(&state.raw);
  state.refused = false;

  // What has come takes its place in the queues, behind what is late already.
  for (const Ended& ended : state.raw.ended) {
    const auto found = state.under_way.find(ended.token);
    GOSSAMER_CHECK(found != state.under_way.end(), "the inner fabric ended a put that was never started");
    state.end({found->second.token, found->second.cut ? Errc::peer_gone : ended.status});
    state.under_way.erase(found);
  }
  for (const Notice& notice : state.raw.notices) {
    if (is_cut_marker(notice)) continue;
    unsigned polls = 0;
    if (state.chance(state.options.delay_notice)) {
      ++state.counts.delayed;
      polls = state.some_polls();
    }
    state.notices_late.push_back({polls, notice});
    if (state.chance(state.options.duplicate_notice)) {
      ++state.counts.duplicated;
      state.notices_late.push_back({state.some_polls(), notice});
    }
  }
  for (const std::uint32_t link : state.raw.down) state.break_link(link);
  if (state.silent) return;

  for (const auto& [id, link] : state.links) link->release();
  const std::size_t first = events->notices.size();
  const auto hand_out = [](auto& late, auto& to) {
    std::erase_if(late, [&](auto& one) {
      if (one.polls > 0) {
        --one.polls;
        return false;
      }
      to.push_back(one.event);
      return true;
    });
  };
  hand_out(state.ended_late, events->ended);
  hand_out(state.notices_late, events->notices);
  if (events->notices.size() - first > 1 && state.chance(state.options.reorder)) {
    ++state.counts.reordered;
    std::span<Notice> batch(events->notices.data() + first, events->notices.size() - first);
    state.random.shuffle(batch);
  }
  events->down.insert(events->down.end(), state.down_events.begin(), state.down_events.end());
  state.down_events.clear();
}

int FaultyFabric::wait_fd() const {
  return state_->inner->wait_fd();
}

bool FaultyFabric::arm() {
  State& state = *state_;
  if (!state.silent) {
    // Delays are counted in polls, so there must be some.
    if (state.refused || !state.ended_late.empty() || !state.notices_late.empty() ||
        !state.down_events.empty())
      return false;
    for (const auto& [id, link] : state.links)
      if (link->waits()) return false;
  }
  return state.inner->arm();
}

}  // namespace gossamer
