// Tiles by SIMD: the arithmetic of kernels/codes.h in lanes.  Read that first; here are only the lanes.
//
// A full tile is 256 elements that stay in the first-level cache: made (a difference, say), measured, encoded and decoded
// again while memory moves on.  The short tile at a chunk's end goes through the scalar reference.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/tiles.cc"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/codes.h"
#include "kernels/draws.h"
#include "kernels/implementations.h"
#include "kernels/reduce.h"
#include "kernels/scalar/tile.h"
#include "kernels/simd/simd.h"
#include "kernels/wire.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer::simd {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if GOSSAMER_SIMD_TARGET

using F = HWY_FULL(float);
using U = HWY_FULL(uint32_t);
using I = HWY_FULL(int32_t);
using Q = HWY_FULL(uint64_t);
using D = HWY_FULL(double);
using VF = hn::Vec<F>;
using VU = hn::Vec<U>;
using VI = hn::Vec<I>;
using VQ = hn::Vec<Q>;

constexpr std::size_t kLanes = HWY_LANES(float);  // 8 or 16
static_assert(kLanes >= 8 && kTile % (4 * kLanes) == 0);

HWY_INLINE VU bits_of(VF v) { return hn::BitCast(U(), v); }
HWY_INLINE VF float_from(VU v) { return hn::BitCast(F(), v); }
HWY_INLINE VI ints(VU v) { return hn::BitCast(I(), v); }
HWY_INLINE VU uints(VI v) { return hn::BitCast(U(), v); }
HWY_INLINE VU set(std::uint32_t value) { return hn::Set(U(), value); }
HWY_INLINE VU magnitudes(VF v) { return hn::And(bits_of(v), set(0x7fffffffu)); }
HWY_INLINE VU sign_bits(VF v) { return hn::And(bits_of(v), set(0x80000000u)); }
// Below 2^31 signed and unsigned order are one.
HWY_INLINE auto below(VU a, std::uint32_t b) { return hn::RebindMask(U(), hn::Lt(ints(a), ints(set(b)))); }

HWY_INLINE VF load(const float* from) { return hn::LoadU(F(), from); }
HWY_INLINE void store(VF v, float* to) { hn::StoreU(v, F(), to); }

// ---- Random numbers: Philox4x32-7, eight (or four) counters at a time, one in each 64-bit lane.

