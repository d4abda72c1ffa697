#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <utility>

namespace gossamer {
namespace {

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warn: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
    case LogLevel::off: return spdlog::level::off;
  }
  return spdlog::level::off;
}

std::string pattern(const std::string& who) {
  return who.empty() ? "%H:%M:%S.%e %-7l %v" : "%H:%M:%S.%e [" + who + "] %-7l %v";
}

}  // namespace

struct Log::Sink {
  std::string who;
  std::shared_ptr<spdlog::logger> logger;
};

Log::Log(std::string who, LogLevel least) : least_(least) {
  auto logger = std::make_shared<spdlog::logger>(who, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(spdlog::level::trace);
  logger->set_pattern(pattern(who));
  logger->flush_on(spdlog::level::info);
  sink_ = std::make_unique<Sink>(Sink{std::move(who), std::move(logger)});
}

Log Log::silent() { return Log("", LogLevel::off); }

Log::Log(Log&& other) noexcept
    : sink_(std::move(other.sink_)), least_(other.least_), problems_(other.problems_.load()) {}

Log::~Log() = default;

void Log::also_to_file(const std::string& path) {
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, true);
    sink_->logger->sinks().push_back(std::move(file));
    sink_->logger->set_pattern(pattern(sink_->who));
  } catch (const spdlog::spdlog_ex& e) {
    warn("cannot write the log file {}: {}", path, e.what());
  }
}

void Log::write(LogLevel level, const std::string& line) { sink_->logger->log(level_of(level), line); }

}  // namespace gossamer
