#include "tests/kernels/device_cases.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "base/random.h"
#include "kernels/device/codecs.h"
#include "kernels/device/vector.h"
#include "kernels/vector.h"
#include "tests/kernels/awkward.h"

namespace gossamer {
namespace {

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
void must(Result<> result) {
  if (!result) throw std::runtime_error(result.error().message);
}

// A vector on the device, `shift` elements off alignment, with a guard behind it.
template <class T>
class OnDevice {
 public:
  OnDevice(DeviceStream& stream, const std::vector<T>& values, std::size_t shift)
      : stream_(stream), memory_(must(DeviceBuffer<T>::make(stream, shift + values.size() + kGuard))), shift_(shift), count_(values.size()) {
    std::vector<T> all(values);
    all.resize(count_ + kGuard, T(77));
    stream.upload(all.data(), memory_.data() + shift, all.size() * sizeof(T));
  }
  std::span<T> span() const { return memory_.span().subspan(shift_, count_); }
  std::vector<T> back() const {
    std::vector<T> all(count_ + kGuard);
    stream_.download(memory_.data() + shift_, all.data(), all.size() * sizeof(T));
    must(stream_.finish());
    for (std::size_t i = count_; i < all.size(); ++i)
      if (all[i] != T(77)) throw std::runtime_error("written past the end");
    all.resize(count_);
    return all;
  }

