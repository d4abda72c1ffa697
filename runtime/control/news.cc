#include "runtime/control/news.h"

#include <utility>

namespace gossamer::control {

void News::add(const wire::Departure& departure) {
  wire::Change change;
  *change.mutable_departure() = departure;
  put(departure.rank(), std::move(change));
}

void News::add(const wire::Arrival& arrival) {
  wire::Change change;
  *change.mutable_arrival() = arrival;
  put(arrival.member().rank(), std::move(change));
}

void News::put(PeerId rank, wire::Change change) {
  std::uint64_t& latest = latest_[rank];
  changes_.erase(latest);
  latest = ++last_;
  changes_.emplace(latest, std::move(change));
}

void News::since(std::uint64_t told, const std::function<void(const wire::Change&)>& tell) const {
  for (auto i = changes_.upper_bound(told); i != changes_.end(); ++i) tell(i->second);
}

const wire::Departure* News::departure(PeerId rank) const {
  const auto latest = latest_.find(rank);
  if (latest == latest_.end()) return nullptr;
  const wire::Change& change = changes_.at(latest->second);
  return change.has_departure() ? &change.departure() : nullptr;
}

}  // namespace gossamer::control
