// Lines for people.
//
// A Log is handed to whoever has something to say; there is no global one.  Thread safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <fmt/core.h>
#include <memory>
#include <string>
#include <string_view>

namespace gossamer {

enum class LogLevel : std::uint8_t { debug = 0, info = 1, warn = 2, error = 3, off = 4 };

class Log {
 public:
  // Lines go to standard error as "hh:mm:ss.mmm [peer 3] warn  text"; `who` is the bracketed part and may be empty.
  explicit Log(std::string who, LogLevel least = LogLevel::info);
  // A log that writes nothing and still counts; for tests and the simulator.
  static Log silent();
  Log(Log&&) noexcept;
  ~Log();

  // Also append every line to this file.  The file is created; failure is reported on standard error.
  void also_to_file(const std::string& path);

  template <class... A>
  void debug(fmt::format_string<A...> text, A&&... a) { say(LogLevel::debug, text, a...); }
  template <class... A>
  void info(fmt::format_string<A...> text, A&&... a) { say(LogLevel::info, text, a...); }
  template <class... A>
  void warn(fmt::format_string<A...> text, A&&... a) { say(LogLevel::warn, text, a...); }
  template <class... A>
  void error(fmt::format_string<A...> text, A&&... a) { say(LogLevel::error, text, a...); }

  // Lines said at warn or above; a test that expects none checks this.
  std::uint64_t problems() const { return problems_.load(std::memory_order_relaxed); }
  bool enabled(LogLevel level) const { return level >= least_; }

 private:
  template <class... A>
  void say(LogLevel level, fmt::string_view text, const A&... a) {
    if (level >= LogLevel::warn) problems_.fetch_add(1, std::memory_order_relaxed);
    if (enabled(level)) write(level, fmt::vformat(text, fmt::make_format_args(a...)));
  }
  void write(LogLevel level, const std::string& line);

  struct Sink;
  std::unique_ptr<Sink> sink_;
  LogLevel least_;
  std::atomic<std::uint64_t> problems_{0};
};

}  // namespace gossamer
