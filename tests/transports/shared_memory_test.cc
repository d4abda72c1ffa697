// Memory shared between processes: what the owner writes is seen, and no handle from outside can hurt.
#include "transports/shared_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <thread>

#include "tests/transports/pipe_messages.h"

namespace gossamer::testing {
namespace {

constexpr std::size_t kSize = 100'001;

SharedMemory create(std::size_t size = kSize) {
  auto memory = SharedMemory::create(size);
  EXPECT_TRUE(memory) << memory.error().message;
  return memory ? std::move(*memory) : SharedMemory();
}

Errc refused(const SharedHandle& handle) {
  const auto opened = SharedMemory::open(handle);
  EXPECT_FALSE(opened);
  if (opened) return Errc::ok;
  EXPECT_FALSE(opened.error().message.empty());
  return opened.error().code;
}

std::size_t descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

// A file of this process as a handle that tells the truth about it.
SharedHandle handle_of(int descriptor) {
  struct stat about {};
  EXPECT_EQ(::fstat(descriptor, &about), 0);
  return {static_cast<std::uint64_t>(::getpid()), static_cast<std::uint64_t>(descriptor), about.st_dev, about.st_ino,
          static_cast<std::uint64_t>(about.st_size)};
}

// A process that owns memory, says its handle, and stays until it is killed.
class Owner {
 public:
  Owner() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::alarm(60);
      auto memory = SharedMemory::create(kSize);
      if (!memory) ::_exit(1);
      memory->bytes()[kSize - 1] = std::byte{42};
      (void)write_all(ends[1], &memory->handle(), sizeof(SharedHandle));
      for (;;) ::pause();
    }
    ::close(ends[1]);
    EXPECT_TRUE(read_all(ends[0], &handle, sizeof handle));
    ::close(ends[0]);
  }
  ~Owner() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }
  SharedHandle handle;

 private:
  pid_t pid_ = -1;
};

TEST(SharedMemory, OfOneProcessIsZeroedAndHasNoHandle) {
  const std::size_t before = descriptors();
  auto memory = SharedMemory::create_unshared(std::size_t{5} << 20);  // large enough for large pages
  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_EQ(descriptors(), before) << "there is no file";
  const auto bytes = memory->bytes();
  ASSERT_EQ(bytes.size(), std::size_t{5} << 20);
  EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; }));
  bytes.back() = std::byte{7};
  EXPECT_EQ(memory->handle().size, 0u);
  EXPECT_EQ(refused(memory->handle()), Errc::corrupt);
  const SharedMemory moved = std::move(*memory);
  EXPECT_TRUE(memory->bytes().empty());
  EXPECT_EQ(moved.bytes().back(), std::byte{7});
}

TEST(SharedMemory, OfOneProcessThatTheMachineDoesNotHaveIsRefusedInWords) {
  EXPECT_EQ(SharedMemory::create_unshared(0).error().code, Errc::invalid_argument);
  const auto memory = SharedMemory::create_unshared(std::size_t{1} << 62);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, Errc::io);
  EXPECT_NE(memory.error().message.find("limits that matter"), std::string::npos) << memory.error().message;
}

TEST(SharedMemory, IsZeroedAndBothSidesSeeWhatTheOtherWrites) {
  const SharedMemory mine = create();
  ASSERT_EQ(mine.bytes().size(), kSize);
  EXPECT_TRUE(std::ranges::all_of(mine.bytes(), [](std::byte byte) { return byte == std::byte{0}; }));
  const auto yours = SharedMemory::open(mine.handle());
  ASSERT_TRUE(yours) << yours.error().message;
  ASSERT_EQ(yours->bytes().size(), kSize);
  EXPECT_NE(yours->bytes().data(), mine.bytes().data());
  yours->bytes()[kSize - 1] = std::byte{1};
  mine.bytes()[0] = std::byte{2};
  EXPECT_EQ(mine.bytes()[kSize - 1], std::byte{1});
  EXPECT_EQ(yours->bytes()[0], std::byte{2});
}

