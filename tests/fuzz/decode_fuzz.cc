// libFuzzer: bytes from a hostile peer, handed to every decoder.
//
// Input: one byte for codec, scope and whether an honest payload is changed, one for the layout and for whether the length is
// made right (a random length is refused before anything else), then the payload or what is changed of it.  The checks are those of the interface: what
// is refused leaves the target as it was, what is accepted leaves finite numbers.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/compressor.h"
#include "kernels/vector.h"

using namespace gossamer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const CompressionOptions codecs[] = {
      {.codec = CodecId::none},
      {.codec = CodecId::fp16},
      {.codec = CodecId::bf16},
      {.codec = CodecId::top_k, .ratio = 0.02},
      {.codec = CodecId::top_k, .ratio = 0.3},
      {.codec = CodecId::top_k, .ratio = 0.003, .values = CodecId::int8},
      {.codec = CodecId::threshold, .threshold = 0.5},
      {.codec = CodecId::threshold, .threshold = 0.5, .values = CodecId::bf16},
      {.codec = CodecId::random_k, .ratio = 0.1},
      {.codec = CodecId::sign},
      {.codec = CodecId::sign, .one_scale = true},
      {.codec = CodecId::qsgd, .levels = 1},
      {.codec = CodecId::qsgd, .levels = 7},
      {.codec = CodecId::qsgd, .levels = 16, .norm = Norm::two, .one_scale = true},
      {.codec = CodecId::qsgd, .levels = 127, .unbiased = true},
      {.codec = CodecId::fp8},
      {.codec = CodecId::int8},
      {.codec = CodecId::int4},
      {.codec = CodecId::terngrad},
      {.codec = CodecId::natural},
      {.codec = CodecId::low_rank, .rank = 1},
      {.codec = CodecId::low_rank, .rank = 3},
  };
  CompressionOptions options = codecs[((data[0] & 0x7f) >> 1) % std::size(codecs)];
  options.scope = (data[0] & 1) != 0 && options.codec != CodecId::low_rank ? Scope::model : Scope::tensor;
  const auto codec = make_compressor(options);
  if (!codec) std::abort();

  Layout layout;
  for (int t = 0; t <= (data[1] >> 1) % 4; ++t) {
    const std::size_t count = (data[1] * std::size_t{37} + 61u * static_cast<unsigned>(t)) % 200;
    if (count % 6 == 0)  // a matrix, for the codec that cares
      layout.add("", {6, count / 6});
    else
      layout.add("", {count});
  }

  // A copy of its own, so that reading one byte past the end is seen.
  std::vector<std::byte> payload(size - 2);
  if (size > 2) std::memcpy(payload.data(), data + 2, size - 2);
  if ((data[1] & 1) != 0) payload.resize((*codec)->capacity(layout));

  Stream stream;
  // Random bytes seldom get past the header, so that every other input changes an honest payload: two bytes say where, one
  // says to what.
  if ((data[0] & 0x80) != 0) {
    std::vector<float> x(layout.size());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<int>(i * 37 % 101) - 50) / 64;
    payload.assign((*codec)->capacity(layout), std::byte{0});
    const auto used = (*codec)->encode(stream, x, layout, 1, payload);
    if (!used) std::abort();
    payload.resize(*used);
    for (std::size_t i = 2; i + 2 < size && !payload.empty(); i += 3)
      payload[(data[i] * 256u + data[i + 1]) % payload.size()] = static_cast<std::byte>(data[i + 2]);
  }
  std::vector<float> target(layout.size(), 0.5f);
  const auto done = (*codec)->add_decoded(stream, payload, layout, 1.0f, target);
  if (done ? !all_finite(target)
           : std::any_of(target.begin(), target.end(), [](float x) { return x != 0.5f; }))
    std::abort();
  return 0;
}
