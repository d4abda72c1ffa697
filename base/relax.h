// For loops that look at memory until another processor has written it.
#pragma once

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace gossamer {

// Between two looks.  A loop without it asks for the line again and again, so that the writer waits to get it: the news comes
// later (by a fifth where two processors share no cache), and a hyperthread beside this one gets less done.  Some ten
// nanoseconds.
inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // `yield` does nothing on most of them
#endif
}

}  // namespace gossamer
