// Reads every source file of the tree: who includes whom, and a few rules that a compiler does not know.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace gossamer {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLinesMax = 600;

// The floors: a folder, and the folders that it may include besides itself.
const std::map<std::string, std::set<std::string>>& floors() {
  static const std::set<std::string> all = {"base",   "topologies", "kernels", "transports",
                                            "gossip", "trainer",    "runtime"};
  static const std::map<std::string, std::set<std::string>> table = {
      {"base", {}},
      {"topologies", {"base"}},
      {"kernels", {"base"}},
      {"transports", {"base"}},
      {"gossip", {"base", "topologies", "kernels", "transports"}},
      {"trainer", {"base", "kernels"}},
      {"runtime", {"base", "topologies", "kernels", "transports", "gossip", "trainer"}},
      {"tools", all},
      {"tests", all},
      {"examples", all},
  };
  return table;
}

bool has_extension(const fs::path& path, std::initializer_list<const char*> extensions) {
  return std::any_of(extensions.begin(), extensions.end(), [&](const char* e) { return path.extension() == e; });
}
bool is_header(const fs::path& path) { return has_extension(path, {".h", ".cuh", ".hpp"}); }
bool is_source(const fs::path& path) { return is_header(path) || has_extension(path, {".cc", ".cpp", ".cu"}); }

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream stream(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Every file of the tree but what is built, hidden or written by runs; paths relative to `root`.
std::vector<fs::path> files_of(const fs::path& root) {
  std::vector<fs::path> files;
  for (const auto& top : fs::directory_iterator(root)) {
    const std::string name = top.path().filename().string();
    if (!top.is_directory() || name.starts_with(".") || name.starts_with("build") || name == "out") continue;
    for (const auto& entry : fs::recursive_directory_iterator(top)) {
      if (entry.is_regular_file()) files.push_back(entry.path().lexically_relative(root));
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string floor_of(const fs::path& file) { return file.begin()->string(); }

struct Include {
  std::size_t line = 0;
  bool quoted = false;
  std::string path;
};

std::vector<Include> includes_of(const std::vector<std::string>& lines) {
  static const std::regex pattern(R"re(^\s*#\s*include\s*(["<])([^">]+)[">])re");
  std::vector<Include> includes;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    // A look before the search: most lines are not directives, and a regex reads each letter.
    if (lines[i].find("include") == std::string::npos) continue;
    std::smatch match;
    if (std::regex_search(lines[i], match, pattern)) includes.push_back({i + 1, match[1] == "\"", match[2]});
  }
  return includes;
}

std::string at(const fs::path& file, std::size_t line) { return file.string() + ":" + std::to_string(line) + ": "; }

// One sentence for each include that goes up or sideways.
std::vector<std::string> wrong_arrows(const fs::path& root) {
  std::vector<std::string> wrong;
  for (const fs::path& file : files_of(root)) {
    if (!is_source(file)) continue;
    const auto from = floors().find(floor_of(file));
    if (from == floors().end()) {
      wrong.push_back(file.string() + ": its folder has no floor; give it one in tests/layers");
      continue;
    }
    for (const Include& include : includes_of(lines_of(root / file))) {
      const std::string to = floor_of(include.path);
      if (to == from->first || !floors().contains(to) || from->second.contains(to)) continue;
      wrong.push_back(at(file, include.line) + from->first + " may not include " + to + " (" + include.path + ")");
    }
  }
  return wrong;
}

// Own headers are named from the root of the tree, in quotes, whoever includes them.
std::vector<std::string> relative_includes(const fs::path& root) {
  std::vector<std::string> wrong;
  for (const fs::path& file : files_of(root)) {
    if (!is_source(file)) continue;
    for (const Include& include : includes_of(lines_of(root / file))) {
      const bool own = floors().contains(floor_of(include.path)) && include.path.find('/') != std::string::npos;
      const bool dotted = include.path.starts_with(".") || include.path.find("/.") != std::string::npos;
      const bool beside = include.quoted && !own &&
                          (include.path.find('/') == std::string::npos ||
                           fs::exists(root / file.parent_path() / include.path));
      if (dotted || beside) {
        wrong.push_back(at(file, include.line) + "'" + include.path + "' is not named from the root of the tree");
      } else if (own && !include.quoted && fs::exists(root / include.path)) {
        wrong.push_back(at(file, include.line) + "<" + include.path + "> is ours and belongs in quotes");
      }
    }
  }
  return wrong;
}

std::vector<std::string> unguarded_headers(const fs::path& root) {
  std::vector<std::string> wrong;
  for (const fs::path& file : files_of(root)) {
    if (!is_header(file)) continue;
    const std::vector<std::string> lines = lines_of(root / file);
    if (std::find(lines.begin(), lines.end(), "#pragma once") == lines.end()) {
      wrong.push_back(file.string() + ": no #pragma once");
    }
  }
  return wrong;
}

std::vector<std::string> long_files(const fs::path& root) {
  std::vector<std::string> wrong;
  for (const fs::path& file : files_of(root)) {
    if (!is_source(file) && !has_extension(file, {".py", ".sh"})) continue;
    const std::size_t count = lines_of(root / file).size();
    if (count > kLinesMax) wrong.push_back(file.string() + ": " + std::to_string(count) + " lines");
  }
  return wrong;
}

std::string listed(const std::vector<std::string>& wrong) {
  std::string text;
  for (const std::string& sentence : wrong) text += "\n  " + sentence;
  return text;
}

const fs::path kRoot = GOSSAMER_SOURCE_ROOT;

// Types of headers that have one full name and are defined twice.  No linker minds, and takes the members of one for the other's.
std::vector<std::string> types_defined_twice(const fs::path& root) {
  static const std::regex opens(R"re(^namespace ([\w:]+) \{)re");
  static const std::regex defines(R"re(^(?:class|struct|union|enum(?: class)?) (?:alignas\(\w+\) )?(\w+)(?: final)?(?: : [^;]*)? ?\{)re");
  std::map<std::string, fs::path> first;
  std::vector<std::string> faults;
  for (const fs::path& file : files_of(root)) {
    if (!is_header(file)) continue;
    std::string within;
    for (const std::string& line : lines_of(root / file)) {
      std::smatch match;
      if (std::regex_search(line, match, opens)) within = match[1];
      if (!std::regex_search(line, match, defines)) continue;
      const auto [known, fresh] = first.emplace(within + "::" + match[1].str(), file);
      if (!fresh) faults.push_back(file.string() + ": " + known->first + " is defined in " + known->second.string() + ", too");
    }
  }
  return faults;
}

TEST(Layers, TheTreeIsRead) {
  const std::vector<fs::path> files = files_of(kRoot);
  for (const char* known : {"base/result.h", "base/result.cc", "tests/layers/layers_test.cc"}) {
    EXPECT_TRUE(std::find(files.begin(), files.end(), known) != files.end()) << known;
  }
  EXPECT_FALSE(includes_of(lines_of(kRoot / "base/result.cc")).empty());
}

TEST(Layers, EveryArrowGoesDown) { EXPECT_EQ(listed(wrong_arrows(kRoot)), ""); }
TEST(Layers, EveryOwnHeaderIsNamedFromTheRoot) { EXPECT_EQ(listed(relative_includes(kRoot)), ""); }
TEST(Layers, EveryHeaderIsReadOnce) { EXPECT_EQ(listed(unguarded_headers(kRoot)), ""); }
TEST(Layers, NoTwoTypesHaveOneName) { EXPECT_EQ(listed(types_defined_twice(kRoot)), ""); }
TEST(Layers, NoFileIsTooLongToRead) { EXPECT_EQ(listed(long_files(kRoot)), ""); }

// A small tree of its own for the tests of the rules themselves.
class Rules : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "gossamer-layers-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    write("base/a.h", "#pragma once\n");
    write("gossip/b.h", "#pragma once\n#include \"base/a.h\"\n#include <vector>\n");
  }
  void TearDown() override {
    if (!root_.empty()) fs::remove_all(root_);
  }

  void write(const fs::path& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }

  fs::path root_;
};

