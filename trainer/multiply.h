// The matrix product of the tasks: c += a * b, on one thread, float32.
//
// Every element of c is one running sum in ascending k, with a multiplication and an addition rounded
// apart.  The result is therefore the same to the bit whatever the vector width of the machine, the size
// of the matrices or the position in them, so peers on different machines compute the same gradients.  A
// BLAS promises none of that, and for layers of this size its packing and its threads cost more than they
// bring.
//
// Thread safe; c overlaps neither a nor b.
#pragma once

#include <cstddef>

namespace gossamer {

// a(i, k) is data[i * row + k * column], so that a transposed matrix needs no copy.
struct StridedMatrix {
  const float* data;
  std::size_t row, column;
};

// c(i, j) += sum over k of a(i, k) * b(k, j), for i < rows, j < columns, k < depth.
// b and c are row-major with rows of b_row and c_row elements.
void multiply_add(std::size_t rows, std::size_t columns, std::size_t depth, StridedMatrix a, const float* b,
                  std::size_t b_row, float* c, std::size_t c_row);

// to(j, i) = from(i, j): from is rows x columns, row-major and without gaps, and so is `to`.
void transpose(std::size_t rows, std::size_t columns, const float* from, float* to);

}  // namespace gossamer
