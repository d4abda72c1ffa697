// f_i(x) = 1/2 (x - c_i)^T A (x - c_i), one per peer, with the same A.
//
// A = H D H: D holds the eigenvalues, from 1/condition to 1, evenly in log scale, and H is a seeded
// Householder reflection that couples the coordinates.  c_i = z + heterogeneity * u_i with z and u_i
// standard normal.  All peers share A, so the minimum of the average is the average of the c_i.
#include <cmath>
#include <fmt/format.h>
#include <limits>

#include "base/check.h"
#include "base/random.h"
#include "trainer/tasks.h"

namespace gossamer {
namespace {

// Each kind of synthetic number has a key of its own.
enum class Draw : std::uint64_t { reflection = 1, shared_centre = 2, own_centre = 3, noise = 4 };

Random draws(std::uint64_t seed, Draw draw, std::uint64_t a = 0, std::uint64_t b = 0) {
  return Random(mix_seed(seed, static_cast<std::uint64_t>(draw)), Purpose::synthetic_data, a, b);
}

class Quadratic final : public QuadraticTask {
 public:
  Quadratic(const TaskOptions& options, std::size_t batch_size, PeerId peer, std::size_t peers,
            std::uint64_t seed)
      : batch_size_(batch_size),
        steps_per_epoch_(options.steps_per_epoch),
        noise_(options.noise / std::sqrt(static_cast<double>(batch_size))),
        peer_(peer),
        seed_(seed),
        eigenvalues_(options.dimension),
        reflection_(options.dimension),
        own_(options.dimension),
        mean_(options.dimension),
        scratch_(options.dimension) {
    const std::size_t n = options.dimension;
    for (std::size_t t = 0; t < options.tensors; ++t)
      layout_.add(options.tensors == 1 ? "x" : fmt::format("x.{}", t), {n * (t + 1) / options.tensors - n * t / options.tensors});
    for (std::size_t k = 0; k < n; ++k)
      eigenvalues_[k] =
          n == 1 ? 1 : std::pow(options.condition, static_cast<double>(k) / static_cast<double>(n - 1) - 1);
    Random reflection = draws(seed, Draw::reflection);
    double square = 0;
    for (double& v : reflection_) {
      v = reflection.normal();
      square += v * v;
    }
    for (double& v : reflection_) v /= std::sqrt(square);

    for (std::size_t p = 0; p < peers; ++p) {
      Random shared = draws(seed, Draw::shared_centre), own = draws(seed, Draw::own_centre, p);
      for (std::size_t k = 0; k < n; ++k) {
        const double centre = shared.normal() + options.heterogeneity * own.normal();
        mean_[k] += centre / static_cast<double>(peers);
        if (p == peer) own_[k] = centre;
      }
    }
    own_rounded_.assign(own_.begin(), own_.end());
    mean_rounded_.assign(mean_.begin(), mean_.end());
  }

  std::string_view name() const override { return "quadratic"; }
  const Layout& layout() const override { return layout_; }
  std::size_t batch_size() const override { return batch_size_; }
  std::uint64_t steps_per_epoch() const override { return steps_per_epoch_; }
  std::uint64_t samples() const override { return batch_size_ * steps_per_epoch_; }
  std::span<const float> optimum() const override { return mean_rounded_; }
  std::span<const float> own_optimum() const override { return own_rounded_; }

  void initialise(std::uint64_t, std::span<float> model) const override {
    GOSSAMER_CHECK(model.size() == layout_.size(), "the model has the size of the layout");
    std::fill(model.begin(), model.end(), 0.0f);
  }

  // A batch adds a random linear term to f_i, so that loss and gradient belong together.
  double loss_and_gradient(Stream& stream, std::span<const float> model, std::uint64_t step,
                           std::span<float> gradient, GradientSink* sink) override {
    check_call(stream, model);
    GOSSAMER_CHECK(gradient.size() == layout_.size(), "the gradient has the size of the layout");
    double loss = value(model, own_);  // leaves A (x - c) in scratch_
    if (noise_ == 0) {
      for (std::size_t k = 0; k < gradient.size(); ++k) gradient[k] = static_cast<float>(scratch_[k]);
    } else {
      Random random = draws(seed_, Draw::noise, peer_, step);
      for (std::size_t k = 0; k < gradient.size(); ++k) {
        const double tilt = noise_ * random.normal();
        gradient[k] = static_cast<float>(scratch_[k] + tilt);
        loss += tilt * (static_cast<double>(model[k]) - own_[k]);
      }
    }
    if (sink != nullptr)
      for (std::size_t t = layout_.tensors().size(); t-- > 0;) sink->ready(layout_.tensors()[t].offset, layout_.tensors()[t].count);
    return loss;
  }

  // How far the average of all peers' functions is above its minimum.  There is no test set: samples is 0.
  Evaluation evaluate(Stream& stream, std::span<const float> model, std::uint64_t) override {
    check_call(stream, model);
    return {value(model, mean_), std::numeric_limits<double>::quiet_NaN(), 0};
  }

 private:
  void check_call(const Stream& stream, std::span<const float> model) const {
    GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "this task works on host memory");
    GOSSAMER_CHECK(model.size() == layout_.size(), "the model has the size of the layout");
  }

  void reflect() {
    double along = 0;
    for (std::size_t k = 0; k < scratch_.size(); ++k) along += reflection_[k] * scratch_[k];
    for (std::size_t k = 0; k < scratch_.size(); ++k) scratch_[k] -= 2 * along * reflection_[k];
  }

  // 1/2 (x - c)^T A (x - c), with A (x - c) in scratch_.
  double value(std::span<const float> x, const std::vector<double>& centre) {
    for (std::size_t k = 0; k < x.size(); ++k) scratch_[k] = static_cast<double>(x[k]) - centre[k];
    reflect();
    double sum = 0;
    for (std::size_t k = 0; k < x.size(); ++k) {
      sum += eigenvalues_[k] * scratch_[k] * scratch_[k];
      scratch_[k] *= eigenvalues_[k];
    }
    reflect();
    return 0.5 * sum;
  }

  std::size_t batch_size_;
  std::uint64_t steps_per_epoch_;
  double noise_;  // of a batch
  PeerId peer_;
  std::uint64_t seed_;
  Layout layout_;
  std::vector<double> eigenvalues_, reflection_, own_, mean_, scratch_;
  std::vector<float> own_rounded_, mean_rounded_;
};

}  // namespace

Result<std::unique_ptr<QuadraticTask>> make_quadratic(const TaskOptions& options, std::size_t batch_size,
                                                      PeerId peer, std::size_t peers, std::uint64_t seed) {
  GOSSAMER_TRY(validate(options));
  if (batch_size == 0) return fail(Errc::invalid_argument, "batch_size is 0; it must be at least 1");
  GOSSAMER_CHECK(peer < peers, "the peer is one of the peers");
  return std::make_unique<Quadratic>(options, batch_size, peer, peers, seed);
}

}  // namespace gossamer
