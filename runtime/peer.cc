#include "runtime/peer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <future>
#include <map>
#include <thread>
#include <unistd.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/random.h"
#include "gossip/algorithms.h"
#include "kernels/vector.h"
#include "runtime/composition.h"
#include "runtime/doctor.h"
#include "runtime/messages.h"
#include "runtime/peer_life.h"
#include "runtime/report/table.h"
#include "trainer/partition.h"
#include "transports/interfaces.h"
#include "transports/transports.h"

namespace gossamer {
namespace {

constexpr std::size_t kSketchSize = 256;      // estimates |x|^2 within about 9 %
constexpr std::uint64_t kIntervalsPerRun = 100;
constexpr std::uint64_t kLiveSamples = 2000;  // test samples of a live evaluation; the final one uses all

}  // namespace

Result<> Peer::run() {
  GOSSAMER_TRY(join());
  const auto work = [&]() -> Result<> {
    GOSSAMER_TRY(compose());
    GOSSAMER_TRY(roster_.started ? catch_up() : agree_on_start());
    GOSSAMER_TRY(train());
    return finish();
  };
  auto done = work();
  if (over_) {
    log_.info("the run has ended before this peer was one of its members");
    done = {};
  }
  if (!done && done.error().code == Errc::peer_gone && !told_) done = explain(std::move(done).error());
  if (!done) {
    abort(done.error());
  } else if (const auto left = control_->leave(std::chrono::seconds(5)); !left) {
    log_.debug("{}", left.error().message);
  }
  return done;
}

Result<> Peer::join() {
  GOSSAMER_TRY_ASSIGN(topology_, make_topology(run_.topology));
  const FabricOptions fabric{.kind = run_.transport.kind,
                             .ucx = {.tls = run_.transport.tls, .interface = run_.transport.interface},
                             .ofi = {.provider = run_.transport.provider, .interface = run_.transport.interface},
                             .loopback = {},
                             .hub = process_.hub};
  GOSSAMER_TRY_ASSIGN(fabric_, make_fabric(fabric));
  log_.debug("transport: {}", fabric_->description());
  const std::string text = to_yaml(run_);
  GOSSAMER_TRY_ASSIGN(control_, Control::start({.rank = process_.place.rank,
                                                .peers = topology_->peer_count(),
                                                .rendezvous = process_.place.rendezvous,
                                                .host = host_of(run_.transport.interface),
                                                .run_hash = XXH3_64bits(text.data(), text.size()),
                                                .software_version = std::string(gossamer_version()),
                                                .elastic = run_.membership.mode == MembershipMode::elastic,
                                                .join_deadline = run_.deadlines.join,
                                                .heartbeat = run_.deadlines.heartbeat,
                                                .silence_deadline = run_.deadlines.silence},
                                               log_));
  // It may take long, and whoever is asked to stop meanwhile stops.
  auto joined = std::async(std::launch::async, [&] { return control_->join(fabric_->address()); });
  while (joined.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready)
    if (process_.stop && *process_.stop) (void)control_->leave({}).has_value();
  GOSSAMER_TRY_ASSIGN(roster_, joined.get());
  begun_ = roster_.started;
  return {};
}

Result<> Peer::compose() {
  const TrainerOptions& training = run_.trainer;
  Split data;
  std::vector<std::uint32_t> shard;
  std::uint64_t total_samples = 0;
  if (needs_data(training.task)) {
    GOSSAMER_TRY_ASSIGN(data, load_data(training.data, run_.seed));
    GOSSAMER_TRY_ASSIGN(auto shards, partition(*data.train, training.partition, peers(), run_.seed));
    shard = std::move(shards[self()]);
    total_samples = data.train->samples;
  }
  GOSSAMER_TRY_ASSIGN(stack_.task, make_task(training.task, data, std::move(shard), training.batch_size, self(), peers(), run_.seed));
  GOSSAMER_TRY_ASSIGN(compressor_, make_compressor(run_.compression));
  PeerStackSetup setup{.self = self(), .life = roster_.peers[self()].incarnation, .newcomer = roster_.started, .samples = total_samples};
  setup.alive.resize(peers());
  setup.ended.resize(peers());
  for (const Roster::Entry& peer : roster_.peers) (peer.alive ? setup.alive : setup.ended)[peer.rank] = peer.incarnation;
  GOSSAMER_TRY(stack_.compose(run_, *topology_, *compressor_, *fabric_, clock_, engine_stream_, stream_, std::move(setup)));
  interval_ = run_.report.interval_steps ? run_.report.interval_steps : std::max<std::uint64_t>(1, stack_.length.steps / kIntervalsPerRun);
  // A newcomer is introduced to the others when it is one of them.
  for (const Roster::Entry& peer : roster_.peers)
    if (peer.rank != self() && !roster_.started) GOSSAMER_TRY(stack_.transport->set_peer(peer.rank, peer.transport_address, peer.incarnation));
  driver_ = std::make_unique<EngineDriver>(*stack_.engine, *fabric_, clock_, control_->wake_fd(), overlaps(stack_.working),
                                           run_.transport.spin);
  if (roster_.started) gatherer_.reset();  // somebody will tell
  if (gatherer_ == self()) {
    coordinator_ = std::make_unique<Coordinator>(run_, *topology_, stack_.task->layout(), log_, process_.out, peers());
    GOSSAMER_TRY(coordinator_->open());
    const char* terminal = std::getenv("TERM");
    status_ = std::make_unique<StatusLine>(make_status_line(STDOUT_FILENO, status_mode(STDOUT_FILENO, !process_.status_line, terminal ? terminal : "")));
  }
  return {};
}

// Everybody starts from the model of rank 0.  Its seed usually makes the same bits everywhere; where it does not (another
// machine's libm), the model itself travels.
Result<> Peer::agree_on_start() {
  const auto hash = XXH3_64bits(stack_.model().data(), stack_.model().size() * sizeof(float));
  const Time deadline = clock_.now() + run_.deadlines.join;
  const auto next = [&](std::string_view topic) -> Result<Message> {
    for (;;) {
      GOSSAMER_TRY(check_control());
      if (clock_.now() > deadline) return fail(Errc::timed_out, "the peers did not agree on the starting model in time");
      auto messages = control_->receive(topic, std::chrono::milliseconds(50));
      GOSSAMER_CHECK(messages.size() <= 1 || self() == 0, "one starting model");
      if (!messages.empty()) return std::move(messages.front());
    }
  };
  if (self() == 0) {
    std::map<PeerId, std::string> replies;
    for (PeerId peer = 1; peer < peers(); ++peer) GOSSAMER_TRY(tell(peer, messages::kStartHash, std::to_string(hash)));
    for (std::vector<PeerId> missing;;) {
      GOSSAMER_TRY(check_control());
      for (Message& reply : control_->receive(messages::kStartReply, std::chrono::milliseconds(50))) replies[reply.from] = std::move(reply.bytes);
      missing.clear();
      for (PeerId peer = 1; peer < peers(); ++peer)
        if (!coordinator_->absent(peer) && !replies.contains(peer)) missing.push_back(peer);
      if (missing.empty()) break;
      if (clock_.now() > deadline)
        return fail(Errc::timed_out, fmt::format("peers {} were not ready to start within {:g} s (deadlines.join)", fmt::join(missing, ", "),
                                                 seconds(run_.deadlines.join)));
    }
    for (const auto& [peer, reply] : replies)
      GOSSAMER_TRY(tell(peer, messages::kStart, reply == "same" ? std::string() : messages::pack(stack_.model())));
  } else {
    GOSSAMER_TRY_ASSIGN(const Message theirs, next(messages::kStartHash));
    const bool same = theirs.bytes == std::to_string(hash);
    GOSSAMER_TRY(control_->send(0, messages::kStartReply, same ? "same" : "send"));
    GOSSAMER_TRY_ASSIGN(const Message start, next(messages::kStart));
    if (!same) GOSSAMER_TRY(messages::unpack_model(start.bytes, stack_.model()));
  }
  {
    const auto guard = driver_->lock();
    stack_.engine->start(stack_.model());
  }
  begun_ = true;
  started_ = clock_.now();
  return {};
}

// Into a run that is under way: a neighbour's model, then a place among the members.
Result<> Peer::catch_up() {
  log_.info("the run is under way; asking a neighbour for its model");
  const Time deadline = clock_.now() + run_.deadlines.join;
  while (!stack_.elastic->member()) {
    GOSSAMER_TRY(check_control());
    if (!control_->receive(messages::kOver, {}).empty()) {
      over_ = true;
      return fail(Errc::peer_gone, "the run has ended");
    }
    GOSSAMER_TRY(driver_->pause(std::chrono::milliseconds(20)));
    if (clock_.now() > deadline)
      return fail(Errc::timed_out, fmt::format("the members of the run did not take this peer in within {:g} s (deadlines.join)",
                                               seconds(run_.deadlines.join)));
  }
  {
    const auto guard = driver_->lock();
    log_.info("member of view {} from round {} on", stack_.elastic->view().number, stack_.engine->next_round());
  }
  interval_step_ = stack_.worker->steps();
  started_ = clock_.now();
  return {};
}

Result<> Peer::train() {
  for (;;) {
    Wants wants;
    {
      const auto guard = driver_->lock();
      wants = stack_.worker->advance();
    }
    if (wants == Wants::done) break;
    GOSSAMER_TRY(drive(wants));
  }
  wall_s_ = since_start();
  if (stack_.engine->traits().asynchronous) {
    GOSSAMER_TRY(all_trained());
    const auto guard = driver_->lock();
    stack_.worker->settle();
  }
  if (interval_step_ != stack_.length.steps) record(true);
  return {};
}

// Others still train and may ask an asynchronous peer; when all are done nothing is under way any more.  It takes as long as
// the slowest of them, which the heartbeat finds alive.
Result<> Peer::all_trained() {
  at_rest_ = true;  // a newcomer may still ask for the model
  own_trained_ = true;
  if (gatherer_) GOSSAMER_TRY(tell(*gatherer_, messages::kTrained, ""));
  for (;;) {
    GOSSAMER_TRY(check_control());
    if (!control_->receive(messages::kAllTrained, {}).empty()) break;
    if (coordinator_) {
      for (const Message& message : control_->receive(messages::kTrained, {})) trained_.insert(message.from);
      PeerId last = 0;
      while (last < peers() && (coordinator_->absent(last) || trained_.contains(last))) ++last;
      if (last == peers()) break;
    }
    GOSSAMER_TRY(driver_->pause(std::chrono::milliseconds(20)));
  }
  all_trained_ = true;
  for (PeerId peer = 0; coordinator_ && peer < peers(); ++peer)
    if (peer != self() && !coordinator_->absent(peer)) GOSSAMER_TRY(tell(peer, messages::kAllTrained, ""));
  return {};
}

Result<> Peer::drive(Wants wants) {
  const Time begin = clock_.now();
  if (wants == Wants::exchange) {
    bool held = false;
    {
      const auto guard = driver_->lock();
      held = stack_.elastic && stack_.engine->held();
    }
    // While a view is being agreed on it is the control plane that is waited for.
    GOSSAMER_TRY(held ? driver_->pause(std::chrono::milliseconds(100)) : driver_->wait(std::chrono::milliseconds(100)));
    wait_ += clock_.now() - begin;
    if (!held) {
      held_since_.reset();
    } else if (!held_since_) {
      held_since_ = begin;
    } else if (clock_.now() - *held_since_ > run_.deadlines.round + run_.deadlines.silence) {
      return fail(Errc::timed_out, fmt::format("the members did not agree on a view after view {} within {:g} s (deadlines.round and silence)",
                                               stack_.elastic->view().number, seconds(run_.deadlines.round + run_.deadlines.silence)));
    }
    return check_control();
  }
  // The model of a finished step is at rest here: this is where it is measured.
  if (const std::uint64_t step = stack_.worker->steps(); step > interval_step_ && step % interval_ == 0) record(false);
  if (stack_.elastic) {
    at_rest_ = true;
    GOSSAMER_TRY(check_control());
    at_rest_ = false;
    // A view may have begun to be agreed on, and nothing is to be published meanwhile.
    const auto guard = driver_->lock();
    if (!stack_.worker->may_compute()) return {};
  }
  const Time compute = clock_.now();
  Duration slept{};
  std::size_t elements = 0;
  GOSSAMER_TRY(stack_.worker->compute([&](std::size_t part) {
    // The control plane waits until every part is published: a view in between would find the round half begun.
    elements += stack_.parts[part].layout.size();
    sleep_till_pace(compute, backward_share(elements, stack_.model().size()), &slept);
    {
      const auto guard = driver_->lock();
      stack_.worker->publish(part);
    }
    return driver_->nudge();
  }));
  while (!sleep_till_pace(compute, 1, &slept)) GOSSAMER_TRY(check_control());
  compute_ += clock_.now() - compute;
  interval_loss_ += stack_.worker->last_loss();
  ++losses_;
  GOSSAMER_TRY(driver_->nudge());
  return check_control();
}

// Where the run asks for slower steps than this machine's, what is left of such a `share` of the step is slept through.  Like a
// peer that computes, this one moves no payloads meanwhile, unless the run overlaps.  False where it woke earlier, so that a peer that is asked
// to stop does.  `slept` adds up over a step.
bool Peer::sleep_till_pace(Time begun, double share, Duration* slept) {
  const TrainerOptions& training = run_.trainer;
  const double factor = training.slow.peer == self() ? training.slow.factor : 1;
  if (training.pace == Duration::zero() && factor == 1) return true;
  constexpr Duration kNap = std::chrono::milliseconds(50);
  const Time now = clock_.now();
  const double busy = seconds(now - begun - *slept);
  const Duration left = begun + from_seconds(factor * std::max(share * seconds(training.pace), busy)) - now;
  if (left <= Duration::zero()) return true;
  const Duration nap = share == 1 ? std::min(left, kNap) : left;
  std::this_thread::sleep_for(nap);
  *slept += clock_.now() - now;
  return nap == left;
}

void Peer::record(bool last) {
  messages::Record message;
  IntervalRecord& row = message.record;
  row.peer = self();
  row.step = stack_.worker->steps();
  row.epoch = static_cast<double>(row.step) / stack_.length.steps_per_epoch;
  row.seconds = since_start();
  row.loss = losses_ ? interval_loss_ / static_cast<double>(losses_) : kUnknown;
  row.learning_rate = stack_.trainer->learning_rate();
  const double elapsed = row.seconds - interval_seconds_;
  row.samples_per_s = elapsed > 0 ? static_cast<double>((row.step - interval_step_) * stack_.task->batch_size()) / elapsed : kUnknown;
  const double every = run_.report.evaluate_every_epochs;
  if (every > 0) {
    const auto due = [&](std::uint64_t step) { return std::floor(static_cast<double>(step) / stack_.length.steps_per_epoch / every + 1e-9); };
    if (last || due(row.step) > due(interval_step_)) {
      const Evaluation evaluation = stack_.task->evaluate(stream_, stack_.model(), kLiveSamples);
      row.test_loss = evaluation.loss;
      row.accuracy = evaluation.accuracy;
    }
  }
  message.sketch.resize(kSketchSize);
  sketch(stack_.model(), mix_seed(run_.seed, row.step), message.sketch);
  {
    const auto guard = driver_->lock();
    const EngineStats stats = stack_.engine->stats();
    row.round = stats.rounds;
    row.correction_norm = stats.rounds ? stats.correction_norm : kUnknown;
    for (const auto& [peer, round] : stats.last_from) row.staleness[peer] = stack_.engine->next_round() - 1 - std::min(round, stack_.engine->next_round() - 1);
    const Traffic traffic = stack_.transport->traffic();
    row.bytes_sent = traffic.bytes_sent;
    row.bytes_received = traffic.bytes_received;
  }
  interval_step_ = row.step;
  interval_seconds_ = since_start();
  interval_loss_ = 0;
  losses_ = 0;
  std::string packed = messages::pack(message);
  if (stack_.elastic) {
    constexpr std::size_t kRowsKept = 1000;
    rows_.push_back(packed);
    if (rows_.size() > kRowsKept) rows_.pop_front();
  }
  if (!gatherer_) return;  // it goes when somebody has told
  if (const auto sent = control_->send(*gatherer_, messages::kRecord, std::move(packed)); !sent)
    log_.debug("a record was not sent: {}", sent.error().message);
}

void Peer::show() {
  for (const Interval& interval : coordinator_->intervals()) {
    const double accuracy = std::isnan(interval.accuracy) ? shown_.accuracy : interval.accuracy;  // not measured every time
    shown_ = {.step = interval.step,
              .steps = stack_.length.steps,
              .epoch = interval.epoch,
              .epochs = run_.trainer.steps ? std::round(10 * static_cast<double>(stack_.length.steps) / stack_.length.steps_per_epoch) / 10 : run_.trainer.epochs,
              .loss = interval.loss,
              .accuracy = accuracy,
              .consensus_distance = interval.consensus_distance,
              .bytes_per_peer = interval.bytes_sent,
              .elapsed_s = interval.seconds};
    if (status_) status_->update(shown_, clock_.now());
  }
}

Result<> Peer::finish() {
  at_rest_ = true;
  const Time deadline = clock_.now() + run_.deadlines.round;
  const auto drained = [&] {
    const auto guard = driver_->lock();
    return stack_.engine->drained();
  };
  while (!drained()) {
    GOSSAMER_TRY(check_control());
    GOSSAMER_TRY(driver_->pause(std::chrono::milliseconds(5)));
    if (clock_.now() > deadline) return fail(Errc::timed_out, "the last payloads were not acknowledged in time");
  }
  PeerSummary own;
  own.peer = self();
  own.host = roster_.peers[self()].host;
  own.steps = stack_.worker->steps();
  own.samples = stack_.task->samples();
  const Evaluation evaluation = stack_.task->evaluate(stream_, stack_.model());
  own.loss = evaluation.loss;
  own.accuracy = evaluation.accuracy;
  {
    const auto guard = driver_->lock();
    own.rounds = stack_.engine->rounds_closed();
    const Traffic traffic = stack_.transport->traffic();
    own.bytes_sent = traffic.bytes_sent;
    own.bytes_received = traffic.bytes_received;
  }
  own.wall_s = wall_s_;
  own.compute_s = seconds(compute_);
  own.wait_s = seconds(wait_);
  summary_ = messages::pack(own);
  last_model_ = messages::pack(stack_.model());
  GOSSAMER_TRY(hand_in());
  GOSSAMER_TRY(gather(own.rounds));
  results_sent_ = true;
  auto ended = barrier("end", run_.deadlines.round + run_.deadlines.join);
  if (!ended && coordinator_ && stack_.elastic && ended.error().code == Errc::timed_out) {
    log_.warn("the results are written, but not everybody has come to the end: {}", ended.error().message);
    return {};
  }
  return ended;
}

Result<> run_peer(const PeerProcess& process) {
  Log log(fmt::format("peer {}", process.place.rank), process.log);
  return Peer(process, log).run();
}

}  // namespace gossamer
