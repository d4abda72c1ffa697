#include "tests/e2e/command.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

namespace gossamer::e2e {
namespace fs = std::filesystem;

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> environment_with(const Process::Variables& variables) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    if (variables.contains(name) || (name.starts_with("GOSSAMER_") && name != "GOSSAMER_DATA")) continue;
    environment.push_back(text);
  }
  for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);
  return environment;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Scratch::Scratch() {
  std::string name = (fs::temp_directory_path() / "gossamer-e2e-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    ADD_FAILURE() << "no temporary folder";
    std::abort();
  }
  folder_ = name;
}

Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string Scratch::file(const std::string& name, const std::string& text) const {
  std::ofstream(*this / name, std::ios::binary) << text;
  return *this / name;
}

Process::Process(const Words& arguments, const Scratch& folder, const Variables& variables)
    : begun_(std::chrono::steady_clock::now()) {
  static int count = 0;
  const std::string base = folder / ("printed-" + std::to_string(count++));
  folder_ = folder.folder();
  out_ = base + ".out";
  err_ = base + ".err";
  std::vector<std::string> words = {variable("COMMAND_UNDER_TEST")};
  EXPECT_NE(words[0], "") << "meson test passes the path of the command";
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = environment_with(variables);
  const auto argv = pointers(words), envp = pointers(environment);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = ::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const int err = ::open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const char* const where = folder.folder().c_str();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::setpgid(0, 0);  // a terminal's Ctrl-C is for the test, which says what is killed
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::chdir(where) != 0 || ::dup2(nothing, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) ::_exit(125);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(125);
  }
  for (const int descriptor : {nothing, out, err}) ::close(descriptor);
}

Process::~Process() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Process::send(int signal) const { EXPECT_EQ(::kill(pid_, signal), 0); }

std::string Process::err() const { return text_of(err_); }

bool Process::says(const std::string& text, Duration patience) const {
  return eventually(patience, [&] { return err().find(text) != std::string::npos; });
}

Ended Process::wait(Duration patience) {
  Ended ended;
  int status = 0;
  const bool in_time = eventually(patience, [&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
  std::string where;
  if (!in_time) {
    where = whereabouts(folder_);
    ended.late = true;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status, 0);
  }
  pid_ = -1;
  ended.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  ended.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  ended.out = text_of(out_);
  ended.err = text_of(err_);
  EXPECT_FALSE(ended.late) << "still running after " << seconds(patience) << " s; it had said:\n"
                           << ended.err << "\nwhere it and its peers were:\n" << where;
  return ended;
}

Ended gossamer(const Words& arguments, const Scratch& folder, const Process::Variables& variables) {
  return Process(arguments, folder, variables).wait();
}

Words run_of(const std::string& file, const std::string& out, const Words& sets) {
  Words words = {"run", file, "--quiet", "--out", out, "--set", "deadlines.join=30 s", "--set", "deadlines.round=30 s"};
  for (const std::string& set : sets) {
    words.push_back("--set");
    words.push_back(set);
  }
  return words;
}

Words digits(const std::string& algorithm, const std::string& out, const Words& sets) {
  return run_of(source_root() + "/examples/digits/" + algorithm + ".yaml", out, sets);
}

std::string source_root() { return variable("SOURCE_ROOT"); }

std::string contents(const std::string& path) {
  EXPECT_TRUE(fs::is_regular_file(path)) << path << " is not there";
  return text_of(path);
}

Json summary(const std::string& out) {
  Json json = Json::parse(contents(out + "/summary.json"), nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << out << "/summary.json does not parse";
  return json;
}

std::vector<Json> rows(const std::string& out, std::size_t peer) {
  std::istringstream lines(contents(out + "/peer-" + std::to_string(peer) + ".jsonl"));
  std::vector<Json> result;
  for (std::string line; std::getline(lines, line);) {
    result.push_back(Json::parse(line, nullptr, false));
    EXPECT_FALSE(result.back().is_discarded()) << line;
  }
  return result;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<pid_t> processes_with(const std::string& text) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos || std::stoi(name) == ::getpid()) continue;
    // A zombie's command line is empty.
    if (text_of(entry.path() / "cmdline").find(text) != std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

pid_t peer_process(const std::string& out, std::size_t rank) {
  using namespace std::string_literals;
  const std::string words = "\0--rank\0"s + std::to_string(rank) + "\0"s;
  for (const pid_t pid : processes_with(out))
    if (text_of("/proc/" + std::to_string(pid) + "/cmdline").find(words) != std::string::npos) return pid;
  return 0;
}

bool nobody_left(const std::string& text, Duration patience) {
  return eventually(patience, [&] { return processes_with(text).empty(); });
}

Port::Port(bool listens) {
  auto port = reserve_port();
  EXPECT_TRUE(port) << port.error().message;
  if (port) port_ = std::move(*port);
  if (listens) {
    EXPECT_EQ(::listen(port_.socket.number(), 1), 0);
  }
}

std::string whereabouts(const std::string& text) {
  const auto line = [](const fs::path& file) {
    std::string content = text_of(file);
    return content.substr(0, content.find('\n'));
  };
  std::string all;
  for (const pid_t pid : processes_with(text)) {
    const fs::path folder = "/proc/" + std::to_string(pid);
    std::string command = text_of(folder / "cmdline");
    std::replace(command.begin(), command.end(), '\0', ' ');
    all += "process " + std::to_string(pid) + ": " + command + "\n";
    std::error_code error;
    for (const auto& thread : fs::directory_iterator(folder / "task", error)) {
      const std::string stat = text_of(thread.path() / "stat");
      const std::size_t state = stat.rfind(')');
      all += "  " + line(thread.path() / "comm") + ": state" + (state == std::string::npos ? "?" : stat.substr(state + 1, 2)) +
             ", in " + line(thread.path() / "wchan") + ", system call " + line(thread.path() / "syscall") + "\n";
    }
  }
  return all.empty() ? "there are no such processes" : all;
}

bool eventually(Duration patience, const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (holds()) return true;
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace gossamer::e2e
