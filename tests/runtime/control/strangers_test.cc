// Bytes that no peer sends: refused in words, and nobody else is disturbed.
#include "runtime/control/gathering.h"
#include "tests/runtime/control/fixture.h"
#include "tests/runtime/control/stranger.h"

namespace gossamer {
namespace {

using namespace control;

std::string header(std::uint32_t magic, std::uint32_t body, std::uint32_t payload) {
  std::string bytes;
  for (const std::uint32_t value : {magic, body, payload})
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>((value >> shift) & 0xff));
  return bytes;
}

std::string ping() {
  wire::Frame frame;
  frame.mutable_ping()->set_count(1);
  return encode(frame);
}

std::string hello(std::uint64_t run) {
  wire::Frame frame;
  frame.mutable_hello()->set_protocol(kProtocol);
  frame.mutable_hello()->set_run(run);
  frame.mutable_hello()->set_rank(1);
  return encode(frame);
}

struct Bad {
  const char* what;
  std::string bytes;
  const char* says;
};

const std::vector<Bad>& bad_ones() {
  static const std::vector<Bad> bad = {
      {"a browser", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1"},
      {"random bytes", std::string(4096, '\xa5'), "not those of a Gossamer peer"},
      {"an oversized frame", header(kMagic, 1u << 30, 0) + std::string(10000, 'x'), "a frame of 1073741824 bytes"},
      {"an oversized piece", header(kMagic, 2, 1u << 30) + std::string(10000, 'x'), "a piece of 1073741824 bytes"},
      {"a body that does not parse", header(kMagic, 4, 0) + "\xff\xff\xff\xff", "does not parse"},
      {"a message of the future", header(kMagic, 4, 0) + std::string("\xfa\x3e\x01\x41", 4), "does not know"},
      {"an empty frame", header(kMagic, 0, 0), "does not know"},
      {"a message out of turn", ping(), "neither Join nor Hello"},
      {"a payload behind a ping", header(kMagic, 2, 8) + std::string("\x42\x00", 2) + std::string(8, 'x'), "bytes behind"},
      {"a peer of another run", hello(99), "another run"},
  };
  return bad;
}

TEST(Strangers, AreRefusedInWordsWhileARunGoesOn) {
  Peers run(3);
  for (const Bad& bad : bad_ones()) {
    const std::uint64_t problems = run.log.problems();
    Stranger stranger(run[0].address());
    stranger.say(bad.bytes);
    const wire::Refusal refusal = stranger.refusal();
    EXPECT_NE(refusal.reason().find(bad.says), std::string::npos) << bad.what << ": " << refusal.reason();
    EXPECT_EQ(run.log.problems(), problems + 1) << bad.what;
  }
  in_parallel(3, [&](std::size_t i) {
    EXPECT_TRUE(run[i].barrier("undisturbed", kPlenty));
    EXPECT_TRUE(run[i].deaths().empty());
  });
}

TEST(Strangers, AreRefusedInWordsWhileTheRunGathers) {
  Log log = Log::silent();
  auto first = Control::start(test_options(2, 0), log);
  auto second = Control::start(test_options(2, 1, (*first)->address()), log);
  ASSERT_TRUE(first && second);
  std::thread collector([&] { EXPECT_TRUE((*first)->join("")); });
  for (const Bad& bad : bad_ones()) {
    Stranger stranger((*first)->address());
    stranger.say(bad.bytes);
    EXPECT_FALSE(stranger.refusal().reason().empty()) << bad.what;
  }
  EXPECT_TRUE((*second)->join(""));
  collector.join();
}

TEST(Strangers, ThatHangUpInTheMiddleOfAFrameDisturbNobody) {
  Peers run(2);
  const std::string whole = hello(1);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Stranger stranger(run[1].address());
    stranger.say(whole.substr(0, size));
  }
  in_parallel(2, [&](std::size_t i) { EXPECT_TRUE(run[i].barrier("undisturbed", kPlenty)); });
}

TEST(Strangers, WhoAnswersAJoinWithGarbageIsNoPeer) {
  // A rendezvous at which something else listens.
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  socklen_t size = sizeof at;
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size), 0);
  std::thread other([&] {
    const int fd = ::accept(listener, nullptr, nullptr);
    const std::string answer = "HTTP/1.1 400 Bad Request\r\n\r\n";
    EXPECT_GT(::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL), 0);
    char buffer[4096];
    while (::recv(fd, buffer, sizeof buffer, 0) > 0) {
    }
    ::close(fd);
  });
  Log log = Log::silent();
  auto control = Control::start(test_options(2, 1, "127.0.0.1:" + std::to_string(ntohs(at.sin_port))), log);
  ASSERT_TRUE(control);
  const auto roster = (*control)->join("");
  ASSERT_FALSE(roster);
  EXPECT_EQ(roster.error().code, Errc::corrupt);
  EXPECT_NE(roster.error().message.find("check the rendezvous"), std::string::npos) << roster.error().message;
  other.join();
  ::close(listener);
}

}  // namespace
}  // namespace gossamer
