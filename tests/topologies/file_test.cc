// Topology files: what they say, what they refuse and where, and that what is written reads back.
#include "topologies/topology_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/random.h"
#include "base/yaml.h"
#include "tests/topologies/all_families.h"
#include "topologies/check.h"

namespace gossamer {
namespace {

Result<TopologySpec> yaml(std::string_view text) {
  return parse_topology_yaml(text, "t.yaml", ".");
}

TopologySpec good(const Result<TopologySpec>& spec) {
  EXPECT_TRUE(spec) << (spec ? "" : spec.error().message);
  return spec.value_or(TopologySpec{});
}

std::string data(const std::string& name) {
  return GOSSAMER_TEST_DATA + std::string("/") + name;
}

double gap(const TopologySpec& spec) {
  const auto t = make_topology(spec);
  EXPECT_TRUE(t) << t.error().message;
  return check_topology(**t)->spectral_gap;
}

class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() / ("gossamer-topology-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST(TopologyYaml, ReadsEdgesWithAndWithoutWeights) {
  const auto spec =
      good(yaml("peers: 4\n"
                "graph: {edges: [[0, 1], [1, 2, 0.25], [2, 3], [3, 0]]}\n"
                "weights: metropolis\n"
                "seed: 7\n"));
  EXPECT_EQ(spec.peers, 4u);
  EXPECT_EQ(spec.seed, 7u);
  EXPECT_EQ(spec.weights, WeightRule::metropolis);
  ASSERT_EQ(spec.schedule.size(), 1u);
  EXPECT_EQ(spec.schedule[0].edges,
            (std::vector<EdgeSpec>{{0, 1, {}}, {1, 2, 0.25}, {2, 3, {}}, {3, 0, {}}}));
}

TEST(TopologyYaml, ReadsAFamilyNestedOrFlat) {
  const auto nested = good(yaml("peers: 32\ngraph: {family: torus, shape: [4, 8]}\nweights: lazy"));
  const auto flat = good(yaml("{family: torus, peers: 32, shape: [4, 8], weights: lazy}"));
  EXPECT_EQ(nested, flat);
  EXPECT_EQ(flat.schedule[0].options.at("shape"), (std::vector<double>{4, 8}));
  const auto flags = good(yaml("{family: static-exponential, peers: 8, symmetric: true}"));
  EXPECT_EQ(flags.schedule[0].options.at("symmetric"), (std::vector<double>{1}));
}

TEST(TopologyYaml, ReadsNamedPeersAndEdgesBetweenNames) {
  const auto spec =
      good(yaml("peers:\n"
                "  - {name: anna, host: node01, port: 7001}\n"
                "  - {name: ben, host: node02}\n"
                "  - carl\n"
                "graph:\n  edges: [[anna, ben], [ben, carl], [2, 0]]\n"));
  EXPECT_EQ(spec.members,
            (std::vector<PeerSpec>{{"anna", "node01", 7001}, {"ben", "node02", 0}, {"carl", "", 0}}));
  EXPECT_EQ(spec.schedule[0].edges, (std::vector<EdgeSpec>{{0, 1, {}}, {1, 2, {}}, {2, 0, {}}}));
}

TEST(TopologyYaml, ReadsSchedulesOfGraphsAndFamilies) {
  const auto spec =
      good(yaml("peers: 4\n"
                "schedule:\n"
                "  - {family: one-peer-hypercube}\n"
                "  - {edges: [[0, 1], [2, 3]], rounds: 3}\n"
                "  - {edges: [[0, 1, 0.5], [1, 0, 0.5]], directed: true, rounds: 2}\n"));
  ASSERT_EQ(spec.schedule.size(), 3u);
  EXPECT_EQ(spec.schedule[1].rounds, 3u);
  EXPECT_TRUE(spec.schedule[2].directed);
  const auto t = make_topology(spec);
  ASSERT_TRUE(t);
  EXPECT_EQ((*t)->period(), 7u);
}

TEST(TopologyYaml, StandsUnderAKeyOfARunFileAndMayNameAnotherFile) {
  const Folder folder;
  folder.write("ring.yaml", "peers: 6\nfamily: ring\n");
  const auto parse = [&](std::string text) -> Result<TopologySpec> {
    auto document = YamlDocument::parse(text, "run.yaml");
    EXPECT_TRUE(document);
    auto spec = read_topology(document->root().map("topology"), folder.path());
    GOSSAMER_TRY(document->finish());
    return spec;
  };
  EXPECT_EQ(good(parse("topology: {family: one-peer-hypercube, peers: 8}")).schedule[0].family,
            "one-peer-hypercube");
  EXPECT_EQ(good(parse("topology: {file: ring.yaml}")).peers, 6u);
  const auto missing = parse("topology:\n  file: absent.yaml");
  ASSERT_FALSE(missing);
  EXPECT_TRUE(missing.error().message.starts_with("run.yaml:2:")) << missing.error().message;
  const auto both = parse("topology: {file: ring.yaml, family: ring}");
  ASSERT_FALSE(both);
  EXPECT_NE(both.error().message.find("remove one"), std::string::npos) << both.error().message;
}

TEST(TopologyYaml, NamesLineColumnCauseAndRemedy) {
  struct Case {
    const char* text;
    const char* place;
    const char* says;
  };
  const Case cases[] = {
      {"peers: 4\ngraph:\n  edges:\n    - [0, 1]\n    - [1, 4]\n", "t.yaml:5:", "peers are 0 to 3"},
      {"peers: 4\ngraph:\n  edges:\n    - [0, 1]\n    - [1, 0]\n", "t.yaml:5:", "repeats edge 1"},
      {"peers: 4\ngraph:\n  edges:\n    - [2, 2]\n", "t.yaml:4:", "itself"},
      {"peers: 4\ngraph: {edges: [[0, 1, -1]]}\nweights: explicit\n", "t.yaml:2:", "not above 0"},
      {"peers: 4\ngraph: {edges: [[0, 1]]}\nweights: explicit\n", "t.yaml:2:", "has no weight"},
      {"peers: 4\ngraph: {edges: [[0]]}\n", "t.yaml:2:", "[from, to]"},
      {"peers: 4\ngraph: {edges: 3}\n", "t.yaml:2:", "list of [from, to]"},
      {"peers: 4\ngraph: {edges: [[0, -1]]}\n", "t.yaml:2:", ""},
      {"peers: 4\ngraph: {edges: [[0, 1.5]]}\n", "t.yaml:2:", ""},
      {"peers: 3\ngraph: {edges: [[0, 1, 0.8], [1, 2, 0.8]]}\nweights: explicit", "t.yaml:", "more than 1"},
      {"peers: 4\ngraph: {family: rign}\n", "t.yaml:2:", "ring"},
      {"peers: 4\ngraph: {family: ring, degree: 3}\n", "t.yaml:2:", "option of random-regular"},
      {"peers: 8\ngraph: {family: random-regular, degre: 3}\n", "t.yaml:2:", "degree"},
      {"peers: 8\ngraph: {family: random-regular, degree: many}\n", "t.yaml:2:", ""},
      {"peers: 8\ngraph: {family: ring}\nweigths: lazy\n", "t.yaml:3:", "weights"},
      {"peers: 8\ngraph: {family: ring}\nweights: lzy\n", "t.yaml:3:", "lazy"},
      {"graph: {family: ring}\n", "t.yaml:1:", "peers"},
      {"peers: 0\nfamily: ring\n", "t.yaml:1:", ""},
      {"peers: -3\nfamily: ring\n", "t.yaml:1:", ""},
      {"peers: []\nfamily: ring\n", "t.yaml:1:", "empty"},
      {"peers: [a, a]\nfamily: ring\n", "t.yaml:1:", "two peers"},
      {"peers: [a, \"7\"]\nfamily: ring\n", "t.yaml:1:", "add a letter"},
      {"peers: [anna, ben]\nedges: [[anna, bem]]\n", "t.yaml:2:", "ben"},
      {"peers: 4\n", "t.yaml:1:", "no graph is given"},
      {"peers: 4\nfamily: ring\nschedule: [{family: star}]\n", "t.yaml:1:", "exclude each other"},
      {"peers: 4\nschedule: []\n", "t.yaml:2:", "empty"},
      {"peers: 4\nschedule: [{}]\n", "t.yaml:2:", "family or edges"},
      {"peers: 6\nfamily: hypercube\n", "t.yaml:", "4 or 8"},
      {"peers: 4\nfamily: ring\nedges: [[0, 1]]\n", "t.yaml:3:", "either"},
      {"peers: 4\nfamily: ring\n  - x\n", "t.yaml:", ""},
      {"[1, 2]", "t.yaml:1:", ""},
      {"peers: 4\npeers: 5\nfamily: ring", "t.yaml:2:", ""},
      {"peers: 99999999999999999999\nfamily: ring", "t.yaml:1:", ""},
  };
  for (const auto& c : cases) {
    const auto spec = yaml(c.text);
    ASSERT_FALSE(spec) << c.text;
    EXPECT_EQ(spec.error().code, Errc::invalid_argument) << c.text;
    EXPECT_TRUE(spec.error().message.starts_with(c.place)) << c.text << "\n" << spec.error().message;
    EXPECT_NE(spec.error().message.find(c.says), std::string::npos) << c.text << "\n" << spec.error().message;
  }
}

TEST(TopologyYaml, ReadsBackWhatItWrites) {
  std::vector<TopologySpec> specs;
  for (const auto& sample : all_families(16)) specs.push_back(sample.spec);
  TopologySpec edges;
  edges.name = "with: odd #characters";
  edges.peers = 3;
  edges.seed = 99;
  edges.members = {{"a b", "host-1", 7001}, {"true", "", 0}, {"c", "::1", 1}};
  edges.weights = WeightRule::given;
  edges.schedule = {{.edges = {{0, 1, 0.1}, {1, 2, 1.0 / 3}}},
                    {.edges = {{0, 1, 1e-7}, {1, 0, 0.25}}, .directed = true, .rounds = 4}};
  specs.push_back(edges);
  TopologySpec mixed = family_spec("torus", 8, {{"shape", {2, 4}}});
  mixed.schedule.push_back({.family = "ring", .rounds = 2});
  mixed.schedule.push_back({.edges = {}, .rounds = 1});
  specs.push_back(mixed);
  for (const auto& spec : specs) {
    const auto text = to_yaml(spec);
    ASSERT_TRUE(text) << text.error().message;
    const auto again = yaml(*text);
    ASSERT_TRUE(again) << again.error().message << "\n" << *text;
    EXPECT_EQ(*again, spec) << *text;
  }
}

TEST(TopologyYaml, WritesNothingThatWouldNotRead) {
  EXPECT_FALSE(to_yaml(family_spec("hypercube", 6)));
  EXPECT_FALSE(to_yaml(TopologySpec{}));
}

TEST(NodeLink, ImportsTheDavisWomenWithBothSpellingsAndTheirGap) {
  const auto spec = good(load_topology(data("davis.json")));
  EXPECT_EQ(spec.peers, 32u);
  EXPECT_EQ(spec.schedule[0].edges.size(), 89u);
  EXPECT_EQ(spec.members.front().name, "Evelyn Jefferson");
  const auto t = make_topology(spec);
  ASSERT_TRUE(t);
  const auto report = check_topology(**t);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->degree_max, 14u);
  EXPECT_TRUE(report->bipartite);
  EXPECT_NEAR(report->spectral_gap, .0821, 5e-5);  // Metropolis; CHOCO-SGD's social network
  // "edges" instead of "links"; networkx's random 3-regular graph of 32 with seed 1, whose gap is tabulated.
  EXPECT_NEAR(gap(good(load_topology(data("regular-3-32.json")))), .069, 5.1e-4);
}

TEST(GraphMl, ImportsTheSameGraphAsNodeLink) {
  const auto xml = good(load_topology(data("davis.graphml"))), json = good(load_topology(data("davis.json")));
  EXPECT_EQ(xml.members, json.members);
  EXPECT_NEAR(gap(xml), gap(json), 1e-12);
}

TEST(EdgeList, ImportsDecentralizePyAndNetworkxForms) {
  EXPECT_NEAR(gap(good(load_topology(data("regular-4-16.edges")))), .278,
              5.1e-4);  // every edge in both directions
  EXPECT_NEAR(gap(good(load_topology(data("small-world-32.edges")))), .120,
              5.1e-4);  // "u v {}", no first line
  const auto weighted = good(import_edge_list("3\n# a comment\n0 1 0.25\n\n1 2 0.5 # another\n", "w.edges"));
  EXPECT_EQ(weighted.weights, WeightRule::given);
  EXPECT_EQ(weighted.schedule[0].edges, (std::vector<EdgeSpec>{{0, 1, 0.25}, {1, 2, 0.5}}));
  EXPECT_EQ(good(import_edge_list("0 1\r\n1 2\r\n", "crlf.edges")).peers, 3u);
  EXPECT_EQ(good(import_edge_list("1\n", "one.edges")).peers, 1u);
}

struct Bad {
  const char* text;
  const char* place;
  const char* says;
};

void refuses(Result<TopologySpec> (*import)(std::string_view, const std::string&), const Bad& bad) {
  const auto spec = import(bad.text, "f");
  ASSERT_FALSE(spec) << bad.text;
  EXPECT_EQ(spec.error().code, Errc::invalid_argument);
  EXPECT_TRUE(spec.error().message.starts_with(bad.place)) << bad.text << "\n" << spec.error().message;
  EXPECT_NE(spec.error().message.find(bad.says), std::string::npos) << bad.text << "\n"
                                                                    << spec.error().message;
}

TEST(EdgeList, RefusesMalformedLinesWithTheirPlace) {
  const Bad cases[] = {
      {"", "f:", "no nodes"},
      {"# nothing\n", "f:", "no nodes"},
      {"3\n0 1\n1 x\n", "f:3:3:", "not a peer's number"},
      {"3\n0 1\n1 3\n", "f:3:1:", "peers are 0 to 2"},
      {"3\n0 1\n1 1\n", "f:3:1:", "itself"},
      {"3\n0 1\n0 1\n", "f:3:1:", "repeats"},
      {"3\n0 1 2 3\n", "f:2:1:", "a line is"},
      {"3\n0\n", "f:2:1:", "a line is"},
      {"0\n", "f:1:1:", "at least 1"},
      {"-1 2\n", "f:1:1:", "not a peer's number"},
      {"0 1 heavy\n", "f:1:5:", "not a weight"},
      {"0 1 0.7\n1 2 0.7\n", "f:", "more than 1"},
      {"0 1 0.5\n1 0 0.25\n", "f:2:1:", "other direction"},
      {"0 99999999999\n", "f:1:3:", "not a peer's number"},
      {"0 959075021\n", "f:", "is the most"},
      {"0 1 nan\n", "f:1:1:", "not above 0"},
  };
  for (const auto& bad : cases) refuses(import_edge_list, bad);
}

TEST(NodeLink, RefusesMalformedDocumentsWithTheirPlace) {
  const Bad cases[] = {
      {"", "f:1:1:", "not JSON"},
      {"{\n  \"nodes\": [}\n", "f:2:13:", "not JSON"},
      {"[]", "f:", "not an object"},
      {"{\"nodes\": [{\"id\": 0}]}", "f:", "neither"},
      {"{\"nodes\": [{\"id\": 0}], \"links\": [], \"edges\": []}", "f:", "both"},
      {"{\"nodes\": 3, \"links\": []}", "f:", "no list"},
      {"{\"nodes\": [], \"links\": []}", "f:", "no nodes"},
      {"{\"nodes\": [{\"id\": 0}, {}], \"links\": []}", "f:1:23:", "\"id\""},
      {"{\"nodes\": [{\"id\": \"a\"}, {\"id\": \"a\"}], \"links\": []}", "f:", "twice"},
      {"{\"nodes\": [{\"id\": 0}, {\"id\": 1}],\n \"links\": [{\"source\": 0, \"target\": 2}]}",
       "f:2:12:", "no node has the id 2"},
      {"{\"nodes\": [{\"id\": 0}, {\"id\": 1}],\n \"links\": [{\"source\": 0, \"target\": 0}]}",
       "f:2:12:", "itself"},
      {"{\"nodes\": [{\"id\": 0}, {\"id\": 1}],\n \"links\": [{\"source\": 0}]}", "f:2:12:", "target"},
      {"{\"nodes\": [{\"id\": 0}, {\"id\": 1}],\n \"links\": [7]}", "f:", "\"source\""},
      {"{\"nodes\": [{\"id\": 0}, {\"id\": 1}],\n \"links\": [{\"source\": 0, \"target\": 1, \"weight\": "
       "\"x\"}]}",
       "f:2:12:", "not a number"},
      {"{\"nodes\": [{\"id\": 0}, {\"id\": 1}],\n \"links\": [{\"source\": 0, \"target\": 1, \"weight\": "
       "4}]}",
       "f:", "drop them"},
      {"{\"directed\": 3, \"nodes\": [], \"links\": []}", "f:", "neither true nor false"},
  };
  for (const auto& bad : cases) refuses(import_node_link, bad);
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_FALSE(import_node_link(deep, "deep.json"));
  EXPECT_FALSE(
      import_node_link(std::string("{\"nodes\": [{\"id\": \"\xff\xfe\"}], \"links\": []}"), "utf8.json"));
}

TEST(GraphMl, RefusesMalformedDocumentsWithTheirPlace) {
  const Bad cases[] = {
      {"", "f:1:1:", "not XML"},
      {"<graphml><graph></graphml>", "f:1:", "not XML"},
      {"<html/>", "f:1:1:", "no <graphml>"},
      {"<graphml></graphml>", "f:1:1:", "no <graph>"},
      {"<graphml>\n<graph edgedefault=\"undirected\"></graph></graphml>", "f:", "no nodes"},
      {"<graphml>\n<graph/>\n<graph/></graphml>", "f:3:1:", "several graphs"},
      {"<graphml>\n<graph edgedefault=\"sideways\"/></graphml>", "f:2:1:", "sideways"},
      {"<graphml>\n<graph><node/></graph></graphml>", "f:2:8:", "needs an id"},
      {"<graphml>\n<graph><node id=\"a\"/>\n<node id=\"a\"/></graph></graphml>", "f:", "twice"},
      {"<graphml>\n<graph><node id=\"0\"/>\n<edge source=\"0\" target=\"9\"/></graph></graphml>",
       "f:3:1:", "no <node> has the id 9"},
      {"<graphml>\n<graph><node id=\"0\"/>\n<edge source=\"0\"/></graph></graphml>",
       "f:3:1:", "needs a target"},
      {"<graphml>\n<graph><node id=\"0\"/>\n<edge source=\"0\" target=\"0\"/></graph></graphml>",
       "f:3:1:", "itself"},
      {"<graphml>\n<graph><node id=\"0\"/><node id=\"1\"/>\n<edge directed=\"true\" source=\"0\" "
       "target=\"1\"/></graph></graphml>",
       "f:3:1:", "mixed"},
      {"<graphml><key id=\"w\" for=\"edge\" attr.name=\"weight\"/>\n<graph><node id=\"0\"/><node id=\"1\"/>\n"
       "<edge source=\"0\" target=\"1\"><data key=\"w\">heavy</data></edge></graph></graphml>",
       "f:3:29:", "not a number"},
      {"<graphml>\n<graph><node id=\"0\"><graph/></node></graph></graphml>", "f:2:8:", "flatten"},
      {"<graphml>\n<graph><node id=\"0\"/>\n<hyperedge/></graph></graphml>", "f:3:1:", "hyperedge"},
  };
  for (const auto& bad : cases) refuses(import_graphml, bad);
  // No entity is expanded, so this stays small.
  EXPECT_FALSE(import_graphml(
      "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><graphml>&b;</graphml>", "bomb"));
}

TEST(Import, TakesWeightsAsMixingWeights) {
  const auto spec = good(
      import_graphml("<graphml><key id=\"w\" for=\"edge\" attr.name=\"weight\" attr.type=\"double\"/>"
                     "<graph edgedefault=\"directed\"><node id=\"b\"/><node id=\"a\"/>"
                     "<edge source=\"a\" target=\"b\"><data key=\"w\"> 0.5 </data></edge>"
                     "<edge source=\"b\" target=\"a\"><data key=\"w\">0.5</data></edge></graph></graphml>",
                     "w.graphml"));
  EXPECT_EQ(spec.weights, WeightRule::given);
  EXPECT_EQ(spec.members, (std::vector<PeerSpec>{{"b", "", 0}, {"a", "", 0}}));
  EXPECT_EQ(spec.schedule[0].edges, (std::vector<EdgeSpec>{{1, 0, 0.5}, {0, 1, 0.5}}));
  EXPECT_NEAR(gap(spec), 1, 1e-12);
}

// Bytes changed, cut out and doubled at random: whatever comes out is a topology or an error, never a crash.
TEST(Import, SurvivesRandomDamage) {
  using Import = Result<TopologySpec> (*)(std::string_view, const std::string&);
  const Import parse = [](std::string_view text, const std::string& origin) {
    return parse_topology_yaml(text, origin, ".");
  };
  const auto spec = to_yaml(good(load_topology(data("davis.json"))));
  ASSERT_TRUE(spec);
  std::size_t refused = 0;
  for (const auto& [name, import] : {std::pair<std::string, Import>{"davis.json", import_node_link},
                                     {"davis.graphml", import_graphml},
                                     {"regular-4-16.edges", import_edge_list},
                                     {"", parse}}) {
    std::string whole = *spec;
    if (!name.empty()) {
      std::ifstream file(data(name));
      whole.assign(std::istreambuf_iterator<char>(file), {});
    }
    for (std::uint64_t draw = 0; draw < 300; ++draw) {
      Random random(1, Purpose::test, draw);
      std::string text = whole;
      for (std::uint64_t hits = 1 + random.below(4); hits > 0; --hits) {
        const std::size_t at = random.below(text.size());
        switch (random.below(4)) {
          case 0:
            text[at] = static_cast<char>(random.below(256));
            break;
          case 1:
            text.erase(at, random.below(40));
            break;
          case 2:
            text.insert(at, text.substr(random.below(text.size()), random.below(40)));
            break;
          default:
            text.resize(at + 1);
            break;
        }
      }
      const auto read = import(text, "damaged");
      refused += !read;
      if (read) {
        EXPECT_TRUE(make_topology(*read));
      }
    }
  }
  EXPECT_GT(refused, 600u);
}

TEST(LoadTopology, ChoosesByExtensionAndRefusesOthers) {
  const Folder folder;
  EXPECT_EQ(good(load_topology(folder.write("a.YML", "{peers: 3, family: ring}"))).peers, 3u);
  for (const auto& name : {"a.txt", "noextension"}) {
    const auto spec = load_topology(folder.write(name, "3\n"));
    ASSERT_FALSE(spec);
    EXPECT_NE(spec.error().message.find(".graphml"), std::string::npos);
  }
  const auto absent = load_topology(folder.path() + "/absent.json");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Errc::not_found);
}

}  // namespace
}  // namespace gossamer
