// docs/topologies.md says what the code does: every name is in it, and every example reads.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/yaml.h"
#include "topologies/check.h"
#include "topologies/family.h"
#include "topologies/topology_file.h"

namespace gossamer {
namespace {

std::string page() {
  std::ostringstream text;
  text << std::ifstream(GOSSAMER_DOCS "/topologies.md").rdbuf();
  EXPECT_FALSE(text.str().empty());
  return text.str();
}

TEST(TopologyPage, NamesEveryFamilyOptionWeightRuleAndReportKey) {
  const std::string text = page();
  const auto has = [&](std::string_view word) {
    return text.find('`' + std::string(word) + '`') != std::string::npos;
  };
  for (const auto& family : families()) {
    EXPECT_TRUE(has(family.name)) << family.name;
    for (const auto& option : family.options) EXPECT_TRUE(has(option.key)) << option.key;
  }
  for (int rule = 0; rule <= static_cast<int>(WeightRule::given); ++rule)
    EXPECT_TRUE(has(name(static_cast<WeightRule>(rule)))) << rule;
  const auto ring = make_topology(family_spec("ring", 4));
  ASSERT_TRUE(ring);
  const auto json = nlohmann::json::parse(to_json(*check_topology(**ring)));
  for (const auto& [key, value] : json.items()) EXPECT_TRUE(has(key)) << key;
}

TEST(TopologyPage, HasExamplesThatRead) {
  const std::string text = page();
  std::size_t examples = 0;
  for (std::size_t at = text.find("```yaml\n"); at != std::string::npos;
       at = text.find("```yaml\n", at + 1)) {
    const std::size_t start = at + 8, stop = text.find("```", start);
    const std::string example = text.substr(start, stop - start);
    SCOPED_TRACE(example);
    ++examples;
    if (example.find("file:") != std::string::npos) continue;  // names a file that is not there
    const auto document = YamlDocument::parse(example, "example");
    ASSERT_TRUE(document) << document.error().message;
    const YamlMap root = document->root();
    const auto spec = read_topology(root.has("topology") ? root.map("topology") : root, ".");
    const auto finished = document->finish();
    ASSERT_TRUE(finished) << finished.error().message;
    EXPECT_TRUE(make_topology(spec));
  }
  EXPECT_GE(examples, 5u);
}

}  // namespace
}  // namespace gossamer
