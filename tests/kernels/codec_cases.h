// What the tests of codecs share: vectors to encode, layouts, and a payload with room around it.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/random.h"
#include "kernels/compressor.h"

namespace gossamer {

inline std::vector<float> normal_vector(std::size_t count, std::uint64_t seed = 1) {
  Random random(seed, Purpose::test, count);
  std::vector<float> x(count);
  for (float& value : x) value = static_cast<float>(random.normal());
  return x;
}

// Tensors of the lengths that break loops: one element, none, just below and above a word, several tiles.
inline Layout awkward_layout() {
  Layout layout;
  layout.add("bias", {1});
  layout.add("empty", {0});
  layout.add("seven", {7});
  layout.add("word", {4, 8});
  layout.add("word and one", {33});
  layout.add("tiles", {3, 100});
  layout.add("last", {31});
  return layout;
}

inline std::unique_ptr<Compressor> compressor(const CompressionOptions& options) {
  auto made = make_compressor(options);
  if (!made) throw std::runtime_error(made.error().message);
  return std::move(*made);
}

inline std::vector<std::byte> encoded(const Compressor& codec, std::span<const float> x, const Layout& layout,
                                      std::uint64_t seed = 1) {
  Stream stream;
  std::vector<std::byte> bytes(codec.capacity(layout));
  const auto used = codec.encode(stream, x, layout, seed, bytes);
  if (!used) throw std::runtime_error(used.error().message);
  bytes.resize(*used);
  return bytes;
}

inline std::vector<float> decoded(const Compressor& codec, std::span<const std::byte> bytes,
                                  const Layout& layout) {
  Stream stream;
  std::vector<float> x(layout.size());
  const auto done = codec.add_decoded(stream, bytes, layout, 1.0f, x);
  if (!done) throw std::runtime_error(done.error().message);
  return x;
}

inline std::vector<float> round_trip(const Compressor& codec, std::span<const float> x, const Layout& layout,
                                     std::uint64_t seed = 1) {
  return decoded(codec, encoded(codec, x, layout, seed), layout);
}

inline double squared(std::span<const float> x) {
  double sum = 0;
  for (float value : x) sum += static_cast<double>(value) * value;
  return sum;
}

inline double squared_error(std::span<const float> x, std::span<const float> y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    sum += (static_cast<double>(x[i]) - y[i]) * (static_cast<double>(x[i]) - y[i]);
  return sum;
}

inline bool same_bits(std::span<const float> x, std::span<const float> y) {
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size_bytes()) == 0);
}

template <class T>
T word_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class T>
std::vector<std::byte> with_word(std::vector<std::byte> bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  return bytes;
}

// Decodes onto zeros; the sentence of the refusal, or "accepted".
inline std::string verdict(const Compressor& codec, std::span<const std::byte> bytes, const Layout& layout) {
  Stream stream;
  std::vector<float> target(layout.size());
  const auto done = codec.add_decoded(stream, bytes, layout, 1.0f, target);
  if (done) return "accepted";
  EXPECT_EQ(squared(target), 0) << "refused, yet written";
  return done.error().message;
}

#define EXPECT_REFUSED(codec, bytes, layout, why) \
  EXPECT_NE(verdict(codec, bytes, layout).find(why), std::string::npos) << verdict(codec, bytes, layout)

}  // namespace gossamer
