// The built command as a user meets it, the functions behind `run` and `peer`, and the pages that describe
// them.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <thread>

#include "base/file.h"
#include "runtime/presets.h"
#include "runtime/doctor.h"
#include "runtime/exit_code.h"
#include "runtime/run_command.h"
#include "transports/ofi.h"
#include "transports/ucx.h"

namespace gossamer {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class Command : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "gossamer-command-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    file_ = folder_ + "/small.yaml";
    ASSERT_TRUE(write_file_atomically(
        file_,
        std::string_view(
            "topology: {peers: 3}\ntrainer: {task: quadratic, steps: 2}\ntransport: {kind: loopback}\n")));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  struct Outcome {
    int code = -1;
    std::string output;  // standard output and standard error
  };
  // Runs the command through a shell; `environment` is "NAME=value ..." of plain words.
  Outcome gossamer(const std::string& arguments, const std::string& environment = "") const {
    const std::string binary = variable("COMMAND_UNDER_TEST");
    EXPECT_NE(binary, "") << "meson test passes the path of the command";
    Outcome outcome;
    std::FILE* pipe = ::popen(
        ("cd '" + folder_ + "' && " + environment + " '" + binary + "' " + arguments + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return outcome;
    char piece[4096];
    for (std::size_t got; (got = std::fread(piece, 1, sizeof piece, pipe)) > 0;)
      outcome.output.append(piece, got);
    const int status = ::pclose(pipe);
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return outcome;
  }
  void expect(const std::string& arguments, int code, const std::string& part,
              const std::string& environment = "") const {
    const Outcome outcome = gossamer(arguments, environment);
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.output;
    EXPECT_NE(outcome.output.find(part), std::string::npos) << arguments << "\n" << outcome.output;
  }

  std::string folder_, file_;
};

TEST_F(Command, TellsItsVersionAndItsHelp) {
  EXPECT_EQ(gossamer("--version").output, "gossamer " + std::string(gossamer_version()) + "\n");
  expect("--help", 0, "doctor");
  expect("run --help", 0, "--set");
}

TEST_F(Command, WhatIsUnknownOnTheCommandLineSuggestsTheNearest) {
  expect("run small.yaml --pers 3", 2, "unknown flag --pers; did you mean `--peers`?");
  expect("peer small.yaml --rendevous=a:1", 2, "unknown flag --rendevous; did you mean `--rendezvous`?");
  expect("docter", 2, "unknown command docter; did you mean `doctor`?");
  expect("", 2, "see: gossamer --help");
  expect("run", 2, "FILE");
  expect("run small.yaml --set epochs", 2, "--set epochs: a key and a value are needed");
  expect("run small.yaml --peers many", 2, "--peers");
}

TEST_F(Command, BadRunFilesAndVariablesEndWithTheDocumentedCode) {
  expect("run none.yaml", 3, "cannot read none.yaml: no such file or folder");
  expect("run small.yaml --set trainer.epocs=3", 2,
         "--set trainer.epocs=3: trainer.epocs: unknown key; did you mean `epochs`?");
  expect("run small.yaml", 2, "did you mean `GOSSAMER_SEED`?", "GOSSAMER_SED=3");
  expect("run small.yaml", 2, "GOSSAMER_LOG: `loud` is no level", "GOSSAMER_LOG=loud");
  expect("run small.yaml --quiet --verbose", 2, "contradict");
  ASSERT_TRUE(write_file_atomically(folder_ + "/bad.yaml", std::string_view("trainer:\n  task: mpl\n")));
  expect("run bad.yaml", 2, "bad.yaml:2:9: trainer.task: `mpl` is not known here; did you mean `mlp`?");
}

TEST_F(Command, APeerNeedsToKnowItsPlace) {
  expect("peer small.yaml", 2, "use --rank, set GOSSAMER_RANK");
  expect("peer small.yaml --rank 0 --peers 3 --rendezvous nowhere", 2, "is not a place to meet");
  expect("peer small.yaml --rank 0 --peers 3 --rendezvous 127.0.0.1:9", 2,
         "joins the threads of one process");
}

TEST_F(Command, AFolderThatHoldsSomethingIsRefused) {
  std::filesystem::create_directory(folder_ + "/out");
  ASSERT_TRUE(write_file_atomically(folder_ + "/out/notes", std::string_view("mine")));
  expect("run small.yaml --out out", 2,
         "the output folder out is not empty; name another with --out, or write over it with --force");
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/out/run.yaml"));
  ASSERT_TRUE(write_file_atomically(folder_ + "/out/peer-9.jsonl", std::string_view("old")));
  ASSERT_TRUE(prepare_output(folder_ + "/out", true));
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/out/notes")) << "not a run's";
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/out/peer-9.jsonl")) << "of an earlier run";
  EXPECT_EQ(prepare_output(file_, false).error().code, Errc::invalid_argument);
}

TEST_F(Command, DoctorSpeaksToPeopleAndToPrograms) {
  const Outcome text = gossamer("doctor"), json = gossamer("doctor --json");
  EXPECT_NE(text.output.find("cores"), std::string::npos) << text.output;
  if (!ucx_version().empty() || !ofi_version().empty()) {
    EXPECT_NE(text.output.find("memory of the host"), std::string::npos) << text.output;
  }
  const auto all = nlohmann::json::parse(json.output, nullptr, false);
  ASSERT_FALSE(all.is_discarded()) << json.output;
  EXPECT_EQ(all["version"], std::string(gossamer_version()));
  EXPECT_EQ(json.code, all["ready"].get<bool>() ? 0 : 7);
  std::set<std::string> names;
  for (const auto& finding : all["findings"]) {
    names.insert(finding["name"].get<std::string>());
    EXPECT_TRUE(finding["state"] == "found" || finding["remedy"] != "") << finding["name"];
  }
  for (const char* name :
       {"UCX", "libfabric", "CUDA driver", "CUDA toolkit", "NCCL", "cores", "memlock", "network"})
    EXPECT_TRUE(names.contains(name)) << name;
}

// ---- run_command over loopback, with peers of our own

class RunCommand : public Command {
 protected:
  RunArguments arguments(const std::string& out) const {
    RunArguments all;
    all.file = file_;
    all.out = folder_ + "/" + out;
    all.quiet = true;
    all.overrides.environment = Environment{};
    return all;
  }
};

TEST_F(RunCommand, StartsEveryPeerOnceAndLeavesTheResolvedRun) {
  std::mutex mutex;
  std::set<PeerId> ranks;
  std::set<const void*> hubs;
  const int code = run_command(arguments("a"), [&](const PeerProcess& process) -> Result<> {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(process.place.peers, 3u);
    EXPECT_EQ(process.run.trainer.steps, 2u);
    EXPECT_TRUE(check_rendezvous(process.place.rendezvous));
    EXPECT_TRUE(ranks.insert(process.place.rank).second);
    hubs.insert(process.hub.get());
    return {};
  });
  EXPECT_EQ(code, 0);
  EXPECT_EQ(ranks, (std::set<PeerId>{0, 1, 2}));
  EXPECT_EQ(hubs.size(), 1u) << "all meet at one hub";
  EXPECT_FALSE(hubs.contains(nullptr));
  const auto resolved = load_run_file(folder_ + "/a/run.yaml", {.environment = Environment{}});
  ASSERT_TRUE(resolved) << resolved.error().message;
  EXPECT_EQ(resolved->name, "small") << "the name is that of the first file";
  EXPECT_EQ(resolved->topology.peers, 3u);
}

TEST_F(RunCommand, APeerThatFailsStopsTheOthersAndGivesTheExitCode) {
  const int code = run_command(arguments("b"), [&](const PeerProcess& process) -> Result<> {
    if (process.place.rank == 1) return fail(Errc::diverged, "the loss became infinite");
    for (int i = 0; i < 1000 && !process.stop->load(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_TRUE(process.stop->load());
    return fail(Errc::interrupted, "asked to stop");
  });
  EXPECT_EQ(code, 10);
}

// ---- the pages

std::string page(const char* name) {
  const auto text = read_file(variable("SOURCE_ROOT") + "/docs/" + name);
  EXPECT_TRUE(text) << "meson test passes the root of the sources";
  return text.value_or("");
}

TEST_F(Command, EveryCommandAndFlagIsDocumented) {
  const std::string help = gossamer("--help-all").output, text = page("commands.md");
  const std::regex flag("--[a-z][a-z-]+"), command("\n([a-z]+)\n");
  std::set<std::string> flags, commands;
  for (std::sregex_iterator at(help.begin(), help.end(), flag), end; at != end; ++at) flags.insert(at->str());
  for (const std::string& each : flags)
    EXPECT_NE(text.find("`" + each), std::string::npos) << each << " is not in docs/commands.md";
  EXPECT_TRUE(flags.contains("--rendezvous") && flags.contains("--json") && flags.contains("--force"))
      << help;
  for (std::sregex_iterator at(help.begin(), help.end(), command), end; at != end; ++at)
    commands.insert((*at)[1]);
  for (const std::string& each : commands)
    EXPECT_NE(text.find("## `gossamer " + each), std::string::npos) << each << " is not in docs/commands.md";
  EXPECT_TRUE(commands.contains("run") && commands.contains("peer") && commands.contains("doctor")) << help;
}

TEST(Pages, EveryExitCodeIsDocumentedInTheWordsOfTheCommand) {
  const std::string text = page("commands.md");
  std::set<int> codes = {126};
  for (int code = 0; code <= static_cast<int>(Errc::internal); ++code)
    codes.insert(exit_code(static_cast<Errc>(code)));
  for (const int code : codes)
    EXPECT_NE(text.find("| " + std::to_string(code) + " | " + std::string(exit_words(code)) + " |"),
              std::string::npos)
        << code;
  for (const auto reserved : kReservedVariables)
    EXPECT_NE(text.find("`" + std::string(reserved) + "`"), std::string::npos) << reserved;
}

TEST(Pages, TheRunFilePageNamesEveryKeyAndItsExampleIsARun) {
  const std::string text = page("run-file.md");
  for (const std::string& key : run_file_keys())
    EXPECT_NE(text.find("| `" + key + "` |"), std::string::npos) << key << " is not in docs/run-file.md";
  const std::size_t begin = text.find("```yaml\n"), end = text.find("```", begin + 8);
  ASSERT_NE(end, std::string::npos);
  const auto run =
      parse_run_file(text.substr(begin + 8, end - begin - 8), "run-file.md", {.environment = Environment{}});
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->algorithm, "choco-sgd");
  // And no key that does not exist.
  const auto keys = run_file_keys();
  const std::set<std::string> known(keys.begin(), keys.end());
  const std::regex row("\n\\| `([a-z_0-9.]+)` \\|");
  std::size_t rows = 0;
  for (std::sregex_iterator at(text.begin(), text.end(), row), stop; at != stop; ++at) {
    if (find_preset((*at)[1].str())) continue;  // the table of presets
    ++rows;
    EXPECT_TRUE(known.contains((*at)[1])) << (*at)[1] << " is no key";
  }
  EXPECT_GE(rows, known.size());
}

}  // namespace
}  // namespace gossamer
