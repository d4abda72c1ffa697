// Which of libfabric's providers a fabric uses, and what that one really offers.  Private to the libfabric backend.
#pragma once

#include <rdma/fabric.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "transports/ofi.h"

namespace gossamer::ofi {

struct CloseInfo {
  void operator()(fi_info* info) const { fi_freeinfo(info); }
};
using Info = std::unique_ptr<fi_info, CloseInfo>;

template <class Fid>
struct CloseFid {
  void operator()(Fid* object) const { (void)fi_close(&object->fid); }
};
template <class Fid>
using Owned = std::unique_ptr<Fid, CloseFid<Fid>>;

struct Offer {
  Info info;
  bool writes = false;           // one-sided
  bool ordered = false;          // a message is not seen before the writes that were posted before it
  bool this_machine_only = false;
  bool loopback = false;         // its address means nothing on another machine
};

// Errors: as make_ofi().
Result<Offer> choose(const OfiOptions& options);

// "cannot open the domain: Invalid argument (22)".
std::string say(const std::string& what, long error);

}  // namespace gossamer::ofi
