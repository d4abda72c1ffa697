#include "kernels/parallel.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace gossamer {

struct ThreadedStream::State {
  std::mutex mutex;
  std::condition_variable begin, end;
  std::uint64_t batch = 0;   // counts calls of run(), so that a thread takes part in each at most once
  std::size_t working = 0;   // threads, without the caller, that have not ended this batch
  bool stopping = false;

  Part part = nullptr;
  void* context = nullptr;
  std::size_t parts = 0;
  std::atomic<std::size_t> next{0};

  std::vector<std::thread> threads;

  void take_parts() {
    for (std::size_t p = next++; p < parts; p = next++) part(context, p);
  }

  void loop() {
    std::uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex);
        begin.wait(lock, [&] { return stopping || batch != seen; });
        if (stopping) return;
        seen = batch;
      }
      take_parts();
      const std::lock_guard lock(mutex);
      if (--working == 0) end.notify_one();
    }
  }
};

ThreadedStream::ThreadedStream(std::size_t threads) : state_(std::make_unique<State>()) {
  for (std::size_t t = 1; t < threads; ++t) state_->threads.emplace_back([state = state_.get()] { state->loop(); });
}

ThreadedStream::~ThreadedStream() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->begin.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

std::size_t ThreadedStream::width() const { return state_->threads.size() + 1; }

void ThreadedStream::run(std::size_t parts, Part part, void* context) {
  State& state = *state_;
  {
    const std::lock_guard lock(state.mutex);
    state.part = part;
    state.context = context;
    state.parts = parts;
    state.next = 0;
    state.working = state.threads.size();
    ++state.batch;
  }
  state.begin.notify_all();
  state.take_parts();
  std::unique_lock lock(state.mutex);
  state.end.wait(lock, [&] { return state.working == 0; });
}

}  // namespace gossamer