class Draws {
 public:
  Draws(std::uint64_t key, std::uint32_t chunk) {
    std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int r = 0; r < 7; ++r, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      k0_[r] = k0;
      k1_[r] = k1;
    }
    p1_ = std::uint64_t{kM1} * chunk;
    alignas(64) std::uint64_t order[kLanes / 2];
    for (std::size_t l = 0; l < kLanes / 2; ++l) order[l] = l / 2 + (l % 2 != 0 ? kLanes / 4 : 0);
    order_ = hn::Load(Q(), order);
  }

  // The first two rounds, as far as they are the same for all 32 counters of a tile: the upper half of the counter,
  // the chunk and the use.
  HWY_INLINE void begin(std::uint64_t tile) {
    const std::uint64_t index = tile * (kTile / 8);
    const std::uint32_t c0 = static_cast<std::uint32_t>(p1_ >> 32) ^ static_cast<std::uint32_t>(index >> 32) ^ k0_[0];
    p0_ = std::uint64_t{kM0} * c0;
    counter_ = hn::Add(order_, hn::Set(Q(), index));
  }

  // Of this tile: words[i] has 16 bits for element i in its lower half, and for element 128 + i in its upper one.  Several calls
  // side by side, as each round waits for the one before it; as many as there are registers for.
  HWY_INLINE void words(std::uint32_t (&words)[kTile / 2]) const {
    constexpr std::size_t kSide = kLanes == 16 ? 4 : 2;
    const Q q;
    const VQ m0 = hn::Set(q, kM0), m1 = hn::Set(q, kM1);
    for (std::size_t t = 0; t < kTile / 8; t += kSide * kLanes / 2) {
      VQ c0[kSide], c1[kSide], c2[kSide], c3[kSide];
      for (std::size_t s = 0; s < kSide; ++s) {
        // Round 1: word 0 alone differs between the lanes.
        c3[s] = mul(hn::Add(counter_, hn::Set(q, t + s * kLanes / 2)), m0);
        c2[s] = hn::Xor(high(c3[s]), hn::Set(q, static_cast<std::uint32_t>(DrawUse::rounding) ^ k1_[0]));
      }
      for (std::size_t s = 0; s < kSide; ++s) {
        // Round 2.
        c1[s] = mul(c2[s], m1);
        c0[s] = hn::Xor(high(c1[s]), hn::Set(q, static_cast<std::uint32_t>(p1_) ^ k0_[1]));
        c2[s] = hn::Xor(c3[s], hn::Set(q, static_cast<std::uint32_t>(p0_ >> 32) ^ k1_[1]));
        c3[s] = hn::Set(q, static_cast<std::uint32_t>(p0_));
      }
      for (int r = 2; r < 7; ++r)
        for (std::size_t s = 0; s < kSide; ++s) {
          const VQ p0 = mul(c0[s], m0), p1 = mul(c2[s], m1);
          c0[s] = hn::Xor3(high(p1), c1[s], hn::Set(q, k0_[r]));
          c2[s] = hn::Xor3(high(p0), c3[s], hn::Set(q, k1_[r]));
          c1[s] = p1;
          c3[s] = p0;
        }
      // The low halves of the lanes are the words; two and two beside each other, then four.
      for (std::size_t s = 0; s < kSide; ++s) {
        const VQ a = pair(c0[s], c1[s]), b = pair(c2[s], c3[s]);
        hn::Store(hn::BitCast(U(), hn::InterleaveLower(q, a, b)), U(), words + 4 * t + s * 2 * kLanes);
        hn::Store(hn::BitCast(U(), hn::InterleaveUpper(q, a, b)), U(), words + 4 * t + s * 2 * kLanes + kLanes);
      }
    }
  }

 private:
  static constexpr std::uint32_t kM0 = 0xD2511F53u, kM1 = 0xCD9E8D57u;
  static HWY_INLINE VQ mul(VQ a, VQ b) { return hn::MulEven(hn::BitCast(U(), a), hn::BitCast(U(), b)); }
  // The high halves, in the low ones; what that leaves in the high ones nobody looks at.  More units shuffle than shift.
  static HWY_INLINE VQ high(VQ v) { return hn::BitCast(Q(), hn::DupOdd(hn::BitCast(U(), v))); }
  static HWY_INLINE VQ pair(VQ low, VQ upper) {
#if HWY_TARGET == HWY_AVX2
    return hn::BitCast(Q(), hn::OddEven(hn::BitCast(U(), hn::ShiftLeft<32>(upper)), hn::BitCast(U(), low)));
#else
    return VQ{_mm512_mask_shuffle_epi32(low.raw, 0xaaaa, upper.raw, _MM_PERM_CCAA)};
#endif
  }

  std::uint32_t k0_[7], k1_[7];
  std::uint64_t p0_ = 0, p1_ = 0;
  VQ order_, counter_;
};

// ---- Codes in lanes

// To nearest even.  hn::NearestInt() also mends what no int can hold, by four operations more; here everything fits.
HWY_INLINE VI to_ints(VF v) {
#if HWY_TARGET == HWY_AVX2
  return VI{_mm256_cvtps_epi32(v.raw)};
#else
  return VI{_mm512_cvtps_epi32(v.raw)};
#endif
}

// The byte of what encode_lanes() returns in which the code begins.
constexpr int code_byte(Code code) { return is_stochastic(code) ? 2 : 0; }

