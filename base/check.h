// Checks of the program's own invariants.  They stay on in release builds: a gossip run that went on
// after a broken invariant would train a wrong model and say nothing.
//
// For anything that comes from outside (files, messages, flags) return an Error instead.
#pragma once

namespace gossamer {

[[noreturn]] void check_failed(const char* file, int line, const char* expression, const char* why) noexcept;

}  // namespace gossamer

#define GOSSAMER_CHECK(expression, why)                                                       \
  do {                                                                                        \
    if (!(expression)) [[unlikely]]                                                           \
      ::gossamer::check_failed(__FILE__, __LINE__, #expression, why);                         \
  } while (false)
