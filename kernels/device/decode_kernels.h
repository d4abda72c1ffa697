// Codes back to floats on a device, several payloads in one pass, and what is looked at before.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec_header.h"
#include "kernels/device/tile_kernels.h"

namespace gossamer::device {

// DecodeInto (kernels/compressor.h) on a device, and what one pass adds to it.
struct DecodePass {
  DecodeTo target = DecodeTo::add;
  const float* own = nullptr;
  float* out = nullptr;
  float* sum = nullptr;
  double* wide = nullptr;
  double wide_weight = 1;
  bool goes_on = false;  // an earlier pass has begun the sum in `out`
  unsigned payloads = 0;
  float weights[kPayloadsOfPass] = {};

  GOSSAMER_HD bool uses_own() const { return target == DecodeTo::difference || target == DecodeTo::follow; }
  GOSSAMER_HD bool begins_with_out() const { return target == DecodeTo::add || goes_on; }

  // What add, assign and difference add to `out` of an element that payload p holds as q.
  GOSSAMER_HD float term(unsigned p, float q, float own_one) const { return weights[p] * (target == DecodeTo::difference ? q - own_one : q); }
  // follow, of the one payload.
  GOSSAMER_HD void follow(float q, float own_one, float* out_one, float* sum_one) const {
    *out_one += q;
    *sum_one += weights[0] * (*out_one - own_one);
  }
  GOSSAMER_HD void widen(std::uint64_t i, float q) const { wide[i] += wide_weight * static_cast<double>(q); }
};

struct DecodeWork {
  Quantizer how;
  DecodePass into;
  bool one_scale = false;
  const std::byte* from[kPayloadsOfPass] = {};
  Chunks chunks;
  Status* status = nullptr;
};

template <Code kCode>
struct Decode {
  DecodeWork work;

  static constexpr std::size_t kBits = code_bits(kCode);

  GOSSAMER_HD std::uint64_t warps() const { return shares(work.chunks.tiles, kTilesOfWarp); }

  // Nothing is written where a payload was refused.
  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const bool refused = warp.ballot([&](unsigned) { return work.status->refused != 0 || work.status->bad_scale != 0; }) != 0;
    if (refused) return;
    for_tiles_of_warp(work.chunks, index, [&](std::uint32_t c, std::uint64_t tile, std::uint64_t left) {
      const DeviceChunk& chunk = work.chunks.table[c];
      const Place at{.first = chunk.first + tile * kTile,
                     .count = left < kTile ? left : kTile,
                     .codes = chunk.codes + tile * tile_stride(kCode, kTile),
                     .scale = chunk.scales + (work.one_scale ? 0 : 4 * tile)};
      if (at.count == kTile)
        whole(warp, at);
      else
        part(warp, at);
    });
  }

 private:
  struct Place {
    std::uint64_t first, count;
    std::uint64_t codes, scale;  // offsets in a payload
  };

  GOSSAMER_HD float scale_of(unsigned payload, const Place& at) const {
    return has_scale(kCode) ? load_any<float>(work.from[payload] + at.scale) : 1.0f;
  }

