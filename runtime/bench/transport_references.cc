#include "runtime/bench/transport_references.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <vector>

#include "base/file_descriptor.h"
#include "runtime/bench/bare_libfabric.h"
#include "runtime/bench/talk.h"

namespace gossamer::bench {
namespace {

constexpr int kDeadline_s = 60;

// A port that was free a moment ago.
int free_port() {
  const FileDescriptor probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t size = sizeof where;
  if (::bind(probe.number(), reinterpret_cast<const sockaddr*>(&where), size) != 0 ||
      ::getsockname(probe.number(), reinterpret_cast<sockaddr*>(&where), &size) != 0)
    return 13337;
  return ntohs(where.sin_port);
}

// Runs a server, and clients until one finds it listening; the numbers at the beginnings of the words of that one's last line with any.
Result<std::vector<double>> last_numbers(const std::vector<std::string>& server_words, const std::vector<std::string>& words,
                                         const std::vector<std::string>& environment, std::size_t least) {
  GOSSAMER_TRY_ASSIGN(Program server, Program::start(server_words, environment));
  for (int attempt = 0;; ++attempt) {
    pollfd none{-1, 0, 0};
    (void)::poll(&none, 1, 100);  // until the server listens
    GOSSAMER_TRY_ASSIGN(Program client, Program::start(words, environment));
    const auto text = client.output(kDeadline_s);
    if (!text && text.error().code == Errc::io && attempt < 20) continue;  // refused: it does not listen yet
    if (!text) return fail(text.error().code, text.error().message);
    std::istringstream lines(*text);
    std::vector<double> all;
    for (std::string line; std::getline(lines, line);) {
      if (line.find('|') != std::string::npos) continue;  // a heading
      std::vector<double> numbers;
      std::istringstream in(line);
      for (std::string word; in >> word;) {
        const std::size_t digit = word.front() == '=' ? 1 : 0;
        char* end = nullptr;
        const double number = std::strtod(word.c_str() + digit, &end);
        if (end != word.c_str() + digit) numbers.push_back(number);
      }
      if (numbers.size() >= least) all = std::move(numbers);
    }
    if (all.empty()) return fail(Errc::io, words.front() + " says what nobody understands: " + *text);
    return all;
  }
}

}  // namespace

namespace {

// Bytes per second of copy(), which copies so many bytes, median of `count`.
template <class Copy>
Result<double> copy_bandwidth(Amount amount, Copy&& copy) {
  std::vector<double> times;
  // Many copies of little, so that the clock is not what is measured.
  const std::size_t at_once = std::max<std::size_t>(1, (std::size_t{1} << 20) / std::max<std::size_t>(1, amount.size));
  for (std::size_t i = 0; i < amount.count; ++i) {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t k = 0; k < at_once; ++k) GOSSAMER_TRY(copy());
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return static_cast<double>(amount.size * at_once) / *middle;
}

}  // namespace

double memcpy_bandwidth(Amount amount) {
  std::vector<std::byte> from(amount.size, std::byte{1}), to(amount.size, std::byte{2});
  return *copy_bandwidth(amount, [&]() -> Result<> {
    std::memcpy(to.data(), from.data(), amount.size);
    asm volatile("" : : "r"(to.data()) : "memory");  // the copy has to be made
    return {};
  });
}

Result<double> device_copy_bandwidth(DeviceMemory& device, Amount amount) {
  const auto release = [&device](std::byte* memory) { device.release(memory); };
  std::unique_ptr<std::byte, decltype(release)> from(nullptr, release), to(nullptr, release);
  for (auto* const side : {&from, &to}) {
    GOSSAMER_TRY_ASSIGN(std::byte* const memory, device.allocate(amount.size));
    side->reset(memory);
  }
  return copy_bandwidth(amount, [&] { return device.copy(from.get(), to.get(), amount.size); });
}

Result<double> ucx_perftest(const Wire& wire, const std::string& test, Amount amount) {
  std::vector<std::string> environment = {"UCX_TLS=" + wire.ucx_tls, "UCX_LOG_LEVEL=fatal"};
  if (!wire.ucx_devices.empty()) environment.push_back("UCX_NET_DEVICES=" + wire.ucx_devices);
  const std::string port = std::to_string(free_port());
  std::vector<std::string> server = {"ucx_perftest", "-p", port};
  std::vector<std::string> client = {"ucx_perftest", "127.0.0.1", "-p", port, "-t", test.substr(0, test.find(' ')), "-s", std::to_string(amount.size), "-n",
                                     std::to_string(amount.count), "-w", std::to_string(std::max<std::size_t>(1, amount.count / 8)), "-f"};
  if (test.ends_with(" -e"))
    for (auto* const side : {&server, &client}) side->push_back("-e");
  if (wire.fabric.ucx.device.memory) client.insert(client.end(), {"-m", "cuda,cuda"});
  // With -f the last line holds: iterations, the 50th percentile, average and overall time, average and overall MB/s, ...
  GOSSAMER_TRY_ASSIGN(const auto all, last_numbers(server, client, environment, 6));
  return test.ends_with("_lat") ? all[1] : all[5] * (1 << 20);
}

Result<double> fi_pingpong(const Wire& wire, Amount amount) {
  const std::string port = std::to_string(free_port());
  std::vector<std::string> words = {"fi_pingpong", "-e", "rdm", "-p", wire.bare_provider, "-I", std::to_string(amount.count), "-S", std::to_string(amount.size)};
  if (!wire.fabric.ofi.interface.empty()) words.insert(words.end(), {"-d", wire.fabric.ofi.interface});
  std::vector<std::string> server = words, client = words;
  server.insert(server.end(), {"-B", port});
  client.insert(client.end(), {"-P", port, bare_address(wire)});
  // bytes, sent, answered, total, time, MB/s, microseconds of one way, ...
  GOSSAMER_TRY_ASSIGN(const auto all, last_numbers(server, client, {}, 7));
  return all[6];
}

}  // namespace gossamer::bench
