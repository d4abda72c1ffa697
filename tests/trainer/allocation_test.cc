// A step of training asks for no memory once it is warm: the allocator's locks and page faults would be paid
// by every step of every peer.  This file replaces operator new for the whole test binary, to count.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "tests/trainer/testing.h"
#include "trainer/tasks.h"
#include "trainer/trainer.h"

namespace {
std::atomic<std::uint64_t> allocations = 0;

void* allocate(std::size_t size, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  if (void* memory = std::aligned_alloc(alignment, whole == 0 ? alignment : whole)) return memory;
  std::abort();
}
}  // namespace

// gcc 12 inlines these deletes but not the news at -O1, and then takes them for a mismatched pair.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, alignof(std::max_align_t));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace gossamer {
namespace {

struct SilentSink final : GradientSink {
  void ready(std::size_t, std::size_t) override {}
};

TEST(Allocation, AStepAsksForNoMemoryInAnyTask) {
  for (const auto& [kind, classes] :
       {std::pair("quadratic", 0u), {"linear", 0u}, {"logistic", 3u}, {"mlp", 3u}}) {
    for (const bool sparse : {false, true}) {
      Dataset set = made_up(64, 5, classes);
      if (sparse) {
        for (std::uint32_t i = 0; i < 64 * 5; ++i) set.column.push_back(i % 5);
        for (std::uint32_t i = 0; i <= 64; ++i) set.row_begin.push_back(5 * i);
        set.value = std::move(set.x);
        set.x.clear();
      }
      const auto shared = std::make_shared<const Dataset>(std::move(set));
      TaskOptions options;
      options.kind = kind;
      auto task = make_task(options, {shared, shared}, everything(*shared), 8, 0, 1, 1);
      ASSERT_TRUE(task) << task.error().message;
      OptimizerOptions momentum;
      momentum.momentum = 0.9;
      auto optimizer = make_optimizer(momentum, (*task)->layout().size());
      Stream stream;
      std::vector<float> model((*task)->layout().size());
      (*task)->initialise(1, model);
      Trainer trainer(**task, **optimizer, momentum, {}, 10, stream, model);
      SilentSink sink;
      const auto run = [&] {
        trainer.compute_gradient(&sink);
        trainer.apply_gradient();
      };
      run();
      const std::uint64_t before = allocations.load();
      for (int i = 0; i < 30; ++i) run();  // several epochs
      (*task)->evaluate(stream, model);
      EXPECT_EQ(allocations.load() - before, 0u) << kind << (sparse ? ", sparse" : ", dense");
    }
  }
}

}  // namespace
}  // namespace gossamer
