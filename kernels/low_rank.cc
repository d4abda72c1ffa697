#include "kernels/low_rank.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kernels/parallel.h"
#include "kernels/reduce.h"

namespace gossamer {
namespace {

constexpr std::uint64_t kElementsOfPart = 16384;  // that are worth a thread's while
constexpr std::size_t kPanel = 512;               // columns whose sums stay in the first-level cache
constexpr std::size_t kExpanded = 2048;           // elements of a product at a time

constexpr std::size_t shares(std::size_t all, std::size_t each) { return (all + each - 1) / each; }

MatrixRows rows_of(const MatrixOf& m, std::size_t row, std::size_t rows, std::size_t column, std::size_t columns) {
  const std::size_t at = row * m.columns + column;
  return {m.source, m.x + at, m.source == EncodeOf::plain ? nullptr : m.y + at, m.columns, rows, columns};
}

}  // namespace

void multiply(Stream& stream, const Kernels& kernels, const MatrixOf& m, std::span<const float> right, std::size_t rank, std::span<float> left) {
  GOSSAMER_CHECK(right.size() == rank * m.columns && left.size() == rank * m.rows, "factors of another matrix");
  parallel_for(stream, m.rows, shares(kElementsOfPart, std::max<std::size_t>(m.columns, 1)), [&](std::uint64_t begin, std::uint64_t end) {
    kernels.times(rows_of(m, begin, end - begin, 0, m.columns), {right.data(), m.columns}, rank, {left.data() + begin, m.rows});
  });
}

void multiply_transposed(Stream& stream, const Kernels& kernels, const MatrixOf& m, std::span<const float> left, std::size_t rank,
                         std::span<float> right) {
  GOSSAMER_CHECK(right.size() == rank * m.columns && left.size() == rank * m.rows, "factors of another matrix");
  std::fill(right.begin(), right.end(), 0.0f);
  const std::size_t blocks = shares(m.rows, kFactorRows), panels = shares(m.columns, kPanel);
  const auto of_block = [&](std::size_t block, std::size_t panel, FactorOut to) {
    const std::size_t row = block * kFactorRows, column = panel * kPanel;
    kernels.transposed_times(rows_of(m, row, std::min(kFactorRows, m.rows - row), column, std::min(kPanel, m.columns - column)),
                             {left.data() + row, m.rows}, rank, to);
  };
  const auto add = [&](std::size_t panel, const float* sums, std::size_t stride) {
    for (std::size_t k = 0; k < rank; ++k)
      kernels.axpy(1, sums + k * stride, right.data() + k * m.columns + panel * kPanel, std::min(kPanel, m.columns - panel * kPanel));
  };
  if (stream.width() <= 1 || panels >= 4 * stream.width() || m.rows * m.columns < 2 * kElementsOfPart) {
    parallel_for(stream, panels, shares(kElementsOfPart, std::max<std::size_t>(kPanel * m.rows, 1)), [&](std::uint64_t begin, std::uint64_t end) {
      std::vector<float> sums(rank * kPanel);
      for (std::uint64_t panel = begin; panel < end; ++panel)
        for (std::size_t block = 0; block < blocks; ++block) {
          of_block(block, panel, {sums.data(), kPanel});
          add(panel, sums.data(), kPanel);
        }
    });
    return;
  }
  // Too few panels for the threads: blocks of rows are done by themselves, and their sums added afterwards in order.
  std::vector<float> sums(blocks * rank * m.columns);
  parallel_for(stream, blocks, shares(kElementsOfPart, kFactorRows * m.columns), [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t block = begin; block < end; ++block)
      for (std::size_t panel = 0; panel < panels; ++panel)
        of_block(block, panel, {sums.data() + block * rank * m.columns + panel * kPanel, m.columns});
  });
  for (std::size_t block = 0; block < blocks; ++block)
    for (std::size_t panel = 0; panel < panels; ++panel) add(panel, sums.data() + block * rank * m.columns + panel * kPanel, m.columns);
}

std::optional<std::uint64_t> orthonormalise(Stream& stream, const Kernels& kernels, std::span<float> columns, std::size_t rank) {
  GOSSAMER_CHECK(rank >= 1 && rank <= 64 && columns.size() % rank == 0, "1 to 64 columns of one length");
  const std::size_t height = columns.size() / rank, parts = shares(height, kSumChunk);
  std::vector<double> gram(rank * rank), inverse(rank * rank), sums(rank * rank * parts);
  for (int turn = 0; turn < 2; ++turn) {
    parallel_for(stream, parts, 1, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t part = begin; part < end; ++part)
        for (std::size_t a = 0; a < rank; ++a)
          for (std::size_t b = a; b < rank; ++b)
            sums[(a * rank + b) * parts + part] = kernels.sum(SumOf::products, columns.data() + a * height + part * kSumChunk,
                                                              columns.data() + b * height + part * kSumChunk, std::min(kSumChunk, height - part * kSumChunk));
    });
    for (std::size_t i = 0; i < rank * rank; ++i) gram[i] = sum_of_chunks(parts, [&](std::size_t part) { return sums[i * parts + part]; });
    if (!whiten(gram.data(), rank, inverse.data())) return std::nullopt;
    parallel_for(stream, parts, 1, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::size_t i = begin * kSumChunk; i < std::min<std::size_t>(end * kSumChunk, height); ++i)
        rotate_row(columns.data() + i, height, rank, inverse.data());
    });
  }
  std::uint64_t vanished = 0;
  for (std::size_t k = 0; k < rank; ++k)
    if (gram[k * rank + k] == 0) vanished |= std::uint64_t{1} << k;
  return vanished;
}

void expand(const Kernels& kernels, const float* left, const float* right, std::size_t rows, std::size_t columns, std::size_t rank,
            std::size_t begin, std::span<float> out) {
  for (std::size_t done = 0; done < out.size();) {
    const std::size_t row = (begin + done) / columns, column = (begin + done) % columns;
    const std::size_t count = std::min(columns - column, out.size() - done);
    kernels.outer({left + row, rows}, {right + column, columns}, rank, out.data() + done, count);
    done += count;
  }
}

void add_product(Stream& stream, const Kernels& kernels, float weight, std::span<const float> left, std::span<const float> right, std::size_t rank,
                 std::span<float> sum) {
  const std::size_t rows = left.size() / rank, columns = right.size() / rank;
  GOSSAMER_CHECK(sum.size() == rows * columns, "factors of another matrix");
  parallel_for(stream, sum.size(), kElementsOfPart, [&](std::uint64_t begin, std::uint64_t end) {
    float values[kExpanded];
    for (std::uint64_t at = begin; at < end; at += kExpanded) {
      const std::size_t count = std::min<std::uint64_t>(kExpanded, end - at);
      expand(kernels, left.data(), right.data(), rows, columns, rank, at, {values, count});
      kernels.axpy(weight, values, sum.data() + at, count);
    }
  });
}

}  // namespace gossamer
