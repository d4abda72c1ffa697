#include "runtime/bench/transport_references.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <sstream>
#include <vector>

#include "base/file_descriptor.h"
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

}  // namespace

double memcpy_bandwidth(Amount amount) {
  std::vector<std::byte> from(amount.size, std::byte{1}), to(amount.size, std::byte{2});
  std::vector<double> times;
  // Many copies of little, so that the clock is not what is measured.
  const std::size_t at_once = std::max<std::size_t>(1, (std::size_t{1} << 20) / std::max<std::size_t>(1, amount.size));
  for (std::size_t i = 0; i < amount.count; ++i) {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t k = 0; k < at_once; ++k) {
      std::memcpy(to.data(), from.data(), amount.size);
      asm volatile("" : : "r"(to.data()) : "memory");  // the copy has to be made
    }
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return static_cast<double>(amount.size * at_once) / *middle;
}

Result<double> ucx_perftest(const std::string& tls, const std::string& test, Amount amount) {
  const std::vector<std::string> environment = {"UCX_TLS=" + tls, "UCX_NET_DEVICES=lo", "UCX_LOG_LEVEL=fatal"};
  const std::string port = std::to_string(free_port());
  GOSSAMER_TRY_ASSIGN(Program server, Program::start({"ucx_perftest", "-p", port}, environment));
  const std::vector<std::string> words = {
      "ucx_perftest", "127.0.0.1", "-p", port, "-t", test, "-s", std::to_string(amount.size), "-n", std::to_string(amount.count),
      "-w", std::to_string(std::max<std::size_t>(1, amount.count / 8)), "-f"};
  for (int attempt = 0;; ++attempt) {
    pollfd none{-1, 0, 0};
    (void)::poll(&none, 1, 100);  // until the server listens
    GOSSAMER_TRY_ASSIGN(Program client, Program::start(words, environment));
    const auto text = client.output(kDeadline_s);
    if (!text && text.error().code == Errc::io && attempt < 20) continue;  // refused: it does not listen yet
    if (!text) return fail(text.error().code, text.error().message);
    // With -f the last line holds: iterations, the 50th percentile, average and overall time, average and overall MB/s, ...
    std::istringstream lines(*text);
    std::string line, last;
    while (std::getline(lines, line))
      if (line.find_first_of("0123456789") != std::string::npos && line.find('|') == std::string::npos) last = line;
    last.erase(0, last.starts_with("Final:") ? 6 : 0);
    std::istringstream numbers(last);
    std::vector<double> all;
    for (double number = 0; numbers >> number;) all.push_back(number);
    if (all.size() < 6) return fail(Errc::io, "ucx_perftest says what nobody understands: " + *text);
    return test.ends_with("_lat") ? all[1] : all[5] * (1 << 20);
  }
}

}  // namespace gossamer::bench
