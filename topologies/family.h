// The list of graph families, and what a new one has to bring.
//
// A family is one file with a maker, and one entry in the list of families.cc.  Its options are declared here
// once; the topology file, the command line and the documentation read the same declaration.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "topologies/topology.h"
#include "topologies/topology_spec.h"

namespace gossamer {

struct FamilyOption {
  enum class Kind : std::uint8_t { flag, count, real, counts };
  std::string_view key;
  Kind kind = Kind::count;
  double least = 0;
  double most = 0;
  std::string_view help;  // one sentence, with the default
};

struct FamilyRequest {
  std::size_t peers = 0;
  const FamilyOptions* options = nullptr;
  WeightRule weights = WeightRule::standard;
  std::uint64_t seed = 1;
  std::uint64_t stream = 0;  // the place in a schedule, so that two random graphs of one schedule differ

  // The value of an option or its default.
  double number(std::string_view key, double otherwise) const;
  bool flag(std::string_view key) const { return number(key, 0) != 0; }
};

struct Family {
  std::string_view name;
  std::string_view summary;
  std::vector<FamilyOption> options;
  Result<std::unique_ptr<Topology>> (*make)(const FamilyRequest& request);
  bool own_weights = false;  // brings its weights and takes no rule for them
};

// All families in the order of the documentation.
std::span<const Family> families();
const Family* find_family(std::string_view name);

// Keys known, kinds and ranges right.
Result<> check_options(const Family& family, const FamilyOptions& options);

}  // namespace gossamer