 private:
  static constexpr std::size_t kGuard = 64;
  DeviceStream& stream_;
  DeviceBuffer<T> memory_;
  std::size_t shift_, count_;
};

template <class T>
std::string difference(const char* what, const std::vector<T>& got, const std::vector<T>& expected) {
  if (got.size() != expected.size()) return std::string(what) + ": another length";
  for (std::size_t i = 0; i < got.size(); ++i)
    if (std::memcmp(&got[i], &expected[i], sizeof(T)) != 0) return std::string(what) + ": differs at " + std::to_string(i);
  return {};
}

std::vector<Layout> layouts() {
  std::vector<Layout> all;
  for (const std::size_t n : {0u, 1u, 3u, 31u, 127u, 128u, 255u, 256u, 257u, 511u, 513u, 1024u, 1100u, 4096u, 4097u, 9001u}) all.push_back(Layout::flat(n));
  Layout tensors;
  for (const std::size_t n : {1u, 0u, 7u, 32u, 33u, 300u, 31u, 256u, 512u, 1024u, 2u, 768u, 9000u}) tensors.add("t" + std::to_string(n), {n});
  all.push_back(tensors);
  Layout matrices;  // tall, wide, square and of many dimensions; more rows than are added at once, and rows longer than a sum's part
  for (const auto& shape : std::vector<std::vector<std::size_t>>{{24, 10}, {5}, {10, 24}, {3, 100}, {0, 4}, {200, 33}, {1, 9}, {65, 64}, {2, 5, 3, 7}, {4, 4500}, {4500, 5}, {30, 30}})
    matrices.add("m" + std::to_string(matrices.size()), shape);
  all.push_back(matrices);
  return all;
}

struct Codecs {
  explicit Codecs(const CompressionOptions& options) : host(must(make_compressor(options))), device(must(make_device_compressor(options))) {}
  std::unique_ptr<Compressor> host, device;
};

// Encodes one vector in all three ways on both.
std::string encodes_alike(DeviceStream& stream, const Codecs& codecs, const Layout& layout, const std::vector<float>& x,
                          const std::vector<float>& memory, std::size_t shift) {
  for (const EncodeOf source : {EncodeOf::plain, EncodeOf::difference, EncodeOf::feedback}) {
    const std::size_t capacity = codecs.host->capacity(layout);
    std::vector<std::byte> bytes(capacity);
    std::vector<float> old = memory, seen(x.size(), 5.0f);
    const OnDevice<float> x_there(stream, x, shift), old_there(stream, memory, shift), seen_there(stream, seen, shift);
    const OnDevice<std::byte> bytes_there(stream, bytes, shift);
    Stream here;
    const auto encode = [&](const Compressor& codec, Stream& on, std::span<const float> of, std::span<float> m, std::span<float> s, std::span<std::byte> to) {
      return source == EncodeOf::plain        ? codec.encode(on, of, layout, 7, to)
             : source == EncodeOf::difference ? codec.encode_difference(on, of, m, layout, 7, to)
                                              : codec.encode_feedback(on, of, m, layout, 7, s, to);
    };
    const auto expected = encode(*codecs.host, here, x, old, seen, bytes);
    const auto got = encode(*codecs.device, stream, x_there.span(), old_there.span(), seen_there.span(), bytes_there.span());
    const std::string which = "source " + std::to_string(static_cast<int>(source)) + ", n " + std::to_string(x.size()) + ", shift " + std::to_string(shift) + ": ";
    if (expected.has_value() != got.has_value()) return which + (got ? "encoded what the host refuses: " + expected.error().message : "refused: " + got.error().message);
    if (!expected) {
      if (got.error().code != expected.error().code || got.error().message != expected.error().message)
        return which + "refused with '" + got.error().message + "', the host with '" + expected.error().message + "'";
      const auto left = old_there.back();
      for (std::size_t i = 0; i < left.size(); ++i)
        if (std::isfinite(old[i]) && !std::isfinite(left[i])) return which + "what was refused spread";
      continue;
    }
    if (*expected != *got) return which + "used " + std::to_string(*got) + " bytes, not " + std::to_string(*expected);
    bytes.resize(*expected);
    auto bytes_back = bytes_there.back();
    bytes_back.resize(*expected);
    for (const std::string& found : {difference("payload", bytes_back, bytes), difference("memory", old_there.back(), old), difference("seen", seen_there.back(), seen)})
      if (!found.empty()) return which + found;
  }
  return {};
}

std::string encodes_alike_everywhere(DeviceStream& stream, const CompressionOptions& options) {
  const Codecs codecs(options);
  for (const Layout& layout : layouts())
    for (std::size_t kind = 0; kind < kAwkwardKinds; ++kind) {
      // The bound keeps differences encodable: of several elements too large the device names the largest, the host the
      // largest of the first tensor that has one.
      const auto x = awkward_vector(layout.size(), kind, 1, 0x1p119f), memory = awkward_vector(layout.size(), kind, 2, 0x1p119f);
      if (auto found = encodes_alike(stream, codecs, layout, x, memory, kind % 2); !found.empty()) return "kind " + std::to_string(kind) + ", " + found;
    }
  return {};
}

std::string refuses_alike(DeviceStream& stream, const CompressionOptions& options) {
  const Codecs codecs(options);
  const Layout layout = layouts().back();
  const std::vector<float> memory = awkward_vector(layout.size(), 0, 2);
  for (const float bad : {std::nanf(""), -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::max()})
    for (const std::size_t at : {std::size_t{0}, std::size_t{9}, std::size_t{400}, std::size_t{2000}, layout.size() - 1}) {
      auto x = awkward_vector(layout.size(), 0, 1);
      x[at] = bad;
      if (auto found = encodes_alike(stream, codecs, layout, x, memory, 0); !found.empty()) return found;
    }
  return {};
}

// Decodes with both and compares all that a target may write, and what is said.
std::string decodes_alike(DeviceStream& stream, const Codecs& codecs, const Layout& layout, const std::vector<std::vector<std::byte>>& payloads,
                          DecodeTo target, std::size_t shift) {
  const std::size_t n = layout.size();
  const bool follow = target == DecodeTo::follow, wide = target == DecodeTo::wide;
  std::vector<float> out = wide ? std::vector<float>() : awkward_vector(n, 0, 3), sum = follow ? awkward_vector(n, 0, 4) : std::vector<float>();
  const std::vector<float> own = follow || target == DecodeTo::difference ? awkward_vector(n, 0, 5) : std::vector<float>();
  std::vector<double> totals(wide ? n : 0, 0.25);
  const std::vector<float> before = out;

  std::vector<OnDevice<std::byte>> bytes_there;
  std::vector<WeightedPayload> here_payloads, there_payloads;
  for (std::size_t p = 0; p < payloads.size(); ++p) bytes_there.emplace_back(stream, payloads[p], shift);
  for (std::size_t p = 0; p < payloads.size(); ++p) {
    const float weight = 0.5f - 0.125f * static_cast<float>(p);
    here_payloads.push_back({payloads[p], weight});
    there_payloads.push_back({bytes_there[p].span(), weight});
  }
  const OnDevice<float> out_there(stream, out, shift), sum_there(stream, sum, shift), own_there(stream, own, shift);
  const OnDevice<double> wide_there(stream, totals, shift);
  Stream here;
  const auto expected = codecs.host->decode(here, here_payloads, layout, {.target = target, .out = out, .own = own, .sum = sum, .wide = totals, .wide_weight = 1.0 / 3});
  const auto got = codecs.device->decode(stream, there_payloads, layout,
                                         {.target = target, .out = out_there.span(), .own = own_there.span(), .sum = sum_there.span(), .wide = wide_there.span(), .wide_weight = 1.0 / 3});
  const std::string which = "target " + std::to_string(static_cast<int>(target)) + ", n " + std::to_string(n) + ", payloads " + std::to_string(payloads.size()) + ": ";
  if (expected.has_value() != got.has_value()) return which + (got ? "took what the host refuses: " + expected.error().message : "refused: " + got.error().message);
  if (!expected) {
    if (got.error().code != expected.error().code || got.error().message != expected.error().message)
      return which + "refused with '" + got.error().message + "', the host with '" + expected.error().message + "'";
    const bool written_over = target == DecodeTo::assign || target == DecodeTo::difference;
    if (!written_over && !difference("", out_there.back(), before).empty()) return which + "refused, yet written";
    return {};
  }
  for (const std::string& found : {difference("out", out_there.back(), out), difference("sum", sum_there.back(), sum), difference("wide", wide_there.back(), totals)})
    if (!found.empty()) return which + found;
  return {};
}

std::vector<std::byte> encoded(const Compressor& codec, const std::vector<float>& x, const Layout& layout, std::uint64_t seed) {
  Stream here;
  std::vector<std::byte> bytes(codec.capacity(layout));
  bytes.resize(must(codec.encode(here, x, layout, seed, bytes)));
  return bytes;
}

std::string decodes_alike_everywhere(DeviceStream& stream, const CompressionOptions& options) {
  const Codecs codecs(options);
  for (const Layout& layout : layouts())
    for (const std::size_t kind : {0u, 1u, 2u, 3u}) {
      std::vector<std::vector<std::byte>> payloads;
      for (std::uint64_t seed = 1; seed <= 3; ++seed) payloads.push_back(encoded(*codecs.host, awkward_vector(layout.size(), kind, seed), layout, seed));
      for (const DecodeTo target : {DecodeTo::add, DecodeTo::assign, DecodeTo::difference, DecodeTo::follow, DecodeTo::wide}) {
        const bool single = target == DecodeTo::follow || target == DecodeTo::wide;
        std::vector<std::vector<std::byte>> some(payloads.begin(), payloads.begin() + (single || kind == 1 ? 1 : 3));
        if (auto found = decodes_alike(stream, codecs, layout, some, target, kind % 2); !found.empty()) return found;
        if (kind == 0 && !single)
          if (auto found = decodes_alike(stream, codecs, layout, {}, target, 0); !found.empty()) return found;
      }
    }
  // More than one pass takes.
  Layout layout;
  layout.add("matrix", {21, 37});
  std::vector<std::vector<std::byte>> many;
  for (std::uint64_t seed = 1; seed <= 35; ++seed) many.push_back(encoded(*codecs.host, awkward_vector(777, 0, seed), layout, seed));
  for (const DecodeTo target : {DecodeTo::add, DecodeTo::assign, DecodeTo::difference})
    if (auto found = decodes_alike(stream, codecs, layout, many, target, 0); !found.empty()) return found;
  return {};
}

// Payloads with a few bits turned over, words that break things, and other lengths.
std::string trusts_alike(DeviceStream& stream, const CompressionOptions& options) {
  const Codecs codecs(options);
  Layout layout;
  for (const std::size_t n : {5u, 700u, 33u, 1030u}) layout.add("t" + std::to_string(n), {n});
  if (options.codec == CodecId::low_rank) layout.add("matrix", {20, 31});
  const auto good = encoded(*codecs.host, awkward_vector(layout.size(), 0, 1), layout, 1);
  Random random(1, Purpose::test, static_cast<std::uint64_t>(options.codec));
  for (int attempt = 0; attempt < 90; ++attempt) {
    auto bytes = good;
    if (attempt % 10 == 9) {
      bytes.resize(random.below(2 * good.size()));
    } else {
      for (std::uint64_t flips = 1 + random.below(3); flips > 0; --flips) {
        // The control fields lie at the front.
        const std::size_t at = random.below(random.below(2) == 0 ? std::min<std::size_t>(good.size(), 120) : good.size());
        if (random.below(4) == 0)
          for (std::size_t i = at; i < std::min(at + 4, bytes.size()); ++i) bytes[i] = random.below(2) == 0 ? std::byte{0xff} : std::byte{0x7f};
        else
          bytes[at] ^= static_cast<std::byte>(1u << random.below(8));
      }
    }
    const DecodeTo target = attempt % 3 == 0 ? DecodeTo::assign : attempt % 3 == 1 ? DecodeTo::difference : DecodeTo::add;
    if (auto found = decodes_alike(stream, codecs, layout, {good, bytes}, target, attempt % 2 == 0 ? 0 : 1); !found.empty()) return found;
  }
  return {};
}

std::string mixes_alike(DeviceStream& stream) {
  for (const std::size_t n : {0u, 1u, 3u, 255u, 256u, 257u, 1023u, 1024u, 1025u, 5000u})
    for (std::size_t terms = 0; terms <= 5; ++terms)
      for (const std::size_t shift : {0u, 1u})
        for (const bool in_place : {false, true}) {
          if (in_place && terms == 0) continue;
          std::vector<std::vector<float>> in;
          std::vector<OnDevice<float>> there;
          for (std::size_t t = 0; t < terms; ++t) in.push_back(awkward_vector(n, t, t + 1));
          for (const auto& one : in) there.emplace_back(stream, one, shift);
          const OnDevice<float> apart(stream, std::vector<float>(n, 3.0f), shift);
          std::vector<float> out(n);
          std::vector<WeightedVector> here_terms, there_terms;
          for (std::size_t t = 0; t < terms; ++t) {
            here_terms.push_back({0.3f - 0.1f * static_cast<float>(t), in[t]});
            there_terms.push_back({here_terms[t].weight, there[t].span()});
          }
          weighted_sum(here_terms, out);
          weighted_sum(stream, there_terms, in_place ? there[0].span() : apart.span());
          if (auto found = difference("mix", in_place ? there[0].back() : apart.back(), out); !found.empty()) return std::to_string(n) + " " + found;
        }
  const auto x = awkward_vector(3000, 0, 1);
  auto y = awkward_vector(3000, 0, 2);
  const OnDevice<float> x_there(stream, x, 1), y_there(stream, y, 1), z_there(stream, y, 0);
  axpy(stream, 0.3f, x_there.span(), y_there.span());
  scale(stream, -1.7f, y_there.span());
  copy(stream, y_there.span(), z_there.span());
  axpy(0.3f, x, y);
  scale(-1.7f, y);
  if (auto found = difference("axpy, scale", y_there.back(), y); !found.empty()) return found;
  return difference("copy", z_there.back(), y);
}

// Passes that write and sum at once: parts and their tails, in place and elsewhere, and what is no number.
std::string norms_alike(DeviceStream& stream) {
  for (const std::size_t n : {0u, 1u, 31u, 33u, 127u, 128u, 129u, 4095u, 4096u, 4097u, 140001u})
    for (const std::size_t others : {0u, 1u, 2u, 5u}) {
      if (others > 2 && n > 5000) continue;
      const std::string of = " of " + std::to_string(n) + ", " + std::to_string(others);
      const auto x = awkward_vector(n, others, 1, 0x1p60f);
      const OnDevice<float> x_there(stream, x, n % 2), apart(stream, std::vector<float>(n, 3.0f), 1);
      std::vector<float> to(n, 4.0f);
      std::vector<std::vector<float>> in;
      std::vector<OnDevice<float>> there;
      std::vector<WeightedVector> here_terms, there_terms;
      for (std::size_t t = 0; t < others; ++t) in.push_back(awkward_vector(n, others, t + 2, 0x1p60f));
      for (std::size_t t = 0; t < others; ++t) {
        there.emplace_back(stream, in[t], t % 2);
        here_terms.push_back({0.3f - 0.2f * static_cast<float>(t), in[t]});
        there_terms.push_back({here_terms[t].weight, there[t].span()});
      }
      Stream here;
      const auto moved = mix(here, here_terms, x, to);
      if (!moved || must(mix(stream, there_terms, x_there.span(), apart.span())) != moved) return "the norm of a mix" + of;
      if (auto found = difference("mix and norm", apart.back(), to); !found.empty()) return found + of;
      if (must(mix(stream, there_terms, x_there.span(), x_there.span())) != moved) return "the norm of a mix in place" + of;
      if (auto found = difference("mix in place", x_there.back(), to); !found.empty()) return found + of;
      if (n > 0 && others > 0) {
        auto bad = in.back();
        bad[n / 2] = others == 1 ? std::nanf("") : HUGE_VALF;
        const OnDevice<float> bad_there(stream, bad, 0);
        there_terms.back().x = bad_there.span();
        if (must(mix(stream, there_terms, x_there.span(), apart.span()))) return "a mix with what is no number" + of;
      }
      if (others != 0) continue;
      const OnDevice<float> from(stream, x, 1);
      if (must(copy_and_norm(stream, from.span(), apart.span())) != copy_and_norm(here, x, to)) return "the norm of a copy" + of;
      if (auto found = difference("copy and norm", apart.back(), to); !found.empty()) return found + of;
      std::vector<double> wide(n);
      for (std::size_t i = 0; i < n; ++i) wide[i] = static_cast<double>(x[i]) * (1 + 1e-9 * static_cast<double>(i));
      const OnDevice<double> wide_there(stream, wide, 1);
      if (must(narrow(stream, -0.7, wide_there.span(), apart.span())) != narrow(here, -0.7, wide, to)) return "the norm of what was narrowed" + of;
      if (auto found = difference("narrow", apart.back(), to); !found.empty()) return found + of;
    }
  return {};
}

std::string sums_alike(DeviceStream& stream) {
  for (const std::size_t n : {0u, 1u, 31u, 33u, 4095u, 4096u, 4097u, 140001u}) {
    const auto x = awkward_vector(n, 0, 1), y = awkward_vector(n, 3, 2);
    const OnDevice<float> x_there(stream, x, n % 2), y_there(stream, y, 0);
    if (must(dot(stream, x_there.span(), y_there.span())) != dot(x, y)) return "dot of " + std::to_string(n);
    if (must(squared_norm(stream, x_there.span())) != squared_norm(x)) return "norm of " + std::to_string(n);
    if (must(squared_distance(stream, x_there.span(), y_there.span())) != squared_distance(x, y)) return "distance of " + std::to_string(n);
  }
  for (std::size_t at = 0; at < 700; at += at < 70 ? 1 : 61)
    for (const std::uint32_t bits : {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00001u, 0x7f800001u, 0x7f7fffffu}) {
      std::vector<float> x(700, 1.0f);
      std::memcpy(&x[at], &bits, 4);
      const OnDevice<float> there(stream, x, 0);
      if (must(all_finite(stream, there.span())) != (bits == 0x7f7fffffu)) return "a NaN at " + std::to_string(at);
    }
  return {};
}

// Vectors that a selection has trouble with: long enough to be sampled, equal elements, a sample that misleads, blocks of 256
// that keep 255 or all, and a NaN.
std::string selects_alike(DeviceStream& stream) {
  constexpr std::size_t kCount = 150001;
  const auto x = awkward_vector(kCount, 0, 1);
  std::vector<std::vector<float>> vectors = {x, std::vector<float>(kCount, -0.375f), std::vector<float>(kCount, 0.0f)};
  auto clustered = x;  // all that is large lies where no run of the sample does
  for (std::size_t i = 0; i < kCount; ++i) clustered[i] *= i < 1200 ? 1e6f : 1e-6f;
  vectors.push_back(clustered);
  auto ties = x;
  for (float& value : ties) value = std::round(value * 4) / 4;
  vectors.push_back(ties);
  auto full = x;  // 4 blocks of 255, one of 256, one of 254
  for (std::size_t b = 0; b < 6; ++b)
    for (std::size_t i = 0; i < (b == 4 ? 256u : b == 5 ? 254u : 255u); ++i) full[256 * (7 * b + 3) + (b == 1 && i > 100 ? i + 1 : i)] = 1e3f;
  vectors.push_back(full);
  auto bad = x;
  bad[77777] = std::nanf("");
  vectors.push_back(bad);
  const std::vector<float> replica = awkward_vector(kCount, 0, 2);
  for (const double ratio : {0.0021, 0.0102, 0.3, 0.95})
    for (std::size_t which = 0; which < vectors.size(); ++which) {
      const Codecs codecs({.codec = CodecId::top_k, .ratio = ratio});
      const Layout layout = Layout::flat(kCount);
      if (auto found = encodes_alike(stream, codecs, layout, vectors[which], which == 0 ? replica : std::vector<float>(kCount), which % 2); !found.empty())
        return "ratio " + std::to_string(ratio) + ", vector " + std::to_string(which) + ", " + found;
      if (which + 1 == vectors.size()) continue;
      if (auto found = decodes_alike(stream, codecs, layout, {encoded(*codecs.host, vectors[which], layout, 1)}, DecodeTo::add, which % 2); !found.empty())
        return "ratio " + std::to_string(ratio) + ", vector " + std::to_string(which) + ", " + found;
    }
  return {};
}

struct Named {
  const char* name;
  CompressionOptions options;
};

std::vector<Named> codecs() {
  return {{"none", {.codec = CodecId::none}},
          {"fp16", {.codec = CodecId::fp16}},
          {"bf16", {.codec = CodecId::bf16}},
          {"fp8", {.codec = CodecId::fp8}},
          {"int8", {.codec = CodecId::int8}},
          {"int4", {.codec = CodecId::int4}},
          {"qsgd 8 bits", {.codec = CodecId::qsgd, .levels = 127}},
          {"qsgd 8 bits 2-norm", {.codec = CodecId::qsgd, .levels = 16, .norm = Norm::two}},
          {"qsgd 8 bits 2-norm one scale", {.codec = CodecId::qsgd, .levels = 127, .norm = Norm::two, .one_scale = true, .unbiased = true}},
          {"qsgd 4 bits", {.codec = CodecId::qsgd, .levels = 5}},
          {"qsgd 4 bits one scale", {.codec = CodecId::qsgd, .levels = 7, .one_scale = true}},
          {"qsgd 2 bits 2-norm", {.codec = CodecId::qsgd, .levels = 1, .norm = Norm::two}},
          {"terngrad", {.codec = CodecId::terngrad}},
          {"terngrad unbiased", {.codec = CodecId::terngrad, .unbiased = true}},
          {"sign", {.codec = CodecId::sign}},
          {"sign one scale", {.codec = CodecId::sign, .one_scale = true}},
          {"natural", {.codec = CodecId::natural}},
          {"top-k words", {.codec = CodecId::top_k, .ratio = 0.002}},
          {"top-k bytes", {.codec = CodecId::top_k, .ratio = 0.03}},
          {"top-k bitmap", {.codec = CodecId::top_k, .ratio = 0.4}},
          {"top-k all", {.codec = CodecId::top_k, .ratio = 1}},
          {"top-k int8", {.codec = CodecId::top_k, .ratio = 0.1, .values = CodecId::int8}},
          {"threshold", {.codec = CodecId::threshold, .threshold = 0.7}},
          {"threshold high bf16", {.codec = CodecId::threshold, .threshold = 3, .values = CodecId::bf16}},
          {"random-k", {.codec = CodecId::random_k, .ratio = 0.1}},
          {"random-k most unbiased", {.codec = CodecId::random_k, .ratio = 0.7, .unbiased = true}},
          {"random-k natural", {.codec = CodecId::random_k, .ratio = 0.3, .values = CodecId::natural}},
          {"low-rank 1", {.codec = CodecId::low_rank, .rank = 1}},
          {"low-rank 2 unrefined", {.codec = CodecId::low_rank, .rank = 2, .power_iterations = 0}},
          {"low-rank 3 refined", {.codec = CodecId::low_rank, .rank = 3, .power_iterations = 3}},
          {"low-rank 4", {.codec = CodecId::low_rank, .rank = 4}}};
}

}  // namespace

std::vector<DeviceCase> device_cases() {
  std::vector<DeviceCase> cases = {{"mixes", mixes_alike}, {"norms", norms_alike}, {"sums", sums_alike}, {"selects", selects_alike}};
  for (const Named& named : codecs())
    for (const Scope scope : {Scope::tensor, Scope::model}) {
      CompressionOptions options = named.options;
      options.scope = scope;
      if (options.codec == CodecId::low_rank && scope == Scope::model) continue;  // refused
      const std::string name = std::string(named.name) + (scope == Scope::tensor ? " by tensor" : " by model");
      const auto add = [&](const char* what, std::string (*run)(DeviceStream&, const CompressionOptions&)) {
        cases.push_back({name + ": " + what, [options, run](DeviceStream& stream) { return run(stream, options); }});
      };
      add("encodes", encodes_alike_everywhere);
      add("refuses", refuses_alike);
      add("decodes", decodes_alike_everywhere);
      add("trusts", trusts_alike);
    }
  for (DeviceCase& one : cases)
    one.run = [run = std::move(one.run)](DeviceStream& stream) {
      try {
        return run(stream);
      } catch (const std::exception& error) {
        return std::string(error.what());
      }
    };
  return cases;
}

}  // namespace gossamer