template <Code kCode>
HWY_INLINE VU encode_lanes(VF x, VF factor, VU scale, VU r16) {
  if constexpr (kCode == Code::e4m3) {
    const VF v = hn::Mul(x, factor);
    const VU m = uints(hn::Min(ints(magnitudes(v)), ints(set(0x43e00000u))));
    const VU small = hn::Sub(bits_of(hn::Add(float_from(m), hn::Set(F(), 16384.0f))), set(0x46800000u));
    const VU odd = hn::And(hn::ShiftRight<20>(m), set(1));
    const VU normal = hn::ShiftRight<20>(hn::Add(hn::Add(m, set(0x7ffffu - (120u << 23))), odd));
    return hn::Or(hn::ShiftRight<24>(sign_bits(v)), hn::IfThenElse(below(m, 0x3c800000u), small, normal));
  } else if constexpr (kCode == Code::nearest8 || kCode == Code::nearest4) {
    return uints(to_ints(hn::Mul(x, factor)));
  } else if constexpr (is_stochastic(kCode)) {
    return uints(hn::Add(to_ints(hn::Mul(x, factor)), ints(r16)));
  } else {
    static_assert(kCode == Code::natural);
    const VU exponent = hn::ShiftRight<23>(hn::Add(magnitudes(x), hn::ShiftLeft<7>(r16)));
    const VU under = hn::Sub(hn::ShiftRight<23>(scale), exponent);
    const VU code = hn::Or(hn::ShiftRight<24>(sign_bits(x)), hn::Add(under, set(1)));
    // `under` is negative for no element: the scale is above them all.
    const auto kept = hn::RebindMask(U(), hn::And(hn::Lt(ints(under), ints(set(127))), hn::Gt(ints(exponent), ints(set(0)))));
    return hn::IfThenElseZero(kept, code);
  }
}

// Elements i .. i+kLanes of the tile at `tile`; `scale` in all lanes.
template <Code kCode>
HWY_INLINE VF decode_lanes(const std::byte* tile, std::size_t i, VF scale) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(tile);
  const hn::Rebind<std::uint8_t, F> d8;
  const hn::Rebind<std::int8_t, F> s8;
  const hn::Rebind<std::uint16_t, F> d16;
  if constexpr (kCode == Code::f32) {
    return hn::LoadU(F(), reinterpret_cast<const float*>(bytes + 4 * i));
  } else if constexpr (kCode == Code::bf16) {
    const VU h = hn::PromoteTo(U(), hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(bytes + 2 * i)));
    return float_from(hn::ShiftLeft<16>(h));
  } else if constexpr (kCode == Code::f16) {
    const VU h = hn::PromoteTo(U(), hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(bytes + 2 * i)));
    const VU m = hn::ShiftLeft<13>(hn::And(h, set(0x7fff)));
    const VF small = hn::Sub(float_from(hn::Add(m, set(113u << 23))), hn::Set(F(), 0x1p-14f));
    const VU value = hn::IfThenElse(below(m, 1u << 23), bits_of(small), hn::Add(m, set(112u << 23)));
    return hn::Mul(float_from(hn::Or(value, hn::ShiftLeft<16>(hn::And(h, set(0x8000))))), scale);
  } else if constexpr (kCode == Code::e4m3) {
    const VU c = hn::PromoteTo(U(), hn::LoadU(d8, bytes + i));
    const VU m = hn::ShiftLeft<20>(hn::And(c, set(0x7f)));
    const VF small = hn::Sub(float_from(hn::Add(m, set(121u << 23))), hn::Set(F(), 0x1p-6f));
    const VU value = hn::IfThenElse(below(m, 1u << 23), bits_of(small), hn::Add(m, set(120u << 23)));
    return hn::Mul(float_from(hn::Or(value, hn::ShiftLeft<24>(hn::And(c, set(0x80))))), scale);
  } else if constexpr (code_bits(kCode) == 8 && kCode != Code::natural) {
    const VI c = hn::PromoteTo(I(), hn::LoadU(s8, reinterpret_cast<const std::int8_t*>(bytes + i)));
    return hn::Mul(hn::ConvertTo(F(), c), scale);
  } else if constexpr (code_bits(kCode) == 4) {
    const VI c = ints(hn::PromoteTo(U(), hn::LoadU(d8, bytes + i % 128)));
    const VI at_top = i < 128 ? hn::ShiftLeft<28>(c) : hn::ShiftLeft<24>(c);
    return hn::Mul(hn::ConvertTo(F(), hn::ShiftRight<28>(at_top)), scale);
  } else if constexpr (code_bits(kCode) == 2) {
    const VI c = ints(hn::PromoteTo(U(), hn::LoadU(d8, bytes + i % 64)));
    const VI at_top = hn::ShiftLeftSame(c, static_cast<int>(30 - 2 * (i / 64)));
    return hn::Mul(hn::ConvertTo(F(), hn::ShiftRight<30>(at_top)), scale);
  } else if constexpr (kCode == Code::sign) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes + i / 8, kLanes / 8);
    const VU shift = hn::Sub(set(31), hn::Iota(U(), 0));
    const VU sign = hn::And(hn::Shl(set(word), shift), set(0x80000000u));
    return float_from(hn::Xor(bits_of(scale), sign));
  } else {
    static_assert(kCode == Code::natural);
    const VU c = hn::PromoteTo(U(), hn::LoadU(d8, bytes + i));
    const VU rank = hn::And(c, set(0x7f));
    const VU under = hn::ShiftLeft<23>(hn::Sub(rank, set(1)));
    const VU value = hn::Sub(bits_of(scale), under);
    const auto kept = hn::RebindMask(
        U(), hn::And(hn::Gt(ints(rank), ints(set(0))), hn::Gt(ints(bits_of(scale)), ints(hn::Sub(hn::ShiftLeft<23>(rank), set(1))))));
    return float_from(hn::Or(hn::IfThenElseZero(kept, value), hn::ShiftLeft<24>(hn::And(c, set(0x80)))));
  }
}

