// One TCP connection that carries frames.
//
//   frame := magic "GSC1" | u32 size of body | u32 size of payload | body (wire::Frame) | payload
//
// (little-endian).  Only a Chunk has a payload.  Nothing of a frame is believed before it is checked: a wrong
// magic, a size over its limit, a body that does not parse and a message that is not known each end
// in Owner::malformed(), and nothing more of that connection is read.
//
// Belongs to the thread that runs its io_context.  Callbacks come from there, never from inside a call, and none comes
// behind closed() or abandon().
#pragma once

#include <array>
#include <chrono>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "base/clock.h"
#include "runtime/control/control.pb.h"

namespace gossamer::control {

inline constexpr std::uint32_t kMagic = 0x31435347;  // "GSC1"
inline constexpr std::size_t kFrameHeaderSize = 12;
inline constexpr std::size_t kBodyLimit = std::size_t{128} << 10;        // of any frame,
inline constexpr std::size_t kRosterBodyLimit = std::size_t{256} << 20;  // except from the collector to a joiner
inline constexpr std::size_t kChunkSize = std::size_t{256} << 10;

// Header and body of a frame, ready to be sent.
std::string encode(const wire::Frame& frame, std::size_t payload_size = 0);

class Link : public std::enable_shared_from_this<Link> {
 public:
  enum class Ending : std::uint8_t { end_of_stream, reset };

  class Owner {
   public:
    virtual void frame(Link& link, wire::Frame& frame, std::string& payload) = 0;
    virtual void malformed(Link& link, const std::string& why) = 0;
    virtual void closed(Link& link, Ending how) = 0;
    // The write queue became empty.
    virtual void idle(Link& link) = 0;

   protected:
    ~Owner() = default;
  };

  Link(boost::asio::ip::tcp::socket socket, Owner& owner, std::size_t body_limit);

  void start();
  // Takes effect behind the frame that is being delivered.
  void pause() { paused_ = true; }
  void resume();

  void send(const wire::Frame& frame);
  // `bytes` is a part of `*keep`.
  void send(const wire::Frame& frame, std::shared_ptr<const std::string> keep, std::size_t offset, std::size_t size);
  bool writing() const { return !queue_.empty(); }

  // Sends what is queued, then says that no more comes, and waits up to `patience` for the other side to
  // do the same.  What it still sends is thrown away, or delivered as before.  Ends in closed().
  enum class Rest : std::uint8_t { ignored, delivered };
  void finish(Duration patience, Rest rest = Rest::ignored);
  bool finishing() const { return finishing_; }
  // Ends the connection now, without a callback.
  void abandon();

  // Of the other side and of this one; unspecified when the connection had ended before it was asked.
  const boost::asio::ip::tcp::endpoint& remote() const { return remote_; }
  const boost::asio::ip::tcp::endpoint& local() const { return local_; }

  // Who this is, as the owner knows; the link does not look at it.
  enum class Role : std::uint8_t { stranger, joiner, collector, inbound, outbound, former };
  Role role = Role::stranger;
  std::uint32_t peer = 0;
  std::chrono::steady_clock::time_point since;

 private:
  struct Outgoing {
    std::string head;
    std::shared_ptr<const std::string> keep;
    std::size_t offset = 0;
    std::size_t size = 0;
  };

  void read_header();
  void read_body();
  void read_payload();
  void deliver();
  void discard();
  void end_of_stream();
  void write();
  void shut_down();
  void close(Ending how);
  void refuse(const std::string& why);

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer patience_;
  Owner* owner_;
  const std::size_t body_limit_;
  boost::asio::ip::tcp::endpoint remote_;
  boost::asio::ip::tcp::endpoint local_;

  std::array<unsigned char, kFrameHeaderSize> header_{};
  std::array<char, 4096> scratch_{};
  std::string body_;
  std::string payload_;
  wire::Frame frame_;
  bool paused_ = false;
  bool waiting_ = false;  // nothing is being read since paused_
  bool broken_ = false;   // malformed: what follows cannot be understood
  bool ended_ = false;    // nothing more comes; last words are still being sent

  std::deque<Outgoing> queue_;
  bool finishing_ = false;
  bool ignoring_ = false;
  bool shut_down_ = false;
};

}  // namespace gossamer::control
