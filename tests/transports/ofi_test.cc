// What is libfabric's alone: what its shm leaves behind.
#include "transports/ofi.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "tests/transports/fabric_harness.h"

namespace gossamer::testing {
namespace {

namespace fs = std::filesystem;

// Of this process's endpoints: NUMBER:USER:COUNT, each with the next count.
std::set<std::string> own_segments() {
  std::set<std::string> names;
  for (const auto& file : fs::directory_iterator("/dev/shm"))
    if (const std::string name = file.path().filename(); name.starts_with(std::to_string(::getpid()) + ':')) names.insert(name);
  return names;
}

Result<std::unique_ptr<Fabric>> make_shm() { return make_ofi({.provider = "shm"}); }

TEST(OfiShm, StartsWhereAKilledProcessOfTheSameNumberWas) {
  auto first = make_shm();
  if (!first) GTEST_SKIP() << first.error().message;
  const std::set<std::string> names = own_segments();
  if (names.empty()) GTEST_SKIP() << "this libfabric keeps no memory of shm under the number of the process";
  ASSERT_EQ(names.size(), 1u);
  const std::string name = *names.begin(), stem = name.substr(0, name.rfind(':') + 1);
  const int count = std::stoi(name.substr(stem.size()));
  // As if it had been killed long ago, or in the very moment.
  const std::string whole = "/dev/shm/" + stem + std::to_string(count + 1), begun = "/dev/shm/" + stem + std::to_string(count + 2);
  fs::copy_file("/dev/shm/" + name, whole);
  std::ofstream(begun).close();
  {
    auto second = make_shm(), third = make_shm();
    ASSERT_TRUE(second) << second.error().message;
    ASSERT_TRUE(third) << third.error().message;
    EXPECT_EQ(own_segments().size(), 3u) << "these are not their names: the test knows this libfabric's no more";
    Side a{std::move(*second), {}}, b{std::move(*third), {}};
    auto link = a.fabric->connect(b.fabric->address());
    ASSERT_TRUE(link) << link.error().message;
    ASSERT_EQ((*link)->notify(as_notice(7)), Errc::ok);
    EXPECT_TRUE(wait_until({&a, &b}, [&] { return b.events.notices.size() == 1; }));
  }
  EXPECT_EQ(own_segments().size(), 1u) << "what goes in order leaves nothing";
}

}  // namespace
}  // namespace gossamer::testing
