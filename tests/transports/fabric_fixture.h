// The test fixture of the suites that run over every backend.
#pragma once

#include "tests/transports/fabric_harness.h"

namespace gossamer::testing {

class FabricFixture : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    world_ = GetParam().world();
  }

  Side make_side() {
    auto fabric = world_->make();
    EXPECT_TRUE(fabric) << fabric.error().message;
    return {std::move(*fabric), {}};
  }

  static std::unique_ptr<Link> connect(Side& from, const Side& to) {
    auto link = from.fabric->connect(to.fabric->address());
    EXPECT_TRUE(link) << link.error().message;
    return std::move(*link);
  }

  // Of the backend's kind of memory.
  static std::unique_ptr<Region> allocate(Side& side, std::size_t size) {
    auto region = GetParam().device ? side.fabric->allocate_device(size) : side.fabric->allocate(size);
    EXPECT_TRUE(region) << region.error().message;
    return std::move(*region);
  }

  // Bytes of a region, whose memory may be a device's.
  static void write(const Region& region, std::size_t offset, std::span<const std::byte> bytes) {
    const MemoryView memory = region.memory();
    ASSERT_TRUE(offset <= memory.size && bytes.size() <= memory.size - offset);
    std::string why_not;
    ASSERT_TRUE(copy_bytes(device_of(memory), bytes.data(), memory.data + offset, bytes.size(), &why_not)) << why_not;
  }
  static std::vector<std::byte> read(const Region& region, std::size_t offset, std::size_t size) {
    const MemoryView memory = region.memory();
    std::vector<std::byte> bytes(size);
    std::string why_not;
    const bool inside = offset <= memory.size && size <= memory.size - offset;
    EXPECT_TRUE(inside && copy_bytes(device_of(memory), memory.data + offset, bytes.data(), size, &why_not)) << why_not;
    return bytes;
  }
  // Memory of the test, for Fabric::add_region().
  class Own {
   public:
    explicit Own(std::size_t size) : size_(size) {
      if (DeviceMemory* const device = GetParam().device.get()) {
        device_memory_ = device->allocate(size).value();
      } else {
        host_.resize(size);
      }
    }
    ~Own() {
      if (device_memory_ != nullptr) GetParam().device->release(device_memory_);
    }
    Own(const Own&) = delete;
    Own& operator=(const Own&) = delete;
    MemoryView view() {
      if (device_memory_ != nullptr) return {device_memory_, size_, MemoryKind::cuda};
      return {host_.data(), size_};
    }

   private:
    std::size_t size_;
    std::vector<std::byte> host_;
    std::byte* device_memory_ = nullptr;
  };
  // fill() and first_difference() for regions.
  static void fill_region(const Region& region, std::size_t offset, std::size_t size, std::uint64_t seed) {
    if (region.memory().kind == MemoryKind::host) return fill(region.memory().bytes().subspan(offset, size), seed);
    std::vector<std::byte> bytes(size);
    fill(bytes, seed);
    write(region, offset, bytes);
  }
  static std::size_t first_wrong(const Region& region, std::size_t offset, std::size_t size, std::uint64_t seed) {
    if (region.memory().kind == MemoryKind::host) return first_difference(region.memory().bytes().subspan(offset, size), seed);
    return first_difference(read(region, offset, size), seed);
  }
  static DeviceMemory* device_of(MemoryView memory) { return memory.kind == MemoryKind::host ? nullptr : GetParam().device.get(); }

  static std::unique_ptr<Target> open(Link& link, const RemoteRegion& region) {
    auto target = link.open(region);
    EXPECT_TRUE(target) << target.error().message;
    return std::move(*target);
  }

  // Tries until the queue has room; the receiver is polled too, as some fabrics need.
  static Errc put_patiently(Link& link, const Put& put, std::vector<Side*> sides) {
    Errc status = Errc::would_block;
    (void)wait_until(std::move(sides), [&] {
      status = link.put(put);
      return status != Errc::would_block;
    });
    return status;
  }

  bool sees_connect_failures() const { return GetParam().sees_connect_failures; }

  std::unique_ptr<World> world_;
};

}  // namespace gossamer::testing