using Sentences = std::vector<std::string>;

TEST_F(Rules, AGoodTreeHasNoFaults) {
  EXPECT_EQ(wrong_arrows(root_), Sentences());
  EXPECT_EQ(relative_includes(root_), Sentences());
  EXPECT_EQ(unguarded_headers(root_), Sentences());
  EXPECT_EQ(long_files(root_), Sentences());
}

TEST_F(Rules, AnArrowThatGoesUpIsFound) {
  write("base/c.cc", "#include \"base/a.h\"\n  # include \"gossip/b.h\"\n");
  EXPECT_EQ(wrong_arrows(root_), Sentences({"base/c.cc:2: base may not include gossip (gossip/b.h)"}));
}

TEST_F(Rules, AnArrowThatGoesSidewaysIsFound) {
  write("kernels/c.h", "#pragma once\n#include <transports/fabric.h>\n");
  write("trainer/d.cc", "#include \"gossip/b.h\"\n#include \"kernels/c.h\"\n");
  EXPECT_EQ(wrong_arrows(root_), Sentences({"kernels/c.h:2: kernels may not include transports (transports/fabric.h)",
                                            "trainer/d.cc:1: trainer may not include gossip (gossip/b.h)"}));
}

TEST_F(Rules, NobodyIncludesTheTests) {
  write("examples/c.cc", "#include \"tests/support/d.h\"\n");
  EXPECT_EQ(wrong_arrows(root_).size(), 1u);
}

