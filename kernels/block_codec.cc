#include "kernels/block_codec.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/check.h"
#include "kernels/chunks.h"
#include "kernels/codes.h"
#include "kernels/vector.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

// The element of largest magnitude, which is the first NaN or infinity where there is one.
std::size_t find_largest(std::span<const float> x) {
  const auto less = [](float a, float b) {
    return std::min(magnitude_bits(a), 0x7f800000u) < std::min(magnitude_bits(b), 0x7f800000u);
  };
  return static_cast<std::size_t>(std::max_element(x.begin(), x.end(), less) - x.begin());
}

}  // namespace

// Calls visit(block number, first element, element count) while it returns true.
template <class Visit>
void BlockCodec::for_each_block(const Layout& layout, Visit visit) const {
  if (scope_ == Scope::model) {
    if (layout.size() > 0) visit(std::size_t{0}, std::size_t{0}, layout.size());
    return;
  }
  const std::vector<Tensor>& tensors = layout.tensors();
  for (std::size_t t = 0; t < tensors.size(); ++t)
    if (tensors[t].count > 0 && !visit(t, tensors[t].offset, tensors[t].count)) return;
}

std::size_t BlockCodec::capacity(const Layout& layout) const {
  std::size_t size = prelude_size();
  for_each_block(layout, [&](std::size_t, std::size_t, std::size_t count) {
    size += block_size(count);
    return true;
  });
  return size;
}

double BlockCodec::contraction(const Layout& layout) const {
  // The worst block bounds the vector: all of its weight may lie there.
  double least = 1;
  for_each_block(layout, [&](std::size_t, std::size_t, std::size_t count) {
    least = std::min(least, std::max(0.0, block_contraction(count)));
    return true;
  });
  return least;
}

Result<std::size_t> BlockCodec::encode(Stream& stream, std::span<const float> x, const Layout& layout,
                                       std::uint64_t seed, std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
  GOSSAMER_CHECK(x.size() == layout.size(), "the vector is not that of the layout");
  GOSSAMER_CHECK(encoded.size() >= capacity(layout), "less room than capacity()");
  if (!all_finite(x))
    return fail(Errc::diverged,
                fmt::format("{}: {} is NaN or infinite", name(), describe_element(layout, find_largest(x))));
  write_prelude(seed, encoded.data());
  std::size_t used = prelude_size();
  bool representable = true;
  for_each_block(layout, [&](std::size_t block, std::size_t first, std::size_t count) {
    const std::span<const float> part = x.subspan(first, count);
    representable = encode_block(part, {seed, block}, encoded.data() + used);
    used += block_size(count);
    if (!representable) used = first + find_largest(part);
    return representable;
  });
  if (!representable)
    return fail(Errc::diverged,
                fmt::format("{}: values too large to encode in float32, the largest of them {} at {}", name(),
                            x[used], describe_element(layout, used)));
  return used;
}

Result<> BlockCodec::decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout,
                            const DecodeInto& into) const {
  GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
  for (const WeightedPayload& payload : payloads) GOSSAMER_TRY(check(payload.encoded, layout));
  const std::span<float> out = into.out;
  switch (into.target) {
    case DecodeTo::assign:
      std::fill(out.begin(), out.end(), 0.0f);
      [[fallthrough]];
    case DecodeTo::add:
      for (const WeightedPayload& payload : payloads) add(payload.encoded, layout, payload.weight, out);
      break;
    case DecodeTo::follow:
      add(payloads[0].encoded, layout, 1.0f, out);
      for (std::size_t i = 0; i < out.size(); ++i) into.sum[i] += payloads[0].weight * (out[i] - into.own[i]);
      break;
    case DecodeTo::difference: {
      std::vector<float> q(layout.size());
      std::fill(out.begin(), out.end(), 0.0f);
      for (const WeightedPayload& payload : payloads) {
        std::fill(q.begin(), q.end(), 0.0f);
        add(payload.encoded, layout, 1.0f, q);
        for (std::size_t i = 0; i < q.size(); ++i) out[i] += payload.weight * (q[i] - into.own[i]);
      }
      break;
    }
    case DecodeTo::wide: {
      std::vector<float> q(layout.size());
      add(payloads[0].encoded, layout, 1.0f, q);
      for (std::size_t i = 0; i < q.size(); ++i) into.wide[i] += into.wide_weight * static_cast<double>(q[i]);
      break;
    }
  }
  return {};
}

Result<> BlockCodec::check(std::span<const std::byte> encoded, const Layout& layout) const {
  const std::size_t size = capacity(layout);
  if (encoded.size() != size)
    return fail(Errc::corrupt,
                fmt::format("{} payload of {} bytes where this model and these options take {}: does "
                            "the sender run another run file?",
                            name(), encoded.size(), size));
  GOSSAMER_TRY(read_prelude(encoded.data()));
  const std::byte* from = encoded.data() + prelude_size();
  const char* refused = nullptr;
  std::size_t where = 0;
  for_each_block(layout, [&](std::size_t, std::size_t first, std::size_t count) {
    refused = refuse_block(from, count);
    where = first;
    from += block_size(count);
    return refused == nullptr;
  });
  if (refused != nullptr)
    return fail(Errc::corrupt, fmt::format("{} payload, block at {}: {}", name(), describe_element(layout, where), refused));
  return {};
}

void BlockCodec::add(std::span<const std::byte> encoded, const Layout& layout, float scale, std::span<float> target) const {
  const std::uint64_t seed = read_prelude(encoded.data()).value_or(0);
  const std::byte* from = encoded.data() + prelude_size();
  for_each_block(layout, [&](std::size_t block, std::size_t first, std::size_t count) {
    add_block(from, {seed, block}, scale, target.subspan(first, count));
    from += block_size(count);
    return true;
  });
}

}  // namespace gossamer
