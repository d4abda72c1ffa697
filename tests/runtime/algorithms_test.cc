// `gossamer algorithms` as its readers meet it: people, programs, and the page that holds its table.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "runtime/combinations.h"

namespace gossamer {
namespace {

struct Ended {
  int code = -1;
  std::string output;  // standard output and standard error
};

std::string binary() {
  const char* path = std::getenv("COMMAND_UNDER_TEST");
  EXPECT_NE(path, nullptr) << "meson test passes the path of the command";
  return path ? path : "";
}

Ended algorithms_command(const std::string& arguments) {
  Ended ended;
  std::FILE* pipe = ::popen(("'" + binary() + "' algorithms " + arguments + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return ended;
  char piece[4096];
  for (std::size_t got; (got = std::fread(piece, 1, sizeof piece, pipe)) > 0;) ended.output.append(piece, got);
  const int status = ::pclose(pipe);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ended;
}

TEST(Algorithms, TheTableOfThePageIsWhatTheCodeSays) {
  const char* root = std::getenv("SOURCE_ROOT");
  ASSERT_NE(root, nullptr) << "meson test passes the root of the sources";
  const std::string path = std::string(root) + "/docs/algorithms.md";
  const auto page = read_file(path);
  ASSERT_TRUE(page) << page.error().message;
  const std::string begin = "<!-- combinations", end = "<!-- end of combinations -->\n";
  const std::size_t from = page->find(begin), to = page->find(end);
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);
  const Ended now = algorithms_command("--markdown");
  ASSERT_EQ(now.code, 0) << now.output;
  EXPECT_TRUE(page->substr(from, to + end.size() - from) == now.output)
      << "the table is out of date; refresh it with\n"
      << "  '" << binary() << "' algorithms --markdown > /tmp/table && sed -i -e '/^" << begin << "/r /tmp/table' -e '/^" << begin
      << "/,/^<!-- end of combinations/d' '" << path << "'";
}

TEST(Algorithms, ProgramsGetEveryCellWithItsReason) {
  const Ended answer = algorithms_command("--json");
  ASSERT_EQ(answer.code, 0) << answer.output;
  const auto json = nlohmann::json::parse(answer.output);
  ASSERT_EQ(json.size(), algorithms().size());
  const auto all = choices();
  for (std::size_t i = 0; i < json.size(); ++i) {
    const Algorithm& algorithm = algorithms()[i];
    EXPECT_EQ(json[i]["name"], algorithm.name);
    EXPECT_EQ(json[i]["source"], algorithm.source);
    ASSERT_EQ(json[i]["combines"].size(), all.size());
    for (std::size_t c = 0; c < all.size(); ++c) {
      const auto& cell = json[i]["combines"][c];
      const auto fits = combine(algorithm, {&all[c], 1});
      EXPECT_EQ(cell["yes"], fits.has_value());
      EXPECT_EQ(cell.value("why", ""), fits ? "" : fits.error().message);
      for (const auto& setting : all[c].settings) EXPECT_EQ(cell["settings"][std::string(setting.key)], setting.value);
    }
  }
  const auto one = nlohmann::json::parse(algorithms_command("d2 --json").output);
  EXPECT_EQ(one["name"], "d2");
}

TEST(Algorithms, PeopleGetTheListTheGridAndTheReasons) {
  const std::string all = algorithms_command("").output;
  for (const Algorithm& algorithm : algorithms()) {
    EXPECT_NE(all.find("\n    " + std::string(algorithm.summary) + "\n    " + std::string(algorithm.source) + "\n"), std::string::npos) << algorithm.name;
    const Ended one = algorithms_command(std::string(algorithm.name));
    EXPECT_EQ(one.code, 0);
    for (const Choice& choice : choices()) {
      const auto fits = combine(algorithm, {&choice, 1});
      EXPECT_NE(one.output.find(fits ? "yes\n" : "no: " + fits.error().message + "\n"), std::string::npos) << algorithm.name << ", " << written(choice);
    }
  }
}

TEST(Algorithms, WhatDoesNotExistSuggestsTheNearest) {
  const Ended unknown = algorithms_command("chocho-sgd");
  EXPECT_EQ(unknown.code, 2);
  EXPECT_NE(unknown.output.find("did you mean `choco-sgd`?"), std::string::npos) << unknown.output;
  EXPECT_EQ(algorithms_command("d2 --markdown").code, 2);
  EXPECT_EQ(algorithms_command("--json --markdown").code, 2);
}

}  // namespace
}  // namespace gossamer
