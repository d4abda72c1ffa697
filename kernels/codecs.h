// The codecs of make_compressor(), one maker each; options were checked by it.
#pragma once

#include "kernels/compressor.h"

namespace gossamer {

std::unique_ptr<Compressor> make_identity_codec();
std::unique_ptr<Compressor> make_fp16_codec(Scope scope);
std::unique_ptr<Compressor> make_bf16_codec();
std::unique_ptr<Compressor> make_top_k_codec(Scope scope, double ratio);
std::unique_ptr<Compressor> make_random_k_codec(Scope scope, double ratio, bool unbiased);
std::unique_ptr<Compressor> make_sign_codec(Scope scope);
std::unique_ptr<Compressor> make_qsgd_codec(Scope scope, std::uint32_t levels, bool unbiased);

// How many of `count` > 0 elements the sparsifiers keep: max(1, floor(ratio * count)), in fp64.
std::size_t kept(double ratio, std::size_t count);

}  // namespace gossamer
