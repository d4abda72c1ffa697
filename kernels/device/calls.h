// What the calls of all codecs on a device have in common.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "kernels/compressor.h"
#include "kernels/device/stream.h"

namespace gossamer::device {

// The stream of a call to a device codec.
inline DeviceStream& stream_of(Stream& stream) { return static_cast<DeviceStream&>(stream); }

template <class T>
void upload(DeviceStream& stream, const std::vector<T>& from, T* to) {
  if (!from.empty()) stream.upload(from.data(), to, from.size() * sizeof(T));
}

// What the kernels had to say, when all are done.
inline Result<Status> status_of(DeviceStream& stream, const Status* there) {
  Status status;
  stream.download(there, &status, sizeof status);
  GOSSAMER_TRY(stream.finish());
  return status;
}

// The vectors of the first pass, or the only one; payloads are still to be added.
inline DecodePass pass_into(const DecodeInto& into) {
  return {.target = into.target, .own = into.own.data(), .out = into.out.data(), .sum = into.sum.data(), .wide = into.wide.data(), .wide_weight = into.wide_weight};
}

// Launches `work` for as many payloads at a time as it takes, whose bytes on the device are from(p).  Without any, assign and difference
// write zeros.
template <class Work, class From>
void launch_passes(DeviceStream& stream, Work work, std::span<const WeightedPayload> payloads, const From& from) {
  for (std::size_t p = 0; p < payloads.size() || p == 0; p += kPayloadsOfPass) {
    work.into.goes_on = p > 0;
    work.into.payloads = static_cast<unsigned>(std::min<std::size_t>(kPayloadsOfPass, payloads.size() - p));
    for (unsigned i = 0; i < work.into.payloads; ++i) {
      work.from[i] = from(p + i);
      work.into.weights[i] = payloads[p + i].weight;
    }
    stream.launch(work);
  }
}

}  // namespace gossamer::device
