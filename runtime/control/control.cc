// The threads' side of the control plane: every call is handed to the control thread and waited for.
#include "runtime/control/control.h"

#include <csignal>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/control/ledger.h"
#include "runtime/control/mailbox.h"
#include "runtime/control/node.h"

namespace gossamer {
namespace {

// An answer that one thread gives and another waits for.
template <class T>
class Answer {
 public:
  void give(Result<T> result) {
    {
      const std::lock_guard lock(mutex_);
      if (result_) return;
      result_.emplace(std::move(result));
    }
    given_.notify_all();
  }
  std::optional<Result<T>> wait(Duration deadline) {
    std::unique_lock lock(mutex_);
    const auto until = std::chrono::steady_clock::now() + deadline;
    given_.wait_until(lock, until, [&] { return result_.has_value(); });
    return result_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable given_;
  std::optional<Result<T>> result_;
};

// The control thread keeps the deadlines; this is for the case that it does not run.
constexpr Duration kSlack = std::chrono::seconds(2);

// Deadlines beyond it are cut, so that no sum with the time of day overflows.
constexpr Duration kLongest = std::chrono::hours(10'000);
Duration bounded(Duration deadline) { return std::clamp(deadline, Duration::zero(), kLongest); }

Result<> check(const ControlOptions& options) {
  const auto wrong = [](std::string why) { return fail(Errc::invalid_argument, std::move(why)); };
  if (options.peers == 0) return wrong("a run needs at least one peer");
  if (options.peers > 100'000) return wrong("a run of " + std::to_string(options.peers) + " peers; at most 100000 are supported");
  if (options.rank && *options.rank >= options.peers)
    return wrong("rank " + std::to_string(*options.rank) + " does not exist in a run of " + std::to_string(options.peers) +
                 " peers: ranks go from 0 to " + std::to_string(options.peers - 1));
  if (options.heartbeat <= Duration::zero()) return wrong("the heartbeat must be longer than nothing");
  if (options.silence_deadline / 3 < options.heartbeat)
    return wrong("the silence deadline must be at least three heartbeats, so that one late answer kills nobody");
  if (options.join_deadline <= Duration::zero()) return wrong("the join deadline must be longer than nothing");
  if (options.software_version.size() > 1024) return wrong("the software version is longer than 1024 bytes");
  return {};
}

}  // namespace

std::string_view name(Death::How how) {
  switch (how) {
    case Death::How::connection_reset: return "connection reset";
    case Death::How::silence: return "silence";
    case Death::How::process_ended: return "process ended";
    case Death::How::broke_protocol: return "broke the protocol";
  }
  return "unknown";
}

class Control::Impl {
 public:
  Impl(ControlOptions options, Log& log)
      : join_deadline_(options.join_deadline), log_(log), mailbox_(options.inbox_limit), ledger_(options.send_limit),
        io_(1), work_(boost::asio::make_work_guard(io_)), node_(io_, std::move(options), log, mailbox_, ledger_) {}

  ~Impl() {
    if (!thread_.joinable()) return;
    boost::asio::post(io_, [this] {
      node_.stop();
      work_.reset();
      io_.stop();
    });
    thread_.join();
  }

  Result<> start() {
    GOSSAMER_TRY(mailbox_.open());
    GOSSAMER_TRY(node_.listen());
    address_ = node_.address();
    boost::asio::post(io_, [this] { node_.begin(); });
    // Signals are for the threads of the program.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return {};
  }

  // Runs `what(answer)` on the control thread and waits for the answer.
  template <class T, class What>
  Result<T> ask(Duration deadline, What what) {
    auto answer = std::make_shared<Answer<T>>();
    boost::asio::post(io_, [answer, what = std::move(what)]() mutable {
      what([answer](Result<T> result) { answer->give(std::move(result)); });
    });
    if (auto result = answer->wait(deadline + kSlack)) return std::move(*result);
    GOSSAMER_TRY(mailbox_.standing());
    return fail(Errc::internal, "the control thread did not answer within " + std::to_string(seconds(deadline + kSlack)) + " s");
  }

  const Duration join_deadline_;
  Log& log_;
  control::Mailbox mailbox_;
  control::Ledger ledger_;
  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  control::Node node_;
  std::string address_;
  std::atomic<std::int64_t> self_{-1};
  std::mutex send_mutex_;  // so that what is queued keeps the order in which the ledger took it

 private:
  void run() {
    try {
      io_.run();
    } catch (const std::exception& error) {
      // Asio and Protocol Buffers throw where memory runs out; nothing here does.
      log_.error("control: the control thread failed: {}", error.what());
      const Error why{Errc::internal, std::string("the control thread failed: ") + error.what()};
      ledger_.close_all(why);
      mailbox_.fail_standing(why);
      node_.stop();
      try {
        io_.run();
      } catch (const std::exception&) {
      }
    }
  }

  std::thread thread_;
};

Control::Control(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Control::~Control() = default;

Result<std::unique_ptr<Control>> Control::start(ControlOptions options, Log& log) {
  GOSSAMER_TRY(check(options));
  for (Duration* deadline : {&options.join_deadline, &options.heartbeat, &options.silence_deadline}) *deadline = bounded(*deadline);
  try {
    auto impl = std::make_unique<Impl>(std::move(options), log);
    GOSSAMER_TRY(impl->start());
    return std::unique_ptr<Control>(new Control(std::move(impl)));
  } catch (const std::exception& error) {
    return fail(Errc::io, std::string("cannot start the control plane: ") + error.what());
  }
}

std::string Control::address() const { return impl_->address_; }

Result<Roster> Control::join(std::string transport_address) {
  auto& node = impl_->node_;
  auto roster = impl_->ask<Roster>(impl_->join_deadline_, [&node, address = std::move(transport_address)](auto done) mutable {
    node.join(std::move(address), std::move(done));
  });
  if (roster) impl_->self_ = roster->self;
  return roster;
}

Result<> Control::barrier(std::string_view name, Duration deadline) {
  deadline = bounded(deadline);
  auto& node = impl_->node_;
  return impl_->ask<void>(deadline, [&node, name = std::string(name), deadline](auto done) {
    node.barrier(name, deadline, std::move(done));
  });
}

Result<> Control::send(PeerId to, std::string_view topic, std::string bytes) {
  if (topic.size() > control::kTopicLimit) return fail(Errc::invalid_argument, "a topic has at most 255 bytes");
  if (bytes.size() > control::kMessageLimit) return fail(Errc::invalid_argument, "a message has at most 4 GiB");
  const std::size_t cost = control::cost_of(bytes.size());
  const std::lock_guard lock(impl_->send_mutex_);
  GOSSAMER_TRY_ASSIGN(const Incarnation life, impl_->ledger_.take(to, cost));
  if (to == impl_->self_) {
    impl_->ledger_.give(to, life, cost);
    impl_->mailbox_.add(Message{to, std::string(topic), std::move(bytes)}, life);
    return {};
  }
  auto shared = std::make_shared<const std::string>(std::move(bytes));
  boost::asio::post(impl_->io_, [&node = impl_->node_, to, life, topic = std::string(topic), shared]() mutable {
    node.send(to, life, std::move(topic), std::move(shared));
  });
  return {};
}

std::vector<Message> Control::receive(Duration deadline) {
  bool drained = false;
  auto messages = impl_->mailbox_.receive(std::nullopt, bounded(deadline), drained);
  if (drained) boost::asio::post(impl_->io_, [&node = impl_->node_] { node.drained(); });
  return messages;
}

std::vector<Message> Control::receive(std::string_view topic, Duration deadline) {
  bool drained = false;
  auto messages = impl_->mailbox_.receive(topic, bounded(deadline), drained);
  if (drained) boost::asio::post(impl_->io_, [&node = impl_->node_] { node.drained(); });
  return messages;
}

std::vector<Death> Control::deaths() { return impl_->mailbox_.deaths(); }

std::vector<Roster::Entry> Control::returned() {
  bool drained = false;
  auto entries = impl_->mailbox_.returned(
      [this](const Roster::Entry& entry) { impl_->ledger_.reopen(entry.rank, entry.incarnation); }, drained);
  if (drained) boost::asio::post(impl_->io_, [&node = impl_->node_] { node.drained(); });
  return entries;
}

std::vector<PeerId> Control::departed() const { return impl_->mailbox_.departed(); }
Result<> Control::standing() const { return impl_->mailbox_.standing(); }
int Control::wake_fd() const { return impl_->mailbox_.wake_fd(); }

Result<> Control::leave(Duration deadline) {
  deadline = bounded(deadline);
  auto& node = impl_->node_;
  return impl_->ask<void>(deadline, [&node, deadline](auto done) { node.leave(deadline, std::move(done)); });
}

}  // namespace gossamer
