// What the trainer's tests share: files that live as long as a test, the digits, small made-up sets.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "trainer/data.h"

namespace gossamer {

// A folder of its own for one test, removed at its end.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "gossamer-trainer-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) std::abort();
    path_ = path;
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }

  // Writes a file and returns its path.
  std::string file(const std::string& name, std::string_view bytes) const {
    const std::string path = (path_ / name).string();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline DataOptions digits() {
  DataOptions options;
  options.format = "idx";
  options.images = GOSSAMER_EXAMPLES "/data/digits-images.idx3.gz";
  options.labels = GOSSAMER_EXAMPLES "/data/digits-labels.idx1.gz";
  options.scale = 1.0 / 16;
  return options;
}

// Normal features; labels 0 .. classes-1 in turn, or targets where classes is 0.  Each class has a centre of
// its own, so that there is something to learn.
inline Dataset made_up(std::size_t samples, std::size_t features, std::uint32_t classes,
                       std::uint64_t seed = 1) {
  Dataset set;
  set.name = "made-up";
  set.samples = samples;
  set.features = features;
  set.classes = classes;
  Random random(seed, Purpose::test);
  for (std::size_t i = 0; i < samples; ++i) {
    for (std::size_t f = 0; f < features; ++f)
      set.x.push_back(
          static_cast<float>(random.normal() + (classes != 0 && f % classes == i % classes ? 1.5 : 0)));
    if (classes == 0)
      set.targets.push_back(static_cast<float>(random.normal()));
    else
      set.labels.push_back(static_cast<std::int32_t>(i % classes));
  }
  for (std::uint32_t c = 0; c < classes; ++c) set.label_values.push_back(c);
  return set;
}

inline Split made_up_split(std::size_t samples, std::size_t features, std::uint32_t classes) {
  return {std::make_shared<const Dataset>(made_up(samples, features, classes, 1)),
          std::make_shared<const Dataset>(made_up(samples / 2, features, classes, 2))};
}

// All of it for one peer.
inline std::vector<std::uint32_t> everything(const Dataset& set) {
  std::vector<std::uint32_t> all(set.samples);
  for (std::uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  return all;
}

// EXPECTs that `result` failed with `code` and says each of `words`.
template <class R>
void expect_failure(const R& result, Errc code, std::initializer_list<std::string_view> words) {
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, code) << result.error().message;
  for (const std::string_view word : words)
    EXPECT_NE(result.error().message.find(word), std::string::npos)
        << "'" << word << "' is missing in: " << result.error().message;
}

}  // namespace gossamer
