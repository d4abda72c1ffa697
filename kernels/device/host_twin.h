// What a codec of vectors on a device has in common with the host's of the same options: all that does not touch an element.
#pragma once

#include <memory>
#include <utility>

#include "kernels/compressor.h"

namespace gossamer::device {

class HostTwin : public Compressor {
 public:
  std::string_view name() const final { return host_->name(); }
  CodecId codec() const final { return host_->codec(); }
  CodecTraits traits() const final { return host_->traits(); }
  std::size_t capacity(const Layout& layout) const final { return host_->capacity(layout); }
  double contraction(const Layout& layout) const final { return host_->contraction(layout); }

 protected:
  explicit HostTwin(std::unique_ptr<Compressor> host) : host_(std::move(host)) {}

  const std::unique_ptr<Compressor> host_;  // also says what is wrong with what the device refuses
};

}  // namespace gossamer::device
