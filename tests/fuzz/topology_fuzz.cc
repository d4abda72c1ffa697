// libFuzzer: topology files of every format.  The first byte says which; what is accepted is made a Topology,
// whose rounds are asked for, and written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "topologies/topology_file.h"

using namespace gossamer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto parsed = [&]() -> Result<TopologySpec> {
    switch (data[0] % 4) {
      case 0:
        return parse_topology_yaml(text, "fuzz.yaml", "/nonexistent");
      case 1:
        return import_node_link(text, "fuzz.json");
      case 2:
        return import_graphml(text, "fuzz.graphml");
      default:
        return import_edge_list(text, "fuzz.edges");
    }
  }();
  if (!parsed) {
    if (parsed.error().message.empty()) std::abort();
    return 0;
  }
  if (parsed->peers > 300) return 0;  // takes long, breaks nothing
  const auto topology = make_topology(*parsed);
  if (!topology) {
    if (topology.error().message.empty()) std::abort();
    return 0;
  }
  for (Round round = 0; round < 3; ++round)
    for (PeerId self = 0; self < (*topology)->peer_count(); ++self)
      for (const Edge& edge : (*topology)->at(round, self).in)
        if (edge.peer >= (*topology)->peer_count() || edge.peer == self) std::abort();
  if (const auto written = to_yaml(*parsed)) {
    const auto again = parse_topology_yaml(*written, "again.yaml", "/nonexistent");
    if (!again) std::abort();
  }
  return 0;
}
