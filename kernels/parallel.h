// Work cut into parts for a stream that can run several at once, and the host stream that can.
//
// Nothing here starts a thread that nobody asked for: a plain Stream runs everything on the caller's thread, and who wants
// more makes a ThreadedStream and passes it.  What is computed does not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>

#include "base/memory.h"

namespace gossamer {

// Past this many bytes read and written a result does not stay in the caches until somebody reads it, so that it is
// better written past them.
inline constexpr std::size_t kStreamingBytes = std::size_t{32} << 20;

// Calls body(begin, end) for ranges that make up 0 .. count-1, none shorter than `least` but the last.
template <class Body>
void parallel_for(Stream& stream, std::uint64_t count, std::uint64_t least, const Body& body) {
  const std::uint64_t width = stream.width();
  // More parts than threads, as threads are not equally fast.
  const std::uint64_t parts = width <= 1 ? 1 : std::clamp<std::uint64_t>(count / std::max<std::uint64_t>(least, 1), 1, 8 * width);
  if (count == 0) return;
  if (parts == 1) return body(std::uint64_t{0}, count);
  struct Context {
    const Body& body;
    std::uint64_t count, parts;
  } context{body, count, parts};
  stream.run(
      parts,
      [](void* opaque, std::size_t part) {
        const Context& c = *static_cast<const Context*>(opaque);
        const auto at = [&c](std::uint64_t p) { return c.count / c.parts * p + std::min(p, c.count % c.parts); };
        c.body(at(part), at(part + 1));
      },
      &context);
}

// A host stream with threads of its own: `threads` in all, the caller of run() being one of them.  Belongs to one caller
// at a time; idle threads sleep.
class ThreadedStream final : public Stream {
 public:
  explicit ThreadedStream(std::size_t threads);
  ~ThreadedStream() override;

  std::size_t width() const override;
  void run(std::size_t parts, Part part, void* context) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gossamer
