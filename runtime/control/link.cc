#include "runtime/control/link.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cctype>
#include <cstring>

#include "base/check.h"

namespace gossamer::control {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

void put_u32(std::string& to, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) to.push_back(static_cast<char>((value >> shift) & 0xff));
}

std::uint32_t get_u32(const unsigned char* from) {
  return from[0] | (std::uint32_t{from[1]} << 8) | (std::uint32_t{from[2]} << 16) | (std::uint32_t{from[3]} << 24);
}

// The first bytes of a stranger, fit for a log line.
std::string readable(const unsigned char* from, std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += std::isprint(from[i]) != 0 ? static_cast<char>(from[i]) : '.';
  return text;
}

}  // namespace

std::string encode(const wire::Frame& frame, std::size_t payload_size) {
  std::string bytes;
  const std::size_t body = frame.ByteSizeLong();
  bytes.reserve(kFrameHeaderSize + body);
  put_u32(bytes, kMagic);
  put_u32(bytes, static_cast<std::uint32_t>(body));
  put_u32(bytes, static_cast<std::uint32_t>(payload_size));
  frame.AppendToString(&bytes);
  return bytes;
}

Link::Link(asio::ip::tcp::socket socket, Owner& owner, std::size_t body_limit)
    : socket_(std::move(socket)), patience_(socket_.get_executor()), owner_(&owner), body_limit_(body_limit) {
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  error_code gone;
  remote_ = socket_.remote_endpoint(gone);
  local_ = socket_.local_endpoint(gone);
}

void Link::start() { read_header(); }

void Link::resume() {
  if (!paused_) return;
  paused_ = false;
  if (waiting_) {
    waiting_ = false;
    read_header();
  }
}

void Link::read_header() {
  if (owner_ == nullptr) return;
  if (ignoring_ || broken_) return discard();
  if (paused_) {
    waiting_ = true;
    return;
  }
  asio::async_read(socket_, asio::buffer(header_), [self = shared_from_this()](error_code error, std::size_t got) {
    if (self->owner_ == nullptr) return;
    if (error == asio::error::eof && got == 0) return self->end_of_stream();
    if (error) return self->close(Ending::reset);
    self->read_body();
  });
}

void Link::read_body() {
  if (ignoring_) return discard();
  const std::uint32_t magic = get_u32(header_.data());
  const std::size_t body = get_u32(header_.data() + 4);
  const std::size_t payload = get_u32(header_.data() + 8);
  if (magic != kMagic)
    return refuse("its bytes (\"" + readable(header_.data(), header_.size()) + "\") are not those of a Gossamer peer");
  if (body > body_limit_)
    return refuse("a frame of " + std::to_string(body) + " bytes, where " + std::to_string(body_limit_) + " are allowed");
  if (payload > kChunkSize)
    return refuse("a piece of " + std::to_string(payload) + " bytes, where " + std::to_string(kChunkSize) + " are allowed");
  body_.resize(body);
  payload_.resize(payload);
  asio::async_read(socket_, asio::buffer(body_), [self = shared_from_this()](error_code error, std::size_t) {
    if (self->owner_ == nullptr) return;
    if (error) return self->close(Ending::reset);
    self->read_payload();
  });
}

void Link::read_payload() {
  if (ignoring_) return discard();
  if (!frame_.ParseFromString(body_)) return refuse("a frame that does not parse");
  if (frame_.message_case() == wire::Frame::MESSAGE_NOT_SET)
    return refuse("a message that this version does not know; do all peers run the same version?");
  if (!payload_.empty() && !frame_.has_chunk()) return refuse("bytes behind a message that has none");
  if (payload_.empty()) return deliver();
  asio::async_read(socket_, asio::buffer(payload_), [self = shared_from_this()](error_code error, std::size_t) {
    if (self->owner_ == nullptr) return;
    if (error) return self->close(Ending::reset);
    self->deliver();
  });
}

void Link::deliver() {
  if (!ignoring_) owner_->frame(*this, frame_, payload_);
  read_header();
}

// Reads to the end and forgets: closing with unread bytes would reset the connection, and the last words that we
// sent might never be read.
void Link::discard() {
  socket_.async_read_some(asio::buffer(scratch_), [self = shared_from_this()](error_code error, std::size_t) {
    if (self->owner_ == nullptr) return;
    if (error == asio::error::eof) return self->end_of_stream();
    if (error) return self->close(Ending::reset);
    self->discard();
  });
}

// The other side says no more, but may still read our last words.
void Link::end_of_stream() {
  ended_ = true;
  if (!finishing_ || queue_.empty()) close(Ending::end_of_stream);
}

void Link::refuse(const std::string& why) {
  broken_ = true;
  owner_->malformed(*this, why);
  read_header();  // discards
}

void Link::send(const wire::Frame& frame) {
  if (owner_ == nullptr || finishing_) return;
  queue_.push_back({encode(frame), nullptr, 0, 0});
  if (queue_.size() == 1) write();
}

void Link::send(const wire::Frame& frame, std::shared_ptr<const std::string> keep, std::size_t offset, std::size_t size) {
  if (owner_ == nullptr || finishing_) return;
  GOSSAMER_CHECK(size <= kChunkSize && offset + size <= keep->size(), "a piece lies inside its message");
  queue_.push_back({encode(frame, size), std::move(keep), offset, size});
  if (queue_.size() == 1) write();
}

void Link::write() {
  const Outgoing& next = queue_.front();
  const std::array<asio::const_buffer, 2> buffers{
      asio::buffer(next.head), next.keep ? asio::buffer(next.keep->data() + next.offset, next.size) : asio::const_buffer()};
  asio::async_write(socket_, buffers, [self = shared_from_this()](error_code error, std::size_t) {
    if (self->owner_ == nullptr) return;
    // The reader notices, too, and may find last words of the other side that say why.
    if (error) {
      self->queue_.clear();
      if (self->ended_) self->close(Ending::reset);
      return;
    }
    self->queue_.pop_front();
    if (!self->queue_.empty()) return self->write();
    if (self->ended_) return self->close(Ending::end_of_stream);
    if (self->finishing_) return self->shut_down();
    self->owner_->idle(*self);
  });
}

void Link::finish(Duration patience, Rest rest) {
  if (owner_ == nullptr || ignoring_) return;
  ignoring_ = rest == Rest::ignored;
  paused_ = false;
  if (!finishing_) {
    finishing_ = true;
    if (queue_.empty()) shut_down();
  }
  patience_.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(patience));
  patience_.async_wait([self = shared_from_this()](error_code error) {
    if (!error && self->owner_ != nullptr) self->close(Ending::reset);
  });
  if (waiting_) {
    waiting_ = false;
    read_header();
  }
}

void Link::shut_down() {
  if (shut_down_) return;
  shut_down_ = true;
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

void Link::close(Ending how) {
  Owner* owner = owner_;
  if (owner == nullptr) return;
  const auto self = shared_from_this();
  abandon();
  owner->closed(*this, how);
}

void Link::abandon() {
  owner_ = nullptr;
  error_code ignored;
  patience_.cancel();
  socket_.close(ignored);
  queue_.clear();
}

}  // namespace gossamer::control
