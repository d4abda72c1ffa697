// A topology that keeps count of what it is asked.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "topologies/topology.h"

namespace gossamer {

class Counting final : public Topology {
 public:
  explicit Counting(std::unique_ptr<Topology> inner) : inner_(std::move(inner)) {}
  std::string_view name() const override { return inner_->name(); }
  std::size_t peer_count() const override { return inner_->peer_count(); }
  std::size_t period() const override { return inner_->period(); }
  Neighbourhood at(Round round, PeerId self) const override {
    ++asked;
    auto here = inner_->at(round, self);
    edges += here.in.size();
    return here;
  }
  TopologyFacts facts() const override { return inner_->facts(); }

  mutable std::size_t asked = 0, edges = 0;

 private:
  std::unique_ptr<Topology> inner_;
};

}  // namespace gossamer
