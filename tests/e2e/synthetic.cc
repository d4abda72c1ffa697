#include "tests/e2e/synthetic.h"

#include <cmath>
#include <cstdint>

#include "base/random.h"

namespace gossamer::e2e {
namespace {

constexpr std::size_t kFeatures = 20;

void append(std::string& bytes, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift & 0xff));
}

}  // namespace

void write_two_classes(const Scratch& folder, std::size_t train, std::size_t test) {
  std::uint64_t state = 2026;
  const auto uniform = [&] { return static_cast<double>((state = mix_seed(state, 1)) >> 11) * 0x1p-53; };
  for (const auto& [name, samples] : {std::pair<std::string, std::size_t>{"train", train}, {"test", test}}) {
    std::string images, labels;
    append(images, 0x00000802);  // bytes, two dimensions
    append(images, static_cast<std::uint32_t>(samples));
    append(images, kFeatures);
    append(labels, 0x00000801);
    append(labels, static_cast<std::uint32_t>(samples));
    for (std::size_t i = 0; i < samples; ++i) {
      double score = 0;
      for (std::size_t j = 0; j < kFeatures; ++j) {
        const auto pixel = static_cast<unsigned char>(256 * uniform());
        images.push_back(static_cast<char>(pixel));
        score += (pixel / 255.0 - 0.5) * (j % 2 ? 3.0 : -3.0) / (1 + static_cast<double>(j) / 5);
      }
      labels.push_back(uniform() < 1 / (1 + std::exp(-score)) ? 1 : 0);
    }
    folder.file(name + ".images", images);
    folder.file(name + ".labels", labels);
  }
}

}  // namespace gossamer::e2e
