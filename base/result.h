// Errors as values.
//
// A function that can fail returns Result<T>: either the T or an Error that carries a code for
// programs and a sentence for people.  The sentence names the cause and, where there is one, the
// remedy.  On the data path, where a failure is ordinary (no credit, queue full), functions return
// a bare Errc and build no string.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace gossamer {

// Values appear in reports and decide the exit code of the command (docs/commands.md); do not reorder.
enum class [[nodiscard]] Errc {
  ok = 0,
  would_block = 1,       // nothing was started; make progress and try again
  invalid_argument = 2,  // the caller (a file, a flag, an option) asks for something that makes no sense
  not_found = 3,
  io = 4,              // the operating system refused: disk full, permission, short read
  corrupt = 5,         // bytes from outside that do not parse
  unsupported = 6,     // this build or this machine lacks what is asked for
  peer_gone = 7,       // the other side died, left, or stopped answering
  timed_out = 8,       // a deadline passed
  version = 9,         // the other side speaks another version or runs another run file
  address_in_use = 10,
  interrupted = 11,  // a signal asked this process to end
  diverged = 12,     // a value became NaN or infinite
  internal = 13,     // a bug in this program
};

std::string_view name(Errc code);

struct Error {
  Errc code = Errc::internal;
  std::string message;
};

template <class T = void>
using Result = tl::expected<T, Error>;

using Failure = tl::unexpected<Error>;

inline Failure fail(Errc code, std::string message) { return Failure(Error{code, std::move(message)}); }

// The same failure with a prefix that says what was being done.
inline Failure fail(std::string_view doing, const Error& error) {
  return Failure(Error{error.code, std::string(doing) + ": " + error.message});
}

// Returns from the enclosing function when `expression` (a Result) holds an error.
#define GOSSAMER_TRY(expression)                                                       \
  do {                                                                                 \
    if (auto&& gossamer_try = (expression); !gossamer_try)                             \
      return ::gossamer::Failure(std::forward<decltype(gossamer_try)>(gossamer_try).error()); \
  } while (false)

#define GOSSAMER_CONCAT_(a, b) a##b
#define GOSSAMER_CONCAT(a, b) GOSSAMER_CONCAT_(a, b)

// `GOSSAMER_TRY_ASSIGN(auto x, f())`: x becomes the value, or the enclosing function returns the error.
#define GOSSAMER_TRY_ASSIGN(declaration, expression) \
  GOSSAMER_TRY_ASSIGN_(GOSSAMER_CONCAT(gossamer_result_, __LINE__), declaration, expression)
#define GOSSAMER_TRY_ASSIGN_(temporary, declaration, expression)      \
  auto temporary = (expression);                                      \
  if (!temporary) return ::gossamer::Failure(std::move(temporary).error()); \
  declaration = std::move(*temporary)

}  // namespace gossamer