// ---- Measures

HWY_INLINE std::uint32_t largest_of(const float* v) {
  VI most[4] = {hn::Zero(I()), hn::Zero(I()), hn::Zero(I()), hn::Zero(I())};
  for (std::size_t i = 0; i < kTile; i += 4 * kLanes)
    for (std::size_t j = 0; j < 4; ++j) most[j] = hn::Max(most[j], ints(magnitudes(load(v + i + j * kLanes))));
  const VI all = hn::Max(hn::Max(most[0], most[1]), hn::Max(most[2], most[3]));
  return static_cast<std::uint32_t>(hn::GetLane(hn::MaxOfLanes(I(), all)));
}

// As scalar::mean_magnitude(): lanes 0 .. 31, then the tree.
HWY_INLINE float mean_magnitude(const float* v) {
  constexpr std::size_t kParts = kSumLanes / kLanes;
  VF sum[kParts];
  for (std::size_t p = 0; p < kParts; ++p) sum[p] = hn::Zero(F());
  const VF by = hn::Set(F(), 0x1p-8f);
  for (std::size_t i = 0; i < kTile; i += kSumLanes)
    for (std::size_t p = 0; p < kParts; ++p) sum[p] = hn::Add(sum[p], hn::Mul(hn::Abs(load(v + i + p * kLanes)), by));
  for (std::size_t parts = kParts / 2; parts > 0; parts /= 2)
    for (std::size_t p = 0; p < parts; ++p) sum[p] = hn::Add(sum[p], sum[p + parts]);
  const hn::Half<F> half;
  const auto eight = [&]() HWY_ATTR {
    if constexpr (kLanes == 16)
      return hn::Add(hn::LowerHalf(half, sum[0]), hn::UpperHalf(half, sum[0]));
    else
      return sum[0];
  }();
  const hn::Simd<float, 4, 0> four;
  auto s = hn::Add(hn::LowerHalf(four, eight), hn::UpperHalf(four, eight));
  s = hn::Add(s, hn::Shuffle1032(s));
  return hn::GetLane(hn::Add(s, hn::Shuffle2301(s)));
}

HWY_INLINE float norm_of(const float* v) {
  constexpr std::size_t kDoubles = kLanes / 2, kParts = kSumLanes / kDoubles;
  const hn::Half<F> half;
  hn::Vec<D> sum[kParts];
  for (std::size_t p = 0; p < kParts; ++p) sum[p] = hn::Zero(D());
  for (std::size_t i = 0; i < kTile; i += kSumLanes)
    for (std::size_t p = 0; p < kParts; ++p) {
      const auto x = hn::PromoteTo(D(), hn::LoadU(half, v + i + p * kDoubles));
      sum[p] = hn::Add(sum[p], hn::Mul(x, x));
    }
  alignas(64) double lanes[kSumLanes];
  for (std::size_t p = 0; p < kParts; ++p) hn::Store(sum[p], D(), lanes + p * kDoubles);
  return static_cast<float>(std::sqrt(fold_lanes(lanes)));
}

