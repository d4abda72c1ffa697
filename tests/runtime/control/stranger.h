// Somebody who speaks to a peer without being one.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "runtime/control/control.pb.h"
#include "runtime/control/link.h"

namespace gossamer::control {

// A plain socket to a peer's control port.
class Stranger {
 public:
  explicit Stranger(const std::string& address) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
      ADD_FAILURE() << "cannot connect";
  }
  ~Stranger() { ::close(fd_); }
  void say(const std::string& bytes) {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  void say(const wire::Frame& frame) { say(encode(frame)); }
  // The next frame; empty where no more comes.
  wire::Frame hear_frame() {
    unsigned char head[kFrameHeaderSize];
    wire::Frame frame;
    if (::recv(fd_, head, sizeof head, MSG_WAITALL) != static_cast<ssize_t>(sizeof head)) return frame;
    std::string body(head[4] | (std::size_t{head[5]} << 8) | (std::size_t{head[6]} << 16), '\0');
    if (::recv(fd_, body.data(), body.size(), MSG_WAITALL) != static_cast<ssize_t>(body.size()) ||
        !frame.ParseFromString(body))
      ADD_FAILURE() << "no whole frame";
    return frame;
  }
  // Everything that the peer says until it closes.
  std::string hear() {
    std::string heard;
    char buffer[4096];
    for (ssize_t got; (got = ::recv(fd_, buffer, sizeof buffer, 0)) > 0;)
      heard.append(buffer, static_cast<std::size_t>(got));
    return heard;
  }
  wire::Refusal refusal() {
    const std::string heard = hear();
    wire::Frame frame;
    if (heard.size() < kFrameHeaderSize || !frame.ParseFromString(heard.substr(kFrameHeaderSize)))
      ADD_FAILURE() << "the answer is no single frame (" << heard.size() << " bytes)";
    EXPECT_TRUE(frame.has_refusal());
    return frame.refusal();
  }

 private:
  int fd_;
};

}  // namespace gossamer::control
