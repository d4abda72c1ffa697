// Texts over a stream socket between the two sides of a measurement, and how the other side is started.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace gossamer::bench {

class Talk {
 public:
  explicit Talk(int descriptor) : descriptor_(descriptor) {}

  bool send(const std::string& text);
  // Errors: timed_out after 20 s, peer_gone when the other side has ended.
  Result<std::string> receive();
  // Whether the other side has something to say, or has ended.
  bool has_news() const;

 private:
  int descriptor_;
};

// The other side of a measurement.  Ends, and is waited for, with this object.
class OtherSide {
 public:
  // This program again, as `gossamer bench COMMAND --serve WHAT`.
  static Result<std::unique_ptr<OtherSide>> process(const std::string& command, const std::string& what);
  // A thread that does this with the descriptor of its end.
  static Result<std::unique_ptr<OtherSide>> thread(std::function<void(int)> work);
  ~OtherSide();

  Talk& talk() { return talk_; }

 private:
  OtherSide(int own) : own_(own), talk_(own) {}

  FileDescriptor own_, theirs_;
  Talk talk_;
  pid_t process_ = -1;
  std::thread thread_;
};

// Runs a program to its end and returns its standard output.  Errors: unsupported when it is not installed; timed_out (then it
// has been killed); io with what it said when it fails.  `environment`: "NAME=value" over this process's.
class Program {
 public:
  static Result<Program> start(const std::vector<std::string>& words, const std::vector<std::string>& environment);
  Result<std::string> output(int deadline_s);
  ~Program();
  Program(Program&& other) noexcept
      : process_(std::exchange(other.process_, -1)), out_(std::move(other.out_)), name_(std::move(other.name_)) {}

 private:
  Program() = default;
  pid_t process_ = -1;
  FileDescriptor out_;
  std::string name_;
};

}  // namespace gossamer::bench