// ---- One full tile

template <Code kCode>
HWY_INLINE void put_halves(VF x, VF factor, std::uint16_t* to) {
  const hn::Rebind<std::uint16_t, F> d16;
  if constexpr (kCode == Code::f16) {
    const hn::Rebind<hwy::float16_t, F> half;
    hn::StoreU(hn::BitCast(d16, hn::DemoteTo(half, hn::Mul(x, factor))), d16, to);
  } else {
    static_assert(kCode == Code::bf16);
    const VU m = bits_of(x);
    hn::StoreU(hn::TruncateTo(d16, hn::ShiftRight<16>(hn::Add(hn::Add(m, set(0x7fffu)), hn::And(hn::ShiftRight<16>(m), set(1))))), d16, to);
  }
}

// Byte kByte of each lane.
template <int kByte>
HWY_INLINE void put_bytes(VU v, std::uint8_t* to) {
  const hn::Rebind<std::uint8_t, F> d8;
  hn::StoreU(hn::TruncateTo(d8, hn::ShiftRight<8 * kByte>(v)), d8, to);
}

// Those of a's two vectors, and of b's.
template <int kByte>
HWY_INLINE void put_bytes(const VU (&a)[2], const VU (&b)[2], std::uint8_t* to_a, std::uint8_t* to_b) {
#if HWY_TARGET == HWY_AVX2
  put_bytes<kByte>(a[0], to_a);
  put_bytes<kByte>(a[1], to_a + kLanes);
  put_bytes<kByte>(b[0], to_b);
  put_bytes<kByte>(b[1], to_b + kLanes);
#else
  // In each block of 16 bytes four of each vector, one vector behind the other; then the blocks.
  const __m512i bytes = _mm512_set1_epi32(kByte | (4 + kByte) << 8 | (8 + kByte) << 16 | (12 + kByte) << 24);
  const __m512i blocks = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i all = _mm512_shuffle_epi8(a[0].raw, bytes);
  all = _mm512_mask_shuffle_epi8(all, 0x00f000f000f000f0u, a[1].raw, bytes);
  all = _mm512_mask_shuffle_epi8(all, 0x0f000f000f000f00u, b[0].raw, bytes);
  all = _mm512_mask_shuffle_epi8(all, 0xf000f000f000f000u, b[1].raw, bytes);
  all = _mm512_permutexvar_epi32(blocks, all);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to_a), _mm512_castsi512_si256(all));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to_b), _mm512_extracti64x4_epi64(all, 1));
#endif
}

