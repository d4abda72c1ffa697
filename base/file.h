// Whole files: read at once, or written so that a crash, a full disk or a second writer never leaves half of one.
//
// Errors say what was being done, to which file, why it failed and what helps.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gossamer {

// The whole file.  Errors: not_found; io; invalid_argument when it is a folder, or larger than `size_max`.
Result<std::string> read_file(const std::string& path, std::size_t size_max = std::size_t{1} << 32);

// A reader sees the old file or the new one, never a mixture, also after a power cut: the bytes go to a temporary
// file beside `path`, are flushed to the disk, and take the name in one step.  The temporary file is removed when
// anything fails.  Errors: io; not_found when the folder is missing; invalid_argument when `path` is something else
// than a plain file.
Result<> write_file_atomically(const std::string& path, std::string_view bytes);
Result<> write_file_atomically(const std::string& path, std::span<const std::byte> bytes);
// The pieces one after the other, so that a header need not be copied in front of a large vector.
Result<> write_file_atomically(const std::string& path, std::span<const std::string_view> pieces);

// Writes everything to an open descriptor, however many calls that takes.  `path` is for the message.
Result<> write_all(int descriptor, std::string_view bytes, const std::string& path);

// What the operating system said, as an Error: `doing` is "cannot write", `error` an errno.
Failure system_failure(std::string_view doing, const std::string& path, int error);

}  // namespace gossamer
