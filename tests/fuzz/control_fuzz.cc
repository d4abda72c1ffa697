// libFuzzer: bytes on a control connection, up to the frames that are handed out, and what peers say in them.
//
// Input: one byte that says what it is, then its bytes.  What is accepted is packed into the same message again.
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "runtime/control/link.h"
#include "runtime/messages.h"

using namespace gossamer;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

struct Owner final : control::Link::Owner {
  void frame(control::Link&, control::wire::Frame& frame, std::string& payload) override {
    require(frame.ByteSizeLong() <= control::kBodyLimit && payload.size() <= control::kChunkSize);
  }
  void malformed(control::Link& link, const std::string& why) override {
    require(!why.empty());
    link.abandon();
    over = true;
  }
  void closed(control::Link&, control::Link::Ending) override { over = true; }
  void idle(control::Link&) override {}
  bool over = false;
};

void frames(const std::string& bytes) {
  int ends[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  {
    boost::asio::io_context context;
    boost::asio::ip::tcp::socket socket(context);
    socket.assign(boost::asio::ip::tcp::v4(), ends[0]);
    Owner owner;
    const auto link = std::make_shared<control::Link>(std::move(socket), owner, control::kBodyLimit);
    link->start();
    // A socket takes this much at once, and the other side only then goes away.
    require(::send(ends[1], bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()) || bytes.empty());
    ::shutdown(ends[1], SHUT_WR);
    for (int turn = 0; turn < 1000 && !owner.over; ++turn)
      if (context.poll() == 0) break;
    link->abandon();
    context.poll();
  }
  ::close(ends[1]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 64'000) return 0;
  // A copy of its own, so that reading one byte past the end is seen.
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] & 3) {
    case 0:
    case 1: frames(bytes); break;
    case 2: {
      const auto record = messages::unpack_record(bytes);
      if (!record) require(!record.error().message.empty());
      if (record) require(messages::unpack_record(messages::pack(*record)).has_value());
      break;
    }
    default: {
      const auto summary = messages::unpack_summary(bytes);
      if (!summary) require(!summary.error().message.empty());
      if (summary) require(messages::unpack_summary(messages::pack(*summary)).has_value());
      std::vector<float> model(7);
      if (const auto read = messages::unpack_model(bytes, model); !read) require(!read.error().message.empty());
    }
  }
  return 0;
}