template <Code kCode>
HWY_INLINE void write_codes(Draws& draws, std::uint64_t tile, const float* v, const Scaling& by, std::byte* codes) {
  auto* bytes = reinterpret_cast<std::uint8_t*>(codes);
  if constexpr (kCode == Code::f32) {
    std::memcpy(bytes, v, kTile * sizeof(float));
  } else if constexpr (kCode == Code::sign) {
    const VI zero = hn::Zero(I());
    for (std::size_t i = 0; i < kTile; i += kLanes) {
      const VU flipped = hn::Xor(bits_of(load(v + i)), set(0x80000000u));  // above 0 where x < 0
      hn::StoreMaskBits(I(), hn::Gt(ints(flipped), zero), bytes + i / 8);
    }
  } else if constexpr (code_bits(kCode) == 16) {
    const VF factor = hn::Set(F(), by.factor);
    auto* const halves = reinterpret_cast<std::uint16_t*>(bytes);
    for (std::size_t i = 0; i < kTile; i += kLanes) put_halves<kCode>(load(v + i), factor, halves + i);
  } else {
    constexpr std::size_t kBits = code_bits(kCode), kQuarter = kTile / 4;
    constexpr int kByte = code_byte(kCode);
    const VF factor = hn::Set(F(), by.factor);
    const VU scale = set(float_bits(by.scale));
    alignas(64) std::uint32_t words[kTile / 2];
    if constexpr (draws_numbers(kCode)) {
      draws.begin(tile);
      draws.words(words);
    }
    for (std::size_t i = 0; i < kQuarter; i += 2 * kLanes) {
      // Elements i, 64 + i, 128 + i and 192 + i, which may share a byte; the first and the third, and the others, share a random word.
      VU c[4][2];
      for (std::size_t s = 0; s < 2; ++s)
        for (std::size_t j = 0; j < 2; ++j) {
          const float* const from = v + i + s * kQuarter + j * kLanes;
          const VU r = draws_numbers(kCode) ? hn::Load(U(), words + i + s * kQuarter + j * kLanes) : hn::Zero(U());
          c[s][j] = encode_lanes<kCode>(load(from), factor, scale, hn::And(r, set(0xffff)));
          c[2 + s][j] = encode_lanes<kCode>(load(from + kTile / 2), factor, scale, hn::ShiftRight<16>(r));
        }
      if constexpr (kBits == 8) {
        put_bytes<kByte>(c[0], c[2], bytes + i, bytes + i + kTile / 2);
        put_bytes<kByte>(c[1], c[3], bytes + i + kQuarter, bytes + i + kTile / 2 + kQuarter);
      } else {
        constexpr std::uint32_t kMask = ((1u << kBits) - 1) << (8 * kByte);
        VU both[2][2];
        for (std::size_t s = 0; s < 2; ++s)
          for (std::size_t j = 0; j < 2; ++j)
            both[s][j] = hn::Or(hn::And(c[s][j], set(kMask)), hn::ShiftLeft<4>(hn::And(c[2 + s][j], set(kMask))));
        if constexpr (kBits == 4) {
          put_bytes<kByte>(both[0], both[1], bytes + i, bytes + i + kQuarter);
        } else {
          static_assert(kBits == 2);
          for (std::size_t j = 0; j < 2; ++j) put_bytes<kByte>(hn::Or(both[0][j], hn::ShiftLeft<2>(both[1][j])), bytes + i + j * kLanes);
        }
      }
    }
  }
}

// Copies whole cache lines past the caches.
HWY_INLINE void stream_lines(const std::byte* from, std::byte* to, std::size_t size) {
  const HWY_FULL(std::uint8_t) d;
  for (std::size_t i = 0; i < size; i += hn::Lanes(d))
    hn::Stream(hn::Load(d, reinterpret_cast<const std::uint8_t*>(from) + i), d, reinterpret_cast<std::uint8_t*>(to) + i);
}

template <Code kCode>
bool encode_with(const EncodeTiles& job) {
  constexpr std::size_t kStride = tile_stride(kCode, kTile);
  const std::size_t full = job.count / kTile;
  const bool own_scale = has_scale(kCode) && job.scales != nullptr;
  Quantizer how = job.how;
  how.code = kCode;  // which the compiler now knows
  Draws draws(job.key, job.chunk);
  Scaling by = scaling_of(how, job.measure);
  const bool streaming = kStride % 64 == 0 && whole_lines(job.streaming, job.codes);
  alignas(64) float made[kTile];
  alignas(64) std::byte aside[kStride];

  for (std::size_t t = 0; t < full; ++t) {
    const float* v = job.x + t * kTile;
    float* const memory = job.memory == nullptr ? nullptr : job.memory + t * kTile;
    if (memory != nullptr) fetch_behind<kTile>(v);  // of both inputs it would be more than is gained
    if (job.source == EncodeOf::difference) {
      for (std::size_t i = 0; i < kTile; i += kLanes) store(hn::Sub(load(v + i), load(memory + i)), made + i);
      v = made;
    } else if (job.source == EncodeOf::feedback) {
      for (std::size_t i = 0; i < kTile; i += kLanes) store(hn::Add(load(v + i), load(memory + i)), made + i);
      v = made;
    }
    const std::uint32_t most = largest_of(v);
    if (most >= refused_bits(kCode)) return false;
    if (own_scale) {
      float measure = float_of(most);
      if constexpr (kCode == Code::sign) measure = mean_magnitude(v);
      if constexpr (is_stochastic(kCode))
        if (job.how.norm == Norm::two) measure = norm_of(v);
      by = scaling_of(how, measure);
      if (!valid_scale(kCode, by.scale)) return false;
      gossamer::store(by.scale, job.scales + 4 * t);
    }
    std::byte* const codes = streaming ? aside : job.codes + t * kStride;
    if (has_scale(kCode) && by.scale == 0)
      std::memset(codes, 0, kStride);
    else
      write_codes<kCode>(draws, job.first_tile + t, v, by, codes);
    if (job.source != EncodeOf::plain) {
      const VF scale = hn::Set(F(), by.scale);
      if (job.source == EncodeOf::difference) {
        for (std::size_t i = 0; i < kTile; i += kLanes)
          store(hn::Add(load(memory + i), decode_lanes<kCode>(codes, i, scale)), memory + i);
      } else {
        float* const seen = job.seen == nullptr ? nullptr : job.seen + t * kTile;
        for (std::size_t i = 0; i < kTile; i += kLanes) {
          const VF q = decode_lanes<kCode>(codes, i, scale);
          store(hn::Sub(load(v + i), q), memory + i);
          if (seen != nullptr) store(q, seen + i);
        }
      }
    }
    if (streaming) stream_lines(aside, job.codes + t * kStride, kStride);
  }
  if (streaming) hwy::FlushStream();
  if (full * kTile == job.count) return true;
  return scalar::encode_tile(job, full * kTile, job.count - full * kTile, job.codes + full * kStride);
}

