#include "base/metrics.h"

namespace gossamer {
namespace {

template <class Map>
auto& find_or_make(Map& map, std::string_view name) {
  auto at = map.find(name);
  if (at == map.end()) at = map.emplace(std::string(name), std::make_unique<typename Map::mapped_type::element_type>()).first;
  return *at->second;
}

}  // namespace

Counter& Metrics::counter(std::string_view name) {
  const std::lock_guard lock(mutex_);
  return find_or_make(counters_, name);
}

Gauge& Metrics::gauge(std::string_view name) {
  const std::lock_guard lock(mutex_);
  return find_or_make(gauges_, name);
}

std::map<std::string, double> Metrics::snapshot() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, double> values;
  for (const auto& [name, counter] : counters_) values[name] = static_cast<double>(counter->value());
  for (const auto& [name, gauge] : gauges_) values[name] = gauge->value();
  return values;
}

}  // namespace gossamer