TEST(SharedMemory, OfAnotherProcessStaysGoodWhenItDies) {
  Owner owner;
  const auto memory = SharedMemory::open(owner.handle);
  ASSERT_TRUE(memory) << memory.error().message;
  owner.kill();
  EXPECT_EQ(memory->bytes()[kSize - 1], std::byte{42});
  memory->bytes()[0] = std::byte{7};
  EXPECT_EQ(memory->bytes()[0], std::byte{7});
}

TEST(SharedMemory, OfADeadProcessIsNamedAsGone) {
  Owner owner;
  owner.kill();
  EXPECT_EQ(refused(owner.handle), Errc::peer_gone);
}

TEST(SharedMemory, ThatWasClosedIsGoneOrNotTheOneThatWasMeant) {
  const SharedHandle handle = create().handle();
  EXPECT_EQ(refused(handle), Errc::peer_gone);
  const SharedMemory other = create();  // takes the descriptor
  ASSERT_EQ(other.handle().descriptor, handle.descriptor);
  EXPECT_EQ(refused(handle), Errc::corrupt);
}

TEST(SharedMemory, NoLieInAHandleIsBelieved) {
  const SharedMemory memory = create();
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{kSize - 1}, std::uint64_t{kSize + 1}, std::uint64_t{1} << 40,
                                   std::numeric_limits<std::uint64_t>::max()}) {
    SharedHandle lie = memory.handle();
    lie.size = size;
    EXPECT_EQ(refused(lie), Errc::corrupt) << size;
  }
  SharedHandle lie = memory.handle();
  ++lie.inode;
  EXPECT_EQ(refused(lie), Errc::corrupt);
  lie = memory.handle();
  ++lie.device;
  EXPECT_EQ(refused(lie), Errc::corrupt);
  lie = memory.handle();
  lie.process = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(refused(lie), Errc::peer_gone);
  lie = memory.handle();
  lie.descriptor = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(refused(lie), Errc::peer_gone);
}

TEST(SharedMemory, AFileThatCouldShrinkUnderItsReaderIsRefused) {
  const int file = ::memfd_create("shrinks", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(::ftruncate(file, kSize), 0);
  EXPECT_EQ(refused(handle_of(file)), Errc::corrupt);
  ::close(file);
  const SharedMemory sealed = create();
  EXPECT_NE(::ftruncate(static_cast<int>(sealed.handle().descriptor), 1), 0);
}

TEST(SharedMemory, WhatIsNoSharedMemoryIsRefusedUnopened) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  SharedHandle handle = handle_of(ends[1]);
  handle.size = 1;
  EXPECT_EQ(refused(handle), Errc::corrupt);
  ::close(ends[0]);
  ::close(ends[1]);
  const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  EXPECT_NE(refused(handle_of(file)), Errc::ok);
  ::close(file);
}

TEST(SharedMemory, OfAnotherUserIsNotAllowed) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const SharedMemory memory = create();
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(2);
    const auto opened = SharedMemory::open(memory.handle());
    ::_exit(!opened && opened.error().code == Errc::unsupported ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(SharedMemory, MoreThanTheMachineHasIsAnErrorAndNotACrash) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1} << 62, std::numeric_limits<std::size_t>::max()})
    EXPECT_FALSE(SharedMemory::create(size)) << size;
}

TEST(SharedMemory, LeavesNoDescriptorBehind) {
  const std::size_t before = descriptors();
  {
    const SharedMemory memory = create();
    const auto opened = SharedMemory::open(memory.handle());
    EXPECT_EQ(descriptors(), before + 1) << "the mapping needs none";
    SharedHandle lie = memory.handle();
    ++lie.size;
    (void)refused(lie);
    SharedMemory moved = create();
    moved = create();
    EXPECT_EQ(moved.bytes().size(), kSize);
  }
  EXPECT_EQ(descriptors(), before);
}

}  // namespace
}  // namespace gossamer::testing
