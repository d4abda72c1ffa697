#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

namespace gossamer {
namespace {

class File : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "gossamer-file-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const char* name) const { return folder_ + "/" + name; }
  std::size_t entries(const std::string& folder) const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
    return count;
  }

  std::string folder_;
};

TEST_F(File, WhatWasWrittenIsReadBackAndReplacesTheOldFile) {
  const std::string bytes("a\0b\n", 4), long_bytes(300'000, 'x');
  ASSERT_TRUE(write_file_atomically(path("f"), std::string_view("old")));
  ASSERT_TRUE(write_file_atomically(path("f"), std::string_view(bytes)));
  EXPECT_EQ(read_file(path("f")).value(), bytes);
  ASSERT_TRUE(write_file_atomically(path("f"), std::string_view(long_bytes)));
  EXPECT_EQ(read_file(path("f")).value(), long_bytes);
  ASSERT_TRUE(write_file_atomically(path("f"), std::string_view()));
  EXPECT_EQ(read_file(path("f")).value(), "");
  EXPECT_EQ(entries(folder_), 1u) << "a temporary file was left behind";
}

TEST_F(File, AReaderNeverSeesHalfAFile) {
  const std::string a(200'000, 'a'), b(100'000, 'b');
  ASSERT_TRUE(write_file_atomically(path("f"), std::string_view(a)));
  std::jthread writer([&] {
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(write_file_atomically(path("f"), std::string_view(i % 2 ? a : b)));
  });
  for (int i = 0; i < 40; ++i) {
    const auto seen = read_file(path("f"));
    ASSERT_TRUE(seen);
    ASSERT_TRUE(*seen == a || *seen == b) << seen->size();
  }
}

TEST_F(File, ErrorsNameTheFileTheCauseAndTheRemedy) {
  const auto missing = read_file(path("missing"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_EQ(missing.error().message, "cannot read " + path("missing") + ": no such file or folder; check the path");
  EXPECT_EQ(read_file(folder_).error().code, Errc::invalid_argument);
  ASSERT_TRUE(write_file_atomically(path("f"), std::string_view("12345")));
  EXPECT_EQ(read_file(path("f"), 4).error().code, Errc::invalid_argument);
  EXPECT_TRUE(read_file(path("f"), 5));
  EXPECT_EQ(write_file_atomically(path("none/f"), std::string_view("x")).error().code, Errc::not_found);
  EXPECT_EQ(write_file_atomically(folder_, std::string_view("x")).error().code, Errc::invalid_argument);
  EXPECT_EQ(write_file_atomically(path("f/g"), std::string_view("x")).error().code, Errc::not_found);
}

TEST_F(File, ADeviceIsNotReplacedByAFile) {
  EXPECT_EQ(write_file_atomically("/dev/null", std::string_view("x")).error().code, Errc::invalid_argument);
  struct stat about {};
  ASSERT_EQ(::stat("/dev/null", &about), 0);
  EXPECT_TRUE(S_ISCHR(about.st_mode));
}

TEST_F(File, AFullDeviceIsAnErrorInWords) {
  const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  if (full < 0) GTEST_SKIP() << "this machine has no /dev/full";
  const auto written = write_all(full, "x", "/dev/full");
  ::close(full);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::io);
  EXPECT_EQ(written.error().message, "cannot write /dev/full: the disk is full; free some space or write elsewhere");
}

TEST_F(File, AFullDiskKeepsTheOldFileAndLeavesNoRest) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to mount a small file system";
  const std::string mounted = path("small");
  std::filesystem::create_directory(mounted);
  if (::mount("tmpfs", mounted.c_str(), "tmpfs", 0, "size=64k") != 0) GTEST_SKIP() << "cannot mount a tmpfs here";
  const std::string target = mounted + "/f";
  EXPECT_TRUE(write_file_atomically(target, std::string_view("old")));
  const auto written = write_file_atomically(target, std::string_view(std::string(1 << 20, 'x')));
  const auto kept = read_file(target);
  const std::size_t left = entries(mounted);
  ::umount(mounted.c_str());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::io);
  EXPECT_NE(written.error().message.find("the disk is full"), std::string::npos) << written.error().message;
  EXPECT_EQ(kept.value_or("gone"), "old");
  EXPECT_EQ(left, 1u);
}

}  // namespace
}  // namespace gossamer