  // The codes of lane t's elements of a whole tile.
  GOSSAMER_HD static EightCodes get(const std::byte* tile, unsigned lane) {
    EightCodes c;
    if constexpr (kBits == 32) {
      const auto low = load_any<FourWords>(tile + 16 * lane), high = load_any<FourWords>(tile + 512 + 16 * lane);
      GOSSAMER_UNROLL
      for (int i = 0; i < 4; ++i) {
        c.v[i] = low.v[i];
        c.v[4 + i] = high.v[i];
      }
    } else if constexpr (kBits == 16) {
      const auto low = load_any<std::uint64_t>(tile + 8 * lane), high = load_any<std::uint64_t>(tile + 256 + 8 * lane);
      GOSSAMER_UNROLL
      for (int i = 0; i < 4; ++i) {
        c.v[i] = static_cast<std::uint32_t>(low >> (16 * i)) & 0xffffu;
        c.v[4 + i] = static_cast<std::uint32_t>(high >> (16 * i)) & 0xffffu;
      }
    } else if constexpr (kBits == 8) {
      const auto low = load_any<std::uint32_t>(tile + 4 * lane), high = load_any<std::uint32_t>(tile + 128 + 4 * lane);
      GOSSAMER_UNROLL
      for (int i = 0; i < 4; ++i) {
        c.v[i] = low >> (8 * i) & 0xffu;
        c.v[4 + i] = high >> (8 * i) & 0xffu;
      }
    } else if constexpr (kBits == 4) {
      const auto both = load_any<std::uint32_t>(tile + 4 * lane);
      GOSSAMER_UNROLL
      for (int i = 0; i < 4; ++i) {
        c.v[i] = both >> (8 * i) & 0xfu;
        c.v[4 + i] = both >> (8 * i + 4) & 0xfu;
      }
    } else if constexpr (kBits == 2) {
      const auto all = load_any<std::uint32_t>(tile + 4 * (lane % 16)) >> (lane < 16 ? 0 : 2);
      GOSSAMER_UNROLL
      for (int i = 0; i < 4; ++i) {
        c.v[i] = all >> (8 * i) & 0x3u;
        c.v[4 + i] = all >> (8 * i + 4) & 0x3u;
      }
    } else {
      const auto low = static_cast<std::uint32_t>(tile[lane / 2]) >> (lane % 2 * 4), high = static_cast<std::uint32_t>(tile[16 + lane / 2]) >> (lane % 2 * 4);
      GOSSAMER_UNROLL
      for (int i = 0; i < 4; ++i) {
        c.v[i] = low >> i & 1u;
        c.v[4 + i] = high >> i & 1u;
      }
    }
    return c;
  }

  template <class Warp>
  GOSSAMER_HD void whole(Warp& warp, const Place& at) const {
    const DecodePass& into = work.into;
    const std::uint64_t first = at.first;
    const std::uint32_t most = warp.max([&](unsigned lane) {
      std::uint32_t largest = 0;
      if (into.target == DecodeTo::follow || into.target == DecodeTo::wide) {
        const EightCodes codes = get(work.from[0] + at.codes, lane);
        const float scale = scale_of(0, at);
        if (into.target == DecodeTo::wide) {
          GOSSAMER_UNROLL
          for (int i = 0; i < 8; ++i)
            into.widen(first + 4 * lane + static_cast<unsigned>(i) + (i < 4 ? 0 : kTile / 2 - 4), decode_element(kCode, codes.v[i], scale));
          return largest;
        }
        Eight out = load_eight(into.out + first, lane), sum = load_eight(into.sum + first, lane);
        const Eight own = load_eight(into.own + first, lane);
        GOSSAMER_UNROLL
        for (int i = 0; i < 8; ++i) into.follow(decode_element(kCode, codes.v[i], scale), own.v[i], &out.v[i], &sum.v[i]);
        store_eight(out, into.out + first, lane);
        store_eight(sum, into.sum + first, lane);
        return largest;
      }
      Eight sum{}, own{};
      if (into.begins_with_out()) sum = load_eight(into.out + first, lane);
      if (into.uses_own()) own = load_eight(into.own + first, lane);
      for (unsigned p = 0; p < into.payloads; ++p) {
        const EightCodes codes = get(work.from[p] + at.codes, lane);
        const float scale = scale_of(p, at);
        GOSSAMER_UNROLL
        for (int i = 0; i < 8; ++i) sum.v[i] += into.term(p, decode_element(kCode, codes.v[i], scale), own.v[i]);
      }
      store_eight(sum, into.out + first, lane);
      GOSSAMER_UNROLL
      for (int i = 0; i < 8; ++i) {
        const std::uint32_t m = magnitude_bits(sum.v[i]);
        largest = m > largest ? m : largest;
      }
      return largest;
    });
    tell(warp, most);
  }

  // The results of codecs of plain floats show what is no number.
  template <class Warp>
  GOSSAMER_HD void tell(Warp& warp, std::uint32_t most) const {
    if constexpr (!has_scale(kCode))
      if (most >= kInfinityBits && (work.into.target == DecodeTo::assign || work.into.target == DecodeTo::difference))
        warp.once([&] { work.status->not_a_number = 1; });
  }

