#include "runtime/bench/kernels_measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <limits>
#include <memory>
#include <numeric>

#include "base/check.h"
#include "base/memory.h"
#include "kernels/compressor.h"
#include "kernels/parallel.h"
#include "kernels/vector.h"
#include "runtime/bench/memory_limits.h"
#include "runtime/bench/torch_reference.h"

namespace gossamer {
namespace {

struct Time {
  double clock = 0;
  double processor = 0;  // of all threads, divided by their number
};

double now(clockid_t clock) {
  timespec at{};
  ::clock_gettime(clock, &at);
  return static_cast<double>(at.tv_sec) + 1e-9 * static_cast<double>(at.tv_nsec);
}

Time time_of(std::size_t threads, std::size_t times, const std::function<void()>& work) {
  const double processor = now(CLOCK_PROCESS_CPUTIME_ID), clock = now(CLOCK_MONOTONIC);
  for (std::size_t t = 0; t < times; ++t) work();
  return {(now(CLOCK_MONOTONIC) - clock) / static_cast<double>(times),
          (now(CLOCK_PROCESS_CPUTIME_ID) - processor) / static_cast<double>(times * threads)};
}

// Nobody else had our processors.
bool undisturbed(const Time& time) { return time.processor >= 0.93 * time.clock; }

struct Case {
  std::string name;
  double bytes = 0;  // per element
  bool reads = false;
  std::function<void()> run;
  std::string peer = {};
  std::function<void()> run_peer = {};
  bool peer_threads = false;  // the peer uses the stream
};

class Bench {
 public:
  Bench(const KernelBench& bench, std::size_t elements)
      : bench_(bench), n_(elements), layout_(Layout::flat(elements)), payload_(4 * n_ + n_ / 32 + 4096) {
    for (AlignedBuffer<float>& vector : vectors_) vector = AlignedBuffer<float>(n_);
    for (std::size_t i = 0; i < 3; ++i) fill_normal(vectors_[i].span(), i + 1);
  }

  Result<> run(std::size_t threads, const std::function<void(const KernelRow&)>& row, TorchFound* torch);

 private:
  std::span<float> x() { return vectors_[0].span(); }
  std::span<float> y() { return vectors_[1].span(); }
  std::span<float> z() { return vectors_[2].span(); }
  std::span<float> out() { return vectors_[3].span(); }
  std::span<float> aside() { return vectors_[4].span(); }

  bool asked_for(const std::string& name) const { return bench_.only.empty() || name.find(bench_.only) != std::string::npos; }
  void add(Case one) { cases_.push_back(std::move(one)); }
  void add_vectors(Stream& stream);
  void add_codecs(Stream& stream);
  void add_sparse(Stream& stream);
  void add_low_rank(Stream& stream);

  std::shared_ptr<const Compressor> codec(const CompressionOptions& options) const {
    auto made = make_compressor(options, bench_.kernels);
    GOSSAMER_CHECK(made.has_value(), "the benchmark's own options");
    return std::move(*made);
  }
  std::size_t kept() const { return std::max<std::size_t>(1, n_ / 100); }
  float least_kept(Stream& stream);
  double payload_bytes(const Compressor& codec) const {
    return static_cast<double>(codec.capacity(layout_)) / static_cast<double>(n_);
  }