// One tile's sum of several payloads, in lanes: kGroup vectors side by side, so that weights and scales are set once for
// each.
template <Code kCode, DecodeTo kTarget>
HWY_INLINE VI add_tile(const DecodeTiles& job, std::size_t t, bool streaming, VI most) {
  constexpr std::size_t kGroup = 4, kStride = tile_stride(kCode, kTile);
  constexpr bool kAsks = !has_scale(kCode);  // little is computed of what are floats already
  float* const out = job.out + t * kTile;
  for (std::size_t i = 0; i < kTile; i += kGroup * kLanes) {
    if constexpr (kAsks && kTarget == DecodeTo::difference) fetch_behind<kGroup * kLanes>(job.own + t * kTile + i);
    VF sum[kGroup], own[kGroup];
    for (std::size_t g = 0; g < kGroup; ++g) {
      sum[g] = kTarget == DecodeTo::add ? load(out + i + g * kLanes) : hn::Zero(F());
      if constexpr (kTarget == DecodeTo::difference) own[g] = load(job.own + t * kTile + i + g * kLanes);
    }
    for (const CodedTiles& from : job.from) {
      VF scale = hn::Zero(F());
      if constexpr (has_scale(kCode)) scale = hn::Set(F(), gossamer::load<float>(from.scales + (from.one_scale ? 0 : 4 * t)));
      const VF weight = hn::Set(F(), from.weight);
      if constexpr (kAsks)
        fetch_behind<kGroup * kLanes * code_bits(kCode) / 32>(reinterpret_cast<const float*>(from.codes + t * kStride + i * code_bits(kCode) / 8));
      for (std::size_t g = 0; g < kGroup; ++g) {
        VF q = decode_lanes<kCode>(from.codes + t * kStride, i + g * kLanes, scale);
        if constexpr (kTarget == DecodeTo::difference) q = hn::Sub(q, own[g]);
        sum[g] = hn::Add(sum[g], hn::Mul(weight, q));
      }
    }
    for (std::size_t g = 0; g < kGroup; ++g) {
      if (streaming)
        hn::Stream(sum[g], F(), out + i + g * kLanes);
      else
        store(sum[g], out + i + g * kLanes);
      if constexpr (kTarget != DecodeTo::add) most = hn::Max(most, ints(magnitudes(sum[g])));
    }
  }
  return most;
}

template <Code kCode>
HWY_INLINE void follow_tile(const DecodeTiles& job, std::size_t t) {
  const CodedTiles& from = job.from[0];
  VF scale = hn::Zero(F());
  if constexpr (has_scale(kCode)) scale = hn::Set(F(), gossamer::load<float>(from.scales + (from.one_scale ? 0 : 4 * t)));
  const VF weight = hn::Set(F(), from.weight);
  for (std::size_t i = t * kTile; i < (t + 1) * kTile; i += kLanes) {
    const VF q = decode_lanes<kCode>(from.codes + t * tile_stride(kCode, kTile), i - t * kTile, scale);
    const VF out = hn::Add(load(job.out + i), q);
    store(out, job.out + i);
    store(hn::Add(load(job.sum + i), hn::Mul(weight, hn::Sub(out, load(job.own + i)))), job.sum + i);
  }
}

