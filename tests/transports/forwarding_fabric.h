// A fabric that hands everything on to another one, for tests that change or watch a part of that.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "transports/fabric.h"

namespace gossamer::testing {

class ForwardingFabric : public Fabric {
 public:
  explicit ForwardingFabric(std::unique_ptr<Fabric> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return inner_->name(); }
  std::string description() const override { return inner_->description(); }
  FabricLimits limits() const override { return inner_->limits(); }
  Traffic traffic() const override { return inner_->traffic(); }
  DeviceMemory* device() const override { return inner_->device(); }
  std::string address() const override { return inner_->address(); }
  Result<std::unique_ptr<Region>> allocate(std::size_t size) override { return inner_->allocate(size); }
  Result<std::unique_ptr<Region>> allocate_device(std::size_t size) override { return inner_->allocate_device(size); }
  Result<std::unique_ptr<Region>> add_region(MemoryView memory) override { return inner_->add_region(memory); }
  Result<std::unique_ptr<Link>> connect(std::string_view address) override { return inner_->connect(address); }
  void poll(FabricEvents* events) override { inner_->poll(events); }
  int wait_fd() const override { return inner_->wait_fd(); }
  bool arm() override { return inner_->arm(); }

 private:
  std::unique_ptr<Fabric> inner_;
};

}  // namespace gossamer::testing