  const KernelBench& bench_;
  std::size_t n_;
  Layout layout_;
  AlignedBuffer<float> vectors_[5];
  AlignedBuffer<std::byte> payload_;
  std::size_t turn_ = 0, top_used_ = 0;
  std::vector<Case> cases_;
};

void must(bool done) { GOSSAMER_CHECK(done, "a kernel of the benchmark failed"); }

void Bench::add_vectors(Stream& stream) {
  add({"snapshot copy", 8, false, [&] { copy(stream, x(), out()); }, "std::memcpy", [&] { std::memcpy(out().data(), x().data(), 4 * n_); }});
  // What mixing would take if it were only its four streams.
  add({"roof of mixing: 3 read, 1 written", 16, false, [&] {
         parallel_for(stream, n_, 16384, [&](std::uint64_t begin, std::uint64_t end) {
           bench::merge_memory(x().data() + begin, y().data() + begin, z().data() + begin, out().data() + begin, end - begin);
         });
       }});
  add({"mix of 3", 16, false,
       [&] {
         const WeightedVector terms[] = {{0.5f, x()}, {0.25f, y()}, {0.25f, z()}};
         weighted_sum(stream, terms, out());
       },
       "scale and 2 axpy",
       [&] {
         parallel_for(stream, n_, 16384, [&](std::uint64_t begin, std::uint64_t end) {
           const auto part = [&](std::span<float> v) { return v.subspan(begin, end - begin); };
           for (std::uint64_t i = begin; i < end; ++i) out()[i] = 0.5f * x()[i];
           axpy(0.25f, part(y()), part(out()));
           axpy(0.25f, part(z()), part(out()));
         });
       }, true});
  add({"mix of 3 and norm of the move", 16, false, [&] {
         const WeightedVector others[] = {{0.25f, y()}, {0.25f, z()}};
         must(mix(stream, others, x(), out()).has_value());
       }});
  add({"copy and norm", 8, false, [&] { must(copy_and_norm(stream, x(), out()) > 0); }});
  add({"mix of 2 mailboxes minus own", 16, false, [&] {
         const auto none = codec({.codec = CodecId::none});
         const WeightedPayload payloads[] = {{std::as_bytes(y()), 0.25f}, {std::as_bytes(z()), 0.25f}};
         must(none->decode(stream, payloads, layout_, {.target = DecodeTo::difference, .out = out(), .own = x()}).has_value());
       }});
  add({"distance", 8, true, [&] { must(squared_distance(stream, x(), y()) > 0); }});
}

void Bench::add_codecs(Stream& stream) {
  for (const NamedCodec& named : dense_codecs()) {
    const auto c = codec(named.options);
    const double code = payload_bytes(*c);
    const auto encode = [&stream, this, c] {
      must(c->encode(stream, x(), layout_, 1, payload_.span()).has_value());
    };
    const bool sign = named.options.codec == CodecId::sign;
    add({fmt::format("encode {}", named.name), 4 + code, sign, encode});
    add({fmt::format("choco {}", named.name), 12 + code, false,
         // Towards two vectors in turn, lest the replica arrive.
         [&stream, this, c] { must(c->encode_difference(stream, ++turn_ % 2 == 0 ? x() : z(), y(), layout_, 1, payload_.span()).has_value()); },
         "difference, encode, add decoded", [&stream, this, c] {
           const WeightedVector terms[] = {{1, ++turn_ % 2 == 0 ? x() : z()}, {-1, y()}};
           weighted_sum(stream, terms, aside());
           const auto used = c->encode(stream, aside(), layout_, 1, payload_.span());
           must(used.has_value() && c->add_decoded(stream, payload_.span().first(*used), layout_, 1, y()).has_value());
         }, true});
    add({fmt::format("decode and add {}", named.name), 8 + code, false, [&stream, this, c] {
           const WeightedPayload one{payload_.span().first(c->capacity(layout_)), 1e-3f};
           must(c->decode(stream, {&one, 1}, layout_, {.target = DecodeTo::add, .out = out()}).has_value());
         }});
    if (named.options.codec == CodecId::qsgd && named.options.norm == Norm::max)
      add({fmt::format("decode and add 3 of {}", named.name), 8 + 3 * code, false, [&stream, this, c] {
             const std::span<const std::byte> bytes = payload_.span().first(c->capacity(layout_));
             const WeightedPayload three[] = {{bytes, 1e-3f}, {bytes, 2e-3f}, {bytes, 3e-3f}};
             must(c->decode(stream, three, layout_, {.target = DecodeTo::add, .out = out()}).has_value());
           }});
  }
}

void Bench::add_sparse(Stream& stream) {
  const std::size_t k = kept();
  const auto top = codec({.codec = CodecId::top_k, .ratio = 0.01});
  const double sent = payload_bytes(*top);
  add({"encode top-k 1 %", 4 + sent, true, [&stream, this, top] {
         const auto used = top->encode(stream, x(), layout_, 1, payload_.span());
         must(used.has_value());
         top_used_ = *used;
       },
       "copy, std::nth_element, collect", [this, k] {
         const auto work = aside();
         for (std::size_t i = 0; i < n_; ++i) work[i] = std::abs(x()[i]);
         std::nth_element(work.begin(), work.begin() + static_cast<std::ptrdiff_t>(k - 1), work.end(), std::greater<>());
         const float least = work[k - 1];
         std::size_t found = 0;
         for (std::size_t i = 0; i < n_ && found < k; ++i)
           if (std::abs(x()[i]) >= least) {
             out()[2 * found % n_] = static_cast<float>(i);
             out()[(2 * found + 1) % n_] = x()[i];
             ++found;
           }
         must(found == k);
       }});
  add({"decode and add top-k 1 %", 3 * sent, true, [&stream, this, top] {
         const WeightedPayload one{payload_.span().first(top_used_), 1e-3f};
         must(top->decode(stream, {&one, 1}, layout_, {.target = DecodeTo::add, .out = out()}).has_value());
       }});
  add({"choco top-k 1 %", 8 + sent, true,
       [&stream, this, top] { must(top->encode_difference(stream, ++turn_ % 2 == 0 ? x() : z(), y(), layout_, 1, payload_.span()).has_value()); }});
  const auto random = codec({.codec = CodecId::random_k, .ratio = 0.01});
  add({"encode random-k 1 %", 2 * payload_bytes(*random), true,
       [&stream, this, random] { must(random->encode(stream, x(), layout_, 1, payload_.span()).has_value()); }});
}

// One matrix, as square as the vector allows.  Bytes are those of its passes: each product reads it once, of a difference twice.
void Bench::add_low_rank(Stream& stream) {
  const auto side = std::max<std::size_t>(1, static_cast<std::size_t>(std::sqrt(static_cast<double>(n_))));
  const auto layout = std::make_shared<Layout>();
  layout->add("matrix", {side, n_ / side});
  layout->add("rest", {n_ - side * (n_ / side)});
  for (const std::uint32_t rank : {1u, 2u, 4u}) {
    const auto c = codec({.codec = CodecId::low_rank, .rank = rank});
    const double code = static_cast<double>(c->capacity(*layout)) / static_cast<double>(n_);
    add({fmt::format("encode low-rank {}", rank), 4 * 4 + code, true,
         [&stream, this, c, layout] { must(c->encode(stream, x(), *layout, 1, payload_.span()).has_value()); }});
    add({fmt::format("choco low-rank {}", rank), 4 * 8 + 8 + code, true, [&stream, this, c, layout] {
           must(c->encode_difference(stream, ++turn_ % 2 == 0 ? x() : z(), y(), *layout, 1, payload_.span()).has_value());
         }});
    add({fmt::format("decode and add low-rank {}", rank), 8 + code, false, [&stream, this, c, layout] {
           const WeightedPayload one{payload_.span().first(c->capacity(*layout)), 1e-3f};
           must(c->decode(stream, {&one, 1}, *layout, {.target = DecodeTo::add, .out = out()}).has_value());
         }});
  }
}

// The smallest magnitude that our top-k sends.
float Bench::least_kept(Stream& stream) {
  const auto top = codec({.codec = CodecId::top_k, .ratio = 0.01});
  const auto used = top->encode(stream, x(), layout_, 1, payload_.span());
  must(used.has_value());
  const WeightedPayload one{payload_.span().first(*used)};
  must(top->decode(stream, {&one, 1}, layout_, {.target = DecodeTo::assign, .out = aside()}).has_value());
  float least = std::numeric_limits<float>::infinity();
  for (const float value : aside())
    if (value != 0) least = std::min(least, std::abs(value));
  return least;
}

Result<> Bench::run(std::size_t threads, const std::function<void(const KernelRow&)>& row, TorchFound* torch) {
  std::unique_ptr<Stream> stream = threads == 1 ? std::make_unique<Stream>() : std::make_unique<ThreadedStream>(threads);
  cases_.clear();
  add_vectors(*stream);
  add_codecs(*stream);
  add_sparse(*stream);
  add_low_rank(*stream);
  const std::function<void()> limit_copy = [&] {
    parallel_for(*stream, n_, 16384, [&](std::uint64_t begin, std::uint64_t end) {
      bench::copy_memory(x().data() + begin, out().data() + begin, end - begin);
    });
  };
  const std::function<void()> limit_read = [&] {
    parallel_for(*stream, n_, 16384, [&](std::uint64_t begin, std::uint64_t end) {
      must(bench::read_memory(x().data() + begin, end - begin) != 0);
    });
  };
  std::vector<bench::TorchTime> beside;
  if (torch->skipped.empty() && (asked_for("encode top-k 1 %") || asked_for("encode bf16") || asked_for("encode int8") || asked_for("encode qsgd 8 bits") || asked_for("mix of 3"))) {
    auto measured = bench::measure_torch({.python = bench_.torch, .x = x(), .kept = kept(), .threads = threads});
    if (measured) {
      torch->version = measured->version;
      beside = std::move(measured->times);
      if (const float ours = least_kept(*stream); ours != measured->least_kept)
        return fail(Errc::internal, fmt::format("the least of the {} largest magnitudes is {}, and torch.topk says {}", kept(), ours, measured->least_kept));
    } else if (measured.error().code == Errc::unsupported) {
      torch->skipped = measured.error().message;
    } else {
      return fail("torch", measured.error());
    }
  }
  for (const Case& one : cases_) {
    if (!asked_for(one.name)) continue;
    KernelRow result{.name = one.name, .elements = n_, .threads = threads, .bytes = one.bytes * static_cast<double>(n_)};
    result.limit = one.reads ? "read" : "copy";
    result.peer = one.peer;
    const double limit_bytes = (one.reads ? 4.0 : 8.0) * static_cast<double>(n_);
    // Decoders need a payload, which the encoder's case leaves; both warm up.
    if (one.name.starts_with("decode")) {
      for (const Case& other : cases_)
        if (one.name.ends_with(other.name.substr(other.name.find(' ') + 1)) && other.name.starts_with("encode")) other.run();
      std::fill(out().begin(), out().end(), 0.0f);
    }
    one.run();
    // A small vector is timed several times over, so that the clock does not matter.
    const std::size_t times = std::max<std::size_t>(1, 4'000'000 / n_);
    std::vector<std::pair<Time, Time>> pairs, clean;  // limit, kernel
    for (std::size_t r = 0; r < 8 * bench_.repetitions && clean.size() < bench_.repetitions; ++r) {
      const Time limit = time_of(threads, times, one.reads ? limit_read : limit_copy), kernel = time_of(threads, times, one.run);
      (undisturbed(limit) && undisturbed(kernel) ? clean : pairs).emplace_back(limit, kernel);
    }
    result.busy = clean.size() < std::min<std::size_t>(3, bench_.repetitions);
    std::vector<double> seconds, limits, ratios;
    for (const auto& [limit, kernel] : result.busy ? pairs : clean) {
      seconds.push_back(result.busy ? kernel.processor : kernel.clock);
      limits.push_back(result.busy ? limit.processor : limit.clock);
      ratios.push_back(result.bytes / seconds.back() / (limit_bytes / limits.back()));
    }
    result.seconds = median_of(seconds);
    result.best_seconds = *std::min_element(seconds.begin(), seconds.end());
    result.limit_bytes_per_second = limit_bytes / median_of(limits);
    result.ratio = median_of(ratios);
    if (one.run_peer) {
      // What is one thread's work is timed as such.
      std::vector<double> peers;
      for (std::size_t r = 0; r < 3; ++r) peers.push_back(time_of(one.peer_threads ? threads : 1, 1, one.run_peer).processor);
      result.peer_seconds = median_of(peers);
      result.gain = result.peer_seconds / result.seconds;
    }
    row(result);
    for (const bench::TorchTime& time : beside) {
      if (time.row != one.name) continue;
      result.peer = time.what;
      result.peer_seconds = time.seconds;
      result.gain = time.seconds / result.seconds;
      row(result);
    }
  }
  return {};
}

}  // namespace

Result<TorchFound> measure_kernels(const KernelBench& bench, const std::function<void(const KernelRow&)>& row) {
  TorchFound torch;
  if (bench.torch.empty()) torch.skipped = "not asked for";
  for (const std::size_t elements : bench.elements) {
    Bench one(bench, elements);
    for (const std::size_t threads : bench.threads) GOSSAMER_TRY(one.run(threads, row, &torch));
  }
  return torch;
}

}  // namespace gossamer
