// Marks functions that a GPU runs as well as the host: one source, so that both compute the same.
#pragma once

#if defined(__CUDACC__)
#define GOSSAMER_HD __host__ __device__
#else
#define GOSSAMER_HD
#endif

#if defined(__CUDA_ARCH__)
#define GOSSAMER_PRAGMA(words) _Pragma(#words)
#define GOSSAMER_UNROLL _Pragma("unroll")
#define GOSSAMER_UNROLL_BY(n) GOSSAMER_PRAGMA(unroll n)
#else
#define GOSSAMER_UNROLL
#define GOSSAMER_UNROLL_BY(n)
#endif