template <Code kCode>
HWY_INLINE void widen_tile(const DecodeTiles& job, std::size_t t) {
  const CodedTiles& from = job.from[0];
  VF scale = hn::Zero(F());
  if constexpr (has_scale(kCode)) scale = hn::Set(F(), gossamer::load<float>(from.scales + (from.one_scale ? 0 : 4 * t)));
  const auto weight = hn::Set(D(), job.wide_weight);
  const hn::Half<F> half;
  for (std::size_t i = 0; i < kTile; i += kLanes) {
    const VF q = decode_lanes<kCode>(from.codes + t * tile_stride(kCode, kTile), i, scale);
    double* const to = job.wide + t * kTile + i;
    const auto lower = hn::PromoteTo(D(), hn::LowerHalf(half, q)), upper = hn::PromoteTo(D(), hn::UpperHalf(half, q));
    hn::StoreU(hn::Add(hn::LoadU(D(), to), hn::Mul(weight, lower)), D(), to);
    hn::StoreU(hn::Add(hn::LoadU(D(), to + kLanes / 2), hn::Mul(weight, upper)), D(), to + kLanes / 2);
  }
}

template <Code kCode>
std::uint32_t decode_with(const DecodeTiles& job) {
  VI most = hn::Zero(I());
  const std::size_t full = job.count / kTile;
  const bool streaming = whole_lines(job.streaming, job.out);
  for (std::size_t t = 0; t < full; ++t) switch (job.target) {
      case DecodeTo::add:
        add_tile<kCode, DecodeTo::add>(job, t, false, most);
        break;
      case DecodeTo::assign:
        most = add_tile<kCode, DecodeTo::assign>(job, t, streaming, most);
        break;
      case DecodeTo::difference:
        most = add_tile<kCode, DecodeTo::difference>(job, t, streaming, most);
        break;
      case DecodeTo::follow:
        follow_tile<kCode>(job, t);
        break;
      case DecodeTo::wide:
        widen_tile<kCode>(job, t);
        break;
    }
  if (streaming) hwy::FlushStream();
  const auto found = static_cast<std::uint32_t>(hn::GetLane(hn::MaxOfLanes(I(), most)));
  return full * kTile == job.count ? found : std::max(found, scalar::decode_tile(job, full * kTile, job.count - full * kTile));
}

bool encode(const EncodeTiles& job) {
  static constexpr decltype(&encode_with<Code::f32>) kWith[kCodes] = {
      encode_with<Code::f32>,         encode_with<Code::f16>,         encode_with<Code::bf16>,        encode_with<Code::e4m3>,
      encode_with<Code::nearest8>,    encode_with<Code::nearest4>,    encode_with<Code::stochastic8>, encode_with<Code::stochastic4>,
      encode_with<Code::stochastic2>, encode_with<Code::sign>,        encode_with<Code::natural>};
  return kWith[static_cast<std::size_t>(job.how.code)](job);
}

std::uint32_t decode(const DecodeTiles& job) {
  static constexpr decltype(&decode_with<Code::f32>) kWith[kCodes] = {
      decode_with<Code::f32>,         decode_with<Code::f16>,         decode_with<Code::bf16>,        decode_with<Code::e4m3>,
      decode_with<Code::nearest8>,    decode_with<Code::nearest4>,    decode_with<Code::stochastic8>, decode_with<Code::stochastic4>,
      decode_with<Code::stochastic2>, decode_with<Code::sign>,        decode_with<Code::natural>};
  return kWith[static_cast<std::size_t>(job.how.code)](job);
}

const char* add_tiles(Kernels* to) {
  to->encode = encode;
  to->decode = decode;
  return hwy::TargetName(HWY_TARGET);
}

#else

const char* add_tiles(Kernels*) { return nullptr; }

#endif

}  // namespace HWY_NAMESPACE
}  // namespace gossamer::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer::simd {

HWY_EXPORT(add_tiles);

const char* add_best_tiles(Kernels* to) { return HWY_DYNAMIC_DISPATCH(add_tiles)(to); }

}  // namespace gossamer::simd
#endif
