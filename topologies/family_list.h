// The makers that families.cc lists; one line per family.
#pragma once

#include <string_view>

#include "topologies/family.h"

namespace gossamer {

Family ring_family();
Family path_family();
Family star_family();
Family complete_family();
Family torus_family();
Family hypercube_family();
Family circulant_family();
Family static_exponential_family();
Family one_peer_exponential_family();
Family one_peer_hypercube_family();
Family base_family();
Family random_regular_family();
Family erdos_renyi_family();
Family small_world_family();
Family binary_tree_family();

// For families on hypercubes; `instead` is the family to recommend for other counts.
Result<> needs_power_of_two(std::string_view family, std::size_t peers, std::string_view instead);

}  // namespace gossamer