TEST_F(Rules, AFolderWithoutAFloorIsFound) {
  write("extras/deep/c.cc", "int x;\n");
  EXPECT_EQ(wrong_arrows(root_).size(), 1u);
}

TEST_F(Rules, WhatIsBuiltOrHiddenIsNotRead) {
  write("build-asan/base/c.cc", "#include \"gossip/b.h\"\n");
  write(".git/c.cc", "#include \"c.h\"\n");
  EXPECT_EQ(wrong_arrows(root_), Sentences());
  EXPECT_EQ(relative_includes(root_), Sentences());
}

TEST_F(Rules, ARelativeIncludeIsFound) {
  write("base/sub/c.h", "#pragma once\n");
  write("base/d.cc", "#include \"a.h\"\n#include \"../base/a.h\"\n#include \"sub/c.h\"\n#include <base/a.h>\n");
  EXPECT_EQ(relative_includes(root_).size(), 4u);
}

TEST_F(Rules, AHeaderThatIsReadTwiceIsFound) {
  write("base/c.h", "// #pragma once\nint x;\n");
  EXPECT_EQ(unguarded_headers(root_), Sentences({"base/c.h: no #pragma once"}));
}

TEST_F(Rules, ATypeThatIsDefinedTwiceIsFound) {
  write("base/c.h", "#pragma once\nnamespace gossamer {\nclass Twice final : public Once {\n};\nclass Named;\n}\n");
  write("gossip/d.h", "#pragma once\nnamespace gossamer::inner {\nstruct Twice {\n};\n}\n");
  EXPECT_EQ(listed(types_defined_twice(root_)), "");
  write("gossip/e.h", "#pragma once\nnamespace gossamer {\nclass Named;\nstruct Twice {\n};\n}\n");
  EXPECT_EQ(listed(types_defined_twice(root_)), "\n  gossip/e.h: gossamer::Twice is defined in base/c.h, too");
}

TEST_F(Rules, ALongFileIsFound) {
  std::string text;
  for (std::size_t i = 0; i < kLinesMax; ++i) text += "\n";
  write("base/just.cc", text);
  write("base/long.cc", text + "int x;\n");
  EXPECT_EQ(long_files(root_), Sentences({"base/long.cc: 601 lines"}));
}

}  // namespace
}  // namespace gossamer
