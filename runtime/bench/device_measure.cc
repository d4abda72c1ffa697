#include "runtime/bench/device_measure.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>

#include "kernels/device/codecs.h"
#include "kernels/device/vector.h"

namespace gossamer {
namespace {

struct Case {
  std::string name;
  double bytes = 0;  // per element
  std::function<Result<>()> run;
};

class Bench {
 public:
  static Result<std::unique_ptr<Bench>> make(DeviceStream& stream, const DeviceBench& how, std::size_t elements) {
    auto bench = std::unique_ptr<Bench>(new Bench(stream, how, elements));
    for (std::uint64_t v = 0; v < kVectors; ++v) {
      GOSSAMER_TRY_ASSIGN(auto buffer, DeviceBuffer<float>::make(stream, elements));
      std::vector<float> values(elements);
      if (v < 3) fill_normal(values, v + 1);
      stream.upload(values.data(), buffer.data(), elements * sizeof(float));
      bench->vectors_.push_back(std::move(buffer));
    }
    GOSSAMER_TRY_ASSIGN(auto payload, DeviceBuffer<std::byte>::make(stream, 4 * elements + elements / 32 + 4096));
    bench->payload_.push_back(std::move(payload));
    GOSSAMER_TRY(stream.finish());
    GOSSAMER_TRY(bench->add_cases());
    return bench;
  }

  Result<> run(const std::function<void(const KernelRow&)>& row);

 private:
  static constexpr std::uint64_t kVectors = 4;

  Bench(DeviceStream& stream, const DeviceBench& how, std::size_t elements) : stream_(stream), how_(how), n_(elements), layout_(Layout::flat(elements)) {
    const auto side = std::max<std::size_t>(1, static_cast<std::size_t>(std::sqrt(static_cast<double>(elements))));
    matrix_.add("matrix", {side, elements / side});
    matrix_.add("rest", {elements - side * (elements / side)});
  }

  std::span<float> x() { return vectors_[0].span(); }
  std::span<float> y() { return vectors_[1].span(); }
  std::span<float> z() { return vectors_[2].span(); }
  std::span<float> out() { return vectors_[3].span(); }
  std::span<std::byte> payload() { return payload_[0].span(); }

  Result<> add_cases();
  Result<> add_codec(const std::string& name, const CompressionOptions& options, bool sparse);
  Result<> measure(const Case& one, const std::function<void(const KernelRow&)>& row);
  // Whether the others go on without `name`.
  Result<> tell(const std::string& name, Result<> done) const {
    if (done || !how_.failed) return done;
    how_.failed(name, n_, done.error());
    return {};
  }

