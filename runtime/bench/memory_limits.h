// What memory gives to loops that do nothing else: the limits that passes are measured by.
//
// None is code of the kernels, so that a limit does not move with what it is a limit of.  Each walks its vectors once from end to end and
// writes past the caches (on processors other than x86 with AVX2, as the compiler and the C library do it).
#pragma once

#include <cstddef>

namespace gossamer::bench {

// By whole cache lines where the processor has registers as large (AVX-512), as STREAM's is compiled.
void copy_memory(const float* from, float* to, std::size_t count);

// What it read, in one word, lest it not be read.
unsigned read_memory(const float* from, std::size_t count);

// Three vectors read, one written, the elements of which have to do with all three: mixing without arithmetic.
void merge_memory(const float* x, const float* y, const float* z, float* to, std::size_t count);

}  // namespace gossamer::bench
