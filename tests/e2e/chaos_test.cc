// Sixteen real processes, of which every few seconds one is killed or stopped and later started again.
//
// GOSSAMER_CHAOS_SECONDS says how long (default 600).  Steps are paced, so that a machine of two cores is no limit.  The last lines
// are the figures of docs/measurements.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <thread>

#include "tests/e2e/command.h"
#include "tests/e2e/synthetic.h"

namespace gossamer::e2e {
namespace {

constexpr std::size_t kPeers = 16;
constexpr std::size_t kAwayMax = 4;
constexpr double kPace = 0.1;           // seconds of a step
constexpr double kRoundDeadline = 10;   // seconds
// Seconds from one that is stopped to the next.  Until it is taken for dead, after a second of silence, its neighbours wait for it
// and theirs for them, unless the algorithm is asynchronous; a death costs next to nothing.
constexpr double kStopEvery = 30;

double duration() {
  const char* value = std::getenv("GOSSAMER_CHAOS_SECONDS");
  return value == nullptr ? 600 : std::atof(value);
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t times = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++times;
  return times;
}

struct Kind {
  const char* label;
  Words sets;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.label; }

class Chaos : public testing::TestWithParam<Kind> {};

// What the rows of a peer say of its lives.
struct Kept {
  double steps = 0, seconds = 0, longest = 0;
  double pace() const { return steps * kPace / seconds; }
};

Kept kept(const std::vector<Json>& rows) {
  Kept all;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    // A new life counts its rounds from the start; between two lives nobody is there to keep a pace.
    if (rows[i]["round"].get<double>() < rows[i - 1]["round"].get<double>()) continue;
    const double steps = rows[i]["step"].get<double>() - rows[i - 1]["step"].get<double>();
    const double seconds = rows[i]["seconds"].get<double>() - rows[i - 1]["seconds"].get<double>();
    all.steps += steps;
    all.seconds += seconds;
    all.longest = std::max(all.longest, seconds - steps * kPace);
  }
  return all;
}

TEST_P(Chaos, TheLivingGoOnAtTheirPaceToTheSameLoss) {
  const Scratch scratch;
  write_two_classes(scratch, 16000, 100000);
  const auto steps = static_cast<int>(0.95 * duration() / kPace);
  const std::string file = scratch.file(
      "run.yaml", "topology: {family: ring, peers: 16}\n"
                  "trainer:\n"
                  "  task: logistic\n"
                  "  data: {format: idx, images: train.images, labels: train.labels, test_images: test.images, test_labels: test.labels}\n"
                  "  optimizer: {learning_rate: 0.5}\n"
                  "  schedule: {kind: cosine}\n"
                  "  steps: " + std::to_string(steps) + "\n"
                  "report: {interval_steps: 1, evaluate_every_epochs: 0}\n"
                  "deadlines: {heartbeat: 300 ms, silence: 1 s, round: 10 s, join: 30 s}\n");
  const std::string out = scratch / "out";
  const auto words = [&](const std::string& folder, Words sets) {
    Words all = {"run", file, "--out", folder};
    sets.insert(sets.end(), GetParam().sets.begin(), GetParam().sets.end());
    for (const std::string& set : sets) {
      all.push_back("--set");
      all.push_back(set);
    }
    return all;
  };
  const Ended calm = gossamer(words(scratch / "calm", {"transport={kind: loopback}", "report.interval_steps=0"}), scratch);
  ASSERT_EQ(calm.code, 0) << calm.err;
  const double undisturbed = summary(scratch / "calm")["mean_model"]["loss"];

  Process run(words(out, {"membership={mode: elastic, restarts: 100000, restart_after: 1 s}", "trainer.pace=100 ms"}), scratch);
  ASSERT_TRUE(eventually(kPatience, [&] { return names_in(out).size() > kPeers && !contents(out + "/peer-0.jsonl").empty(); })) << run.err();

  std::mt19937 random(2026);
  const auto begun = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
  std::map<std::size_t, std::size_t> away;      // peer, and how often it had come when it went
  std::map<std::size_t, pid_t> stopped;         // who is to be woken
  std::map<std::size_t, double> wake_at;
  std::size_t kills = 0, first_kills = 0, stops = 0;
  double next = 2, next_stop = 10;
  const auto arrivals = [](const std::string& text, std::size_t peer) { return count(text, "[peer " + std::to_string(peer) + "] info    member of view"); };
  while (elapsed() < 0.85 * duration()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    for (auto& [peer, at] : wake_at)
      if (elapsed() > at && stopped.contains(peer)) {
        EXPECT_EQ(::kill(stopped[peer], SIGCONT), 0);
        stopped.erase(peer);
      }
    if (elapsed() < next) continue;
    next = elapsed() + 2 + 2 * std::generate_canonical<double, 32>(random);
    const std::string text = run.err();
    std::erase_if(away, [&](const auto& one) { return arrivals(text, one.first) > one.second; });
    const std::size_t victim = random() % kPeers;  // also who gathers the results
    if (away.size() >= kAwayMax || away.contains(victim)) continue;
    const pid_t pid = peer_process(out, victim);
    if (pid == 0) continue;  // expelled, and on its way back
    away[victim] = arrivals(text, victim);
    if (elapsed() >= next_stop) {
      next_stop += kStopEvery;
      ++stops;
      stopped[victim] = pid;
      wake_at[victim] = elapsed() + 2.5;
      EXPECT_EQ(::kill(pid, SIGSTOP), 0);
    } else {
      ++kills;
      first_kills += victim == 0;
      EXPECT_EQ(::kill(pid, SIGKILL), 0);
    }
  }
  for (const auto& [peer, pid] : stopped) EXPECT_EQ(::kill(pid, SIGCONT), 0);

  const Ended end = run.wait(from_seconds(duration() + 60));
  const double lasted = elapsed();
  ASSERT_EQ(end.code, 0) << end.err;
  EXPECT_GT(kills, duration() / 8);
  EXPECT_EQ(end.err.find("parted"), std::string::npos) << end.err;
  EXPECT_EQ(end.err.find("is open for"), std::string::npos) << "a round came to its deadline:\n" << end.err;
  const Json all = summary(out);
  EXPECT_GE(all["peers"].size(), kPeers - kAwayMax);
  Kept sum;
  double least = 1e9;
  for (std::size_t peer = 0; peer < kPeers; ++peer) {
    const Kept one = kept(rows(out, peer));
    sum.steps += one.steps;
    sum.seconds += one.seconds;
    sum.longest = std::max(sum.longest, one.longest);
    least = std::min(least, one.pace());
  }
  EXPECT_LT(sum.longest, kRoundDeadline);
  EXPECT_GE(least, 0.9);
  const double loss = all["mean_model"]["loss"];
  EXPECT_NEAR(loss, undisturbed, 0.01 * undisturbed);
  std::cout << GetParam().label << ": " << steps << " steps in " << lasted << " s; " << kills << " killed (" << first_kills << " times rank 0), " << stops
            << " stopped, " << count(end.err, "is gone: silence") << " expelled for silence, " << count(end.err, "] info    member of view")
            << " returns; pace kept " << 100 * sum.pace() << " % (least of a peer " << 100 * least << " %), longest wait " << sum.longest
            << " s; loss " << loss << ", undisturbed " << undisturbed << " (" << 100 * (loss / undisturbed - 1) << " %)\n";
}

INSTANTIATE_TEST_SUITE_P(
    , Chaos,
    testing::Values(Kind{"d_psgd", {}},
                    Kind{"choco_sgd", {"algorithm=choco-sgd", "compression={codec: qsgd, bits: 4}", "mixing.verify_replicas=true"}},
                    Kind{"ad_psgd", {"algorithm=ad-psgd"}}),
    [](const auto& info) { return info.param.label; });

}  // namespace
}  // namespace gossamer::e2e