  template <class Warp>
  GOSSAMER_HD void part(Warp& warp, const Place& at) const {
    const DecodePass& into = work.into;
    const std::size_t stride = tile_stride(kCode, at.count);
    const std::uint32_t most = warp.max([&](unsigned lane) {
      std::uint32_t largest = 0;
      for (std::uint64_t i = lane; i < at.count; i += kLanes) {
        const std::uint64_t e = at.first + i;
        if (into.target == DecodeTo::follow) {
          into.follow(decoded(0, at, stride, i), into.own[e], into.out + e, into.sum + e);
        } else if (into.target == DecodeTo::wide) {
          into.widen(e, decoded(0, at, stride, i));
        } else {
          float sum = into.begins_with_out() ? into.out[e] : 0.0f;
          for (unsigned p = 0; p < into.payloads; ++p) sum += into.term(p, decoded(p, at, stride, i), into.uses_own() ? into.own[e] : 0.0f);
          into.out[e] = sum;
          const std::uint32_t m = magnitude_bits(sum);
          largest = m > largest ? m : largest;
        }
      }
      return largest;
    });
    tell(warp, most);
  }

  GOSSAMER_HD float decoded(unsigned payload, const Place& at, std::size_t stride, std::uint64_t i) const {
    const std::byte* const tile = work.from[payload] + at.codes;
    std::uint32_t code = 0;
    if constexpr (kBits >= 8) {
      for (std::size_t b = 0; b < kBits / 8; ++b) code |= static_cast<std::uint32_t>(tile[i * kBits / 8 + b]) << (8 * b);
    } else if constexpr (kBits == 1) {
      code = static_cast<std::uint32_t>(tile[i / 8]) >> (i % 8) & 1u;
    } else {
      code = static_cast<std::uint32_t>(tile[i % stride]) >> (kBits * (i / stride)) & ((1u << kBits) - 1);
    }
    return decode_element(kCode, code, scale_of(payload, at));
  }
};

// What can be wrong with a payload but its length: its header, a scale, and where codes are floats, one of them.
struct Check {
  const std::byte* payload = nullptr;
  CodecHeader expected;
  bool has_header = true;
  Code code = Code::f32;
  std::uint64_t scales = 0;   // how many there are
  std::uint64_t scales_at = kCodecHeaderSize;
  std::uint64_t values = 0;   // how many floats (Code::f32, Code::bf16) are looked at
  std::uint64_t values_at = 0;
  Status* status = nullptr;

  static constexpr std::uint64_t kOfWarp = 4 * kTile;
  static constexpr std::size_t kSeed = offsetof(CodecHeader, seed);  // nobody reads it

  GOSSAMER_HD std::uint64_t warps() const { return 1 + shares(scales > values ? scales : values, kOfWarp); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    if (index == 0) {
      warp.each([&](unsigned lane) {
        if (!has_header || lane >= sizeof expected / 4 || lane == kSeed / 4 || lane == kSeed / 4 + 1) return;
        const auto ours = load_any<std::uint32_t>(reinterpret_cast<const std::byte*>(&expected) + 4 * lane);
        if (load_any<std::uint32_t>(payload + 4 * lane) != ours) status->refused = 1;
      });
      return;
    }
    const std::uint64_t begin = (index - 1) * kOfWarp;
    warp.each([&](unsigned lane) {
      for (std::uint64_t i = begin + lane; i < begin + kOfWarp; i += kLanes) {
        if (i < scales && !valid_scale(code, load_any<float>(payload + scales_at + 4 * i))) Warp::raise(&status->bad_scale, ~i);
        if (i < values) {
          const std::uint32_t bits = code == Code::f32 ? load_any<std::uint32_t>(payload + values_at + 4 * i)
                                                       : std::uint32_t{load_any<std::uint16_t>(payload + values_at + 2 * i)} << 16;
          if ((bits & 0x7fffffffu) >= kInfinityBits) status->not_a_number = 1;
        }
      }
    });
  }
};

}  // namespace gossamer::device
