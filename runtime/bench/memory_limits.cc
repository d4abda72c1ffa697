#include "runtime/bench/memory_limits.h"

#include <cstdint>
#include <cstring>
#include <initializer_list>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gossamer::bench {
namespace {

std::uint32_t word_at(const float* from) {
  std::uint32_t word = 0;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// Elements begin .. end-1 of merge_memory().
void merge_each(const float* x, const float* y, const float* z, float* to, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) {
    const std::uint32_t word = word_at(x + i) ^ word_at(y + i) ^ word_at(z + i);
    std::memcpy(to + i, &word, sizeof word);
  }
}

#if defined(__x86_64__)

constexpr std::size_t kWide = 8, kStep = 64;  // floats

bool has_avx512() { return __builtin_cpu_supports("avx512f") != 0; }
bool has_avx() { return __builtin_cpu_supports("avx2") != 0; }

std::size_t before_line(const float* to, std::size_t count) {
  const std::size_t past = reinterpret_cast<std::uintptr_t>(to) / sizeof(float) % 16, head = (16 - past) % 16;
  return head < count ? head : count;
}

__attribute__((target("avx2"))) __m256i load(const float* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
__attribute__((target("avx2"))) void stream(__m256i v, float* to) { _mm256_stream_si256(reinterpret_cast<__m256i*>(to), v); }

__attribute__((target("avx2"))) void copy_avx(const float* from, float* to, std::size_t count) {
  std::size_t i = before_line(to, count);
  std::memcpy(to, from, i * sizeof(float));
  for (; i + kStep <= count; i += kStep)
    for (std::size_t j = 0; j < kStep; j += kWide) stream(load(from + i + j), to + i + j);
  std::memcpy(to + i, from + i, (count - i) * sizeof(float));
  _mm_sfence();
}

__attribute__((target("avx512f"))) void copy_avx512(const float* from, float* to, std::size_t count) {
  std::size_t i = before_line(to, count);
  std::memcpy(to, from, i * sizeof(float));
  for (; i + kStep <= count; i += kStep)
    for (std::size_t j = 0; j < kStep; j += 2 * kWide) _mm512_stream_ps(to + i + j, _mm512_loadu_ps(from + i + j));
  std::memcpy(to + i, from + i, (count - i) * sizeof(float));
  _mm_sfence();
}

__attribute__((target("avx2"))) unsigned read_avx(const float* from, std::size_t count) {
  __m256i all[4] = {};
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep)
    for (std::size_t j = 0; j < kStep; j += kWide) all[j / kWide % 4] = _mm256_or_si256(all[j / kWide % 4], load(from + i + j));
  const __m256i some = _mm256_or_si256(_mm256_or_si256(all[0], all[1]), _mm256_or_si256(all[2], all[3]));
  unsigned found = _mm256_movemask_epi8(some) != 0 ? 1 : 0;
  for (; i < count; ++i) found |= word_at(from + i);
  return found;
}

__attribute__((target("avx2"))) void merge_avx(const float* x, const float* y, const float* z, float* to, std::size_t count) {
  std::size_t i = before_line(to, count);
  merge_each(x, y, z, to, 0, i);
  for (; i + kStep <= count; i += kStep) {
    // Without this the processor loses a stream now and then, by where the vectors lie.
    for (const float* vector : {x, y, z})
      for (std::size_t line = 0; line < kStep; line += 2 * kWide)
        __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(vector + i + line) + 1024), 0, 2);
    for (std::size_t j = 0; j < kStep; j += kWide)
      stream(_mm256_xor_si256(_mm256_xor_si256(load(x + i + j), load(y + i + j)), load(z + i + j)), to + i + j);
  }
  merge_each(x, y, z, to, i, count);
  _mm_sfence();
}

#else

bool has_avx512() { return __builtin_cpu_supports("avx512f") != 0; }
bool has_avx512() { return false; }
bool has_avx() { return false; }
void copy_avx512(const float*, float*, std::size_t) {}
void copy_avx(const float*, float*, std::size_t) {}
unsigned read_avx(const float*, std::size_t) { return 0; }
void merge_avx(const float*, const float*, const float*, float*, std::size_t) {}

#endif

}  // namespace

void copy_memory(const float* from, float* to, std::size_t count) {
  if (has_avx512()) return copy_avx512(from, to, count);
  if (has_avx()) return copy_avx(from, to, count);
  std::memcpy(to, from, count * sizeof(float));
}

unsigned read_memory(const float* from, std::size_t count) {
  if (has_avx()) return read_avx(from, count);
  unsigned found = 0;
  for (std::size_t i = 0; i < count; ++i) found |= word_at(from + i);
  return found;
}

void merge_memory(const float* x, const float* y, const float* z, float* to, std::size_t count) {
  if (has_avx()) return merge_avx(x, y, z, to, count);
  merge_each(x, y, z, to, 0, count);
}

}  // namespace gossamer::bench
