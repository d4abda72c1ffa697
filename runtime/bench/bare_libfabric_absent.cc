// Stands in for bare_libfabric.cc where libfabric was not found at build time.
#include <memory>
#include <string>

#include "runtime/bench/bare_libfabric.h"
#include "runtime/bench/transport_measure.h"

namespace gossamer::bench {

Result<> serve_bare_libfabric(const Wire&, bool, std::size_t, int) {
  return fail(Errc::unsupported, "this build has no libfabric");
}

std::string bare_address(const Wire&) { return {}; }

Result<std::unique_ptr<Measurement>> measure_bare_libfabric(const Wire&, Bare, std::size_t) {
  return fail(Errc::unsupported, "this build has no libfabric");
}

}  // namespace gossamer::bench