  DeviceStream& stream_;
  const DeviceBench& how_;
  std::size_t n_;
  Layout layout_;
  Layout matrix_;  // as square as the vector allows
  std::vector<DeviceBuffer<float>> vectors_;
  std::vector<DeviceBuffer<std::byte>> payload_;
  std::size_t turn_ = 0;
  std::vector<Case> cases_;
};

Result<> Bench::add_cases() {
  cases_.push_back({"snapshot copy", 8, [this]() -> Result<> {
                      copy(stream_, x(), out());
                      return stream_.finish();
                    }});
  cases_.push_back({"mix of 3", 16, [this]() -> Result<> {
                      const WeightedVector terms[] = {{0.5f, x()}, {0.25f, y()}, {0.25f, z()}};
                      weighted_sum(stream_, terms, out());
                      return stream_.finish();
                    }});
  cases_.push_back({"mix of 3 and norm of the move", 16, [this]() -> Result<> {
                      const WeightedVector others[] = {{0.25f, y()}, {0.25f, z()}};
                      GOSSAMER_TRY(mix(stream_, others, x(), out()));
                      return {};
                    }});
  cases_.push_back({"copy and norm", 8, [this]() -> Result<> {
                      GOSSAMER_TRY(copy_and_norm(stream_, x(), out()));
                      return {};
                    }});
  cases_.push_back({"distance", 8, [this]() -> Result<> {
                      GOSSAMER_TRY(squared_distance(stream_, x(), y()));
                      return {};
                    }});
  const auto add = [this](const std::string& name, const CompressionOptions& options, bool sparse) { return tell(name, add_codec(name, options, sparse)); };
  for (const NamedCodec& named : dense_codecs()) GOSSAMER_TRY(add(named.name, named.options, false));
  GOSSAMER_TRY(add("top-k 1 %", {.codec = CodecId::top_k, .ratio = 0.01}, true));
  GOSSAMER_TRY(add("threshold 2.5", {.codec = CodecId::threshold, .threshold = 2.5}, true));
  GOSSAMER_TRY(add("random-k 1 %", {.codec = CodecId::random_k, .ratio = 0.01}, true));
  GOSSAMER_TRY(add("low-rank 1", {.codec = CodecId::low_rank, .rank = 1}, false));
  GOSSAMER_TRY(add("low-rank 4", {.codec = CodecId::low_rank, .rank = 4}, false));
  return {};
}

Result<> Bench::add_codec(const std::string& name, const CompressionOptions& options, bool sparse) {
  GOSSAMER_TRY_ASSIGN(auto made, make_device_compressor(options));
  const std::shared_ptr<const Compressor> c = std::move(made);
  auto used = std::make_shared<std::size_t>(0);
  const bool factors = options.codec == CodecId::low_rank;
  const Layout* const layout = factors ? &matrix_ : &layout_;
  const double reads = factors ? 2 + 2 * options.power_iterations : 1;  // of the vector, by an encoder
  GOSSAMER_TRY_ASSIGN(*used, c->encode(stream_, x(), *layout, 1, payload()));
  const double code = static_cast<double>(*used) / static_cast<double>(n_);
  const bool random = options.codec == CodecId::random_k;
  cases_.push_back({"encode " + name, random ? 2 * code : 4 * reads + code, [=, this]() -> Result<> {
                      GOSSAMER_TRY_ASSIGN(*used, c->encode(stream_, x(), *layout, 1, payload()));
                      return {};
                    }});
  cases_.push_back({"decode and add " + name, sparse ? 3 * code : 8 + code, [=, this]() -> Result<> {
                      const WeightedPayload one{payload().first(*used), 1e-3f};
                      return c->decode(stream_, {&one, 1}, *layout, {.target = DecodeTo::add, .out = out()});
                    }});
  if (options.codec == CodecId::qsgd && options.norm == Norm::max)
    cases_.push_back({"decode and add 3 of " + name, 8 + 3 * code, [=, this]() -> Result<> {
                        const std::span<const std::byte> bytes = payload().first(*used);
                        const WeightedPayload three[] = {{bytes, 1e-3f}, {bytes, 2e-3f}, {bytes, 3e-3f}};
                        return c->decode(stream_, three, layout_, {.target = DecodeTo::add, .out = out()});
                      }});
  // Towards two vectors in turn, lest the replica arrive.
  cases_.push_back({"choco " + name, random ? 4 * code : sparse ? 8 + code : factors ? 8 * reads + 8 + code : 12 + code, [=, this]() -> Result<> {
                      GOSSAMER_TRY(c->encode_difference(stream_, ++turn_ % 2 == 0 ? x() : z(), y(), *layout, 1, payload()));
                      return {};
                    }});
  return {};
}

Result<> Bench::run(const std::function<void(const KernelRow&)>& row) {
  for (const Case& one : cases_)
    if (how_.only.empty() || one.name.find(how_.only) != std::string::npos) GOSSAMER_TRY(tell(one.name, measure(one, row)));
  return {};
}

Result<> Bench::measure(const Case& one, const std::function<void(const KernelRow&)>& row) {
  const auto limit = [this]() -> Result<> {
    copy(stream_, x(), out());
    return stream_.finish();
  };
  const auto timed = [this](const std::function<Result<>()>& work) -> Result<double> {
    Result<> done;
    GOSSAMER_TRY_ASSIGN(const double seconds, stream_.seconds_of([&] { done = work(); }));
    GOSSAMER_TRY(done);
    return seconds;
  };
  if (one.name.starts_with("decode")) {  // needs its encoder's payload
    for (const Case& other : cases_)
      if (other.name.starts_with("encode ") && one.name.ends_with(" " + other.name.substr(7))) GOSSAMER_TRY(other.run());
  }
  GOSSAMER_TRY(one.run());
  std::vector<double> limits, seconds, ratios;
  const double bytes = one.bytes * static_cast<double>(n_);
  for (std::size_t r = 0; r < how_.repetitions; ++r) {
    GOSSAMER_TRY_ASSIGN(const double of_limit, timed(limit));
    GOSSAMER_TRY_ASSIGN(const double of_kernel, timed(one.run));
    limits.push_back(of_limit);
    seconds.push_back(of_kernel);
    ratios.push_back(bytes / of_kernel / (8.0 * static_cast<double>(n_) / of_limit));
  }
  KernelRow result{.name = one.name, .elements = n_, .threads = 0, .bytes = bytes};
  result.seconds = median_of(seconds);
  result.best_seconds = *std::min_element(seconds.begin(), seconds.end());
  result.limit = "device copy";
  result.limit_bytes_per_second = 8.0 * static_cast<double>(n_) / median_of(limits);
  result.ratio = median_of(ratios);
  row(result);
  return {};
}

}  // namespace

Result<> measure_device(DeviceStream& stream, const DeviceBench& bench, const std::function<void(const KernelRow&)>& row) {
  for (const std::size_t elements : bench.elements) {
    GOSSAMER_TRY_ASSIGN(const auto one, Bench::make(stream, bench, elements));
    GOSSAMER_TRY(one->run(row));
  }
  return {};
}

}  // namespace gossamer
