// Neighbours: how they meet, what a dead one leaves, what a hostile one can do, and who is woken.
#include "transports/neighbours.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "base/serial.h"
#include "tests/transports/fabric_harness.h"
#include "tests/transports/pipe_messages.h"
#include "transports/neighbours_reception.h"

namespace gossamer::testing {
namespace {

struct Peer {
  explicit Peer(std::uint64_t nonce) : nonce(nonce) {
    auto made = Neighbours::make(nonce);
    EXPECT_TRUE(made) << made.error().message;
    all = std::move(*made);
  }
  wire::Address address() const {
    return {.nonce = nonce, .machine = wire::this_machine(), .network = 0, .process = wire::this_process(), .dialect = "none",
            .endpoint = "none", .neighbours = all->address()};
  }
  void poll() { all->poll(&events); }

  std::uint64_t nonce;
  std::shared_ptr<Neighbours> all;
  FabricEvents events;
};

bool wait_for(std::vector<Peer*> peers, const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    for (Peer* peer : peers) peer->poll();
    if (done()) return true;
  }
  return false;
}

// Somebody who has a ring for the victim and does with it what he likes.
class Hostile {
 public:
  explicit Hostile(const Peer& victim, std::uint64_t nonce = 666, std::uint64_t to = 0) {
    bell_ = std::move(*Doorbell::make());
    memory_ = std::move(*SharedMemory::create(ring::kSize));
    writer_ = std::make_unique<ring::Writer>(
        memory_.bytes(), ring::Introduction{.from = nonce, .to = to != 0 ? to : victim.nonce, .process = wire::this_process(), .bell = bell_.handle()});
    const std::string where = victim.all->address();
    Reader reader(std::as_bytes(std::span(where)));
    (void)reader.get<std::uint64_t>();
    DoorbellHandle bell;
    reader.array(std::span(&bell, 1));
    SharedHandle handle;
    reader.array(std::span(&handle, 1));
    reception_ = std::move(*SharedMemory::open(handle));
    EXPECT_GE(reception_.bytes().size(), sizeof(ReceptionLayout));
  }
  bool knock() { return reception().knock(memory_.handle().process, memory_.handle().descriptor); }
  ReceptionLayout& reception() { return *reinterpret_cast<ReceptionLayout*>(reception_.bytes().data()); }
  ring::Layout& layout() { return *reinterpret_cast<ring::Layout*>(memory_.bytes().data()); }
  ring::Writer& writer() { return *writer_; }
  ring::Verdict verdict() { return writer_->verdict(); }
  std::span<std::byte> memory() { return memory_.bytes(); }

 private:
  Doorbell bell_;
  SharedMemory memory_, reception_;
  std::unique_ptr<ring::Writer> writer_;
};

TEST(Neighbours, MeetWithoutALibraryAndSayGoodbye) {
  Peer a(1), b(2);
  const auto link = a.all->connect(b.address());
  ASSERT_TRUE(link);
  const std::uint64_t word = 42;
  EXPECT_EQ(a.all->notify(link, as_notice(word)), Errc::ok) << "nobody has to look first";
  ASSERT_TRUE(wait_for({&b}, [&] { return !b.events.notices.empty(); }));
  EXPECT_EQ(from_notice<std::uint64_t>(b.events.notices[0]), word);
  b.all->close();
  ASSERT_TRUE(wait_for({&a}, [&] { return !a.events.down.empty(); }));
  EXPECT_EQ(a.events.down, std::vector{link->id});
  EXPECT_EQ(a.all->notify(link, as_notice(word)), Errc::peer_gone);
  for (int i = 0; i < 1000; ++i) a.poll();
  EXPECT_EQ(a.events.down.size(), 1u) << "told once";
}

TEST(Neighbours, ThatAreStrangersAreLeftToTheLibrary) {
  Peer a(1), b(2);
  wire::Address elsewhere = b.address();
  ++elsewhere.machine;
  EXPECT_FALSE(a.all->connect(elsewhere));
  wire::Address silent = b.address();
  silent.neighbours.clear();
  EXPECT_FALSE(a.all->connect(silent));
  wire::Address other_user = b.address();
  other_user.neighbours[0] ^= 1;
  EXPECT_FALSE(a.all->connect(other_user));
  wire::Address cut = b.address();
  cut.neighbours.pop_back();
  EXPECT_FALSE(a.all->connect(cut));
  EXPECT_TRUE(a.all->connect(b.address()));
}

TEST(Neighbours, ManyAreAllHeardWhoeverSpoke) {
  constexpr std::uint64_t kPeers = 60;
  Peer hub(1);
  std::vector<std::unique_ptr<Peer>> peers;
  std::vector<std::shared_ptr<Neighbours::LinkState>> links;
  for (std::uint64_t i = 0; i < kPeers; ++i) {
    peers.push_back(std::make_unique<Peer>(100 + i));
    links.push_back(peers.back()->all->connect(hub.address()));
    ASSERT_TRUE(links.back());
  }
  std::mt19937_64 random(3);
  for (std::uint64_t round = 0; round < 300; ++round) {
    std::vector<std::uint64_t> speakers;
    for (std::uint64_t i = 0; i < kPeers; ++i)
      if (round == 0 || random() % 9 == 0) speakers.push_back(i);
    for (const std::uint64_t i : speakers) ASSERT_EQ(peers[i]->all->notify(links[i], as_notice(i)), Errc::ok);
    ASSERT_TRUE(wait_for({&hub}, [&] { return hub.events.notices.size() == speakers.size(); })) << round;
    std::vector<std::uint64_t> heard;
    for (const Notice& notice : hub.events.notices) heard.push_back(from_notice<std::uint64_t>(notice));
    std::ranges::sort(heard);
    EXPECT_EQ(heard, speakers);
    hub.events.clear();
  }
}

// The kernel tells of a death, and what the dead has said comes first.
TEST(Neighbours, WhatADeadOneHasSaidIsHandedOutAndThenThatItIsDead) {
  for (int life = 0; life < 10; ++life) {
    Peer me(1);
    int to_child[2], from_child[2];
    ASSERT_EQ(::pipe(to_child), 0);
    ASSERT_EQ(::pipe(from_child), 0);
    const std::string mine = wire::pack(me.address());
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(60);
      Peer other(2);
      const auto link = other.all->connect(*wire::unpack(mine));
      if (!link) ::_exit(1);
      write_message(from_child[1], wire::pack(other.address()));
      std::string go;
      if (!read_message(to_child[0], &go)) ::_exit(2);
      for (std::uint64_t number = 0; number < 100; ++number)
        if (other.all->notify(link, as_notice(number)) != Errc::ok) ::_exit(3);
      write_message(from_child[1], "said");
      for (;;) ::pause();
    }
    ASSERT_GT(child, 0);
    std::string theirs, said;
    ASSERT_TRUE(read_message(from_child[0], &theirs));
    const auto link = me.all->connect(*wire::unpack(theirs));
    ASSERT_TRUE(link);
    me.poll();  // takes the ring
    write_message(to_child[1], "go");
    ASSERT_TRUE(read_message(from_child[0], &said));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    (void)me.all->arm();  // the next poll looks everywhere, the dead included
    std::size_t notices_before_down = 0;
    ASSERT_TRUE(wait_for({&me}, [&] {
      if (me.events.down.empty()) notices_before_down = me.events.notices.size();
      return !me.events.down.empty();
    }));
    EXPECT_EQ(me.events.notices.size(), 100u) << notices_before_down << " came in polls before it";
    for (std::uint64_t number = 0; number < me.events.notices.size(); ++number)
      EXPECT_EQ(from_notice<std::uint64_t>(me.events.notices[number]), number);
    EXPECT_EQ(me.events.down, std::vector{link->id});
    for (int i = 0; i < 1000; ++i) me.poll();
    EXPECT_EQ(me.events.down.size(), 1u);
    EXPECT_EQ(me.events.notices.size(), 100u);
    for (const int end : {to_child[0], to_child[1], from_child[0], from_child[1]}) ::close(end);
  }
}

TEST(Neighbours, ASleepingSenderIsWokenWhenAFullRingHasRoom) {
  Peer a(1), b(2);
  const auto link = a.all->connect(b.address());
  ASSERT_TRUE(link);
  std::uint64_t sent = 0;
  while (a.all->notify(link, as_notice(sent)) == Errc::ok) ++sent;
  EXPECT_EQ(sent, ring::kSlots);
  ASSERT_TRUE(wait_for({&a}, [&] { return a.all->arm(); }));
  pollfd descriptor{a.all->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&descriptor, 1, 20), 0) << "nothing has changed yet";
  b.poll();
  EXPECT_EQ(b.events.notices.size(), sent);
  EXPECT_EQ(::poll(&descriptor, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())), 1);
  a.poll();
  EXPECT_EQ(a.all->notify(link, as_notice(sent)), Errc::ok);

  // Room that came after would_block and before the sleep is seen before the sleep.
  while (a.all->notify(link, as_notice(sent)) == Errc::ok) ++sent;
  b.poll();
  a.poll();
  EXPECT_FALSE(a.all->arm());
}

TEST(Neighbours, PutsArriveWithTheirNoticeOrBeforeIt) {
  Peer a(1), b(2);
  const auto link = a.all->connect(b.address());
  ASSERT_TRUE(link);
  std::vector<std::byte> from(300'001), to(300'001);
  fill(from, 5);
  b.all->add_region(9, {to.data(), to.size(), MemoryKind::host});
  const std::uint64_t label = 77;
  std::uint64_t token = 0;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, ring::kBytesMax - 8, ring::kBytesMax - 7, from.size() - 1}) {
    std::ranges::fill(to, std::byte{0});
    ASSERT_EQ(a.all->put(link, {.size = size, .notice = as_notice(label), .token = ++token}, from.data(), nullptr, 9, to), Errc::ok);
    ASSERT_TRUE(wait_for({&a, &b}, [&] { return !b.events.notices.empty() && !a.events.ended.empty(); })) << size;
    EXPECT_EQ(from_notice<std::uint64_t>(b.events.notices[0]), label);
    EXPECT_EQ(a.events.ended[0].token, token);
    EXPECT_EQ(a.events.ended[0].status, Errc::ok);
    EXPECT_EQ(first_difference(std::span(to).first(size), 5), size);
    EXPECT_EQ(to[size], std::byte{0});
    a.events.clear();
    b.events.clear();
  }
  EXPECT_EQ(a.all->traffic().bytes_sent, b.all->traffic().bytes_received);
}

TEST(Neighbours, ARingOfNonsenseBreaksTheLinkAndNothingElse) {
  Peer victim(1), friendly(2);
  const auto link = friendly.all->connect(victim.address());
  ASSERT_TRUE(link);
  Hostile liar(victim);
  ASSERT_TRUE(liar.knock());
  const std::uint64_t word = 1;
  liar.writer().write({.notice_size = 8}, as_notice(word), {});
  victim.poll();
  EXPECT_EQ(victim.events.notices.size(), 1u) << "until then it is one like others";
  EXPECT_EQ(liar.verdict(), ring::Verdict::taken);
  liar.layout().slots[1].sequence = 12345;
  ASSERT_TRUE(wait_for({&victim}, [&] { return liar.verdict() == ring::Verdict::corrupt; }));
  liar.layout().slots[1].sequence = 2;  // too late
  for (int i = 0; i < 100; ++i) victim.poll();
  EXPECT_EQ(victim.events.notices.size(), 1u);
  ASSERT_EQ(friendly.all->notify(link, as_notice(word)), Errc::ok);
  EXPECT_TRUE(wait_for({&victim}, [&] { return victim.events.notices.size() == 2; }));
}

TEST(Neighbours, AMessageThatReachesOutsideOfARegionIsRefused) {
  using wire::Kind;
  for (const ring::Message lie : {ring::Message{.kind = Kind::put, .body_size = 8, .region = 4, .offset = 0, .size = 8},
                                  ring::Message{.kind = Kind::put, .body_size = 8, .region = 5, .offset = 93, .size = 8},
                                  ring::Message{.kind = Kind::put, .body_size = 8, .region = 5, .offset = ~0ull - 3, .size = 8},
                                  ring::Message{.kind = Kind::put, .body_size = 8, .region = 5, .offset = 0, .size = 9},
                                  ring::Message{.kind = Kind::part, .body_size = 101, .region = 5, .offset = 0, .size = 101},
                                  ring::Message{.kind = Kind::landed, .region = 5, .offset = 100, .size = 1},
                                  ring::Message{.kind = Kind::landed, .body_size = 1, .region = 5, .offset = 0, .size = 1},
                                  ring::Message{.kind = Kind::notice, .body_size = 8},
                                  ring::Message{.kind = Kind::hello},
                                  ring::Message{.kind = static_cast<Kind>(999)}}) {
    Peer victim(1);
    std::vector<std::byte> memory(100);
    victim.all->add_region(5, {memory.data(), memory.size(), MemoryKind::host});
    Hostile liar(victim);
    ASSERT_TRUE(liar.knock());
    std::vector<std::byte> body(lie.body_size, std::byte{0xee});
    liar.writer().write(lie, {}, body);
    victim.poll();
    EXPECT_EQ(liar.verdict(), ring::Verdict::refused) << static_cast<int>(lie.kind) << " at " << lie.offset;
    EXPECT_TRUE(victim.events.empty());
    EXPECT_TRUE(std::ranges::all_of(memory, [](std::byte b) { return b == std::byte{0}; }));
  }
}

// What anybody may write there names nothing, or not what it should.
TEST(Neighbours, NoWordInTheReceptionIsBelieved) {
  Peer victim(1);
  Hostile other(victim, 666, 99);  // a ring for somebody else
  ASSERT_TRUE(other.knock());
  std::mt19937_64 random(5);
  const auto me = static_cast<std::uint64_t>(::getpid());
  for (int round = 0; round < 20; ++round) {
    for (std::size_t i = 0; i < 20; ++i) other.reception().places[i] = random() % 2 == 0 ? random() : me << 32 | random() % 40;
    other.reception().bell = 1;
    victim.poll();
  }
  EXPECT_EQ(other.verdict(), ring::Verdict::none);
  EXPECT_TRUE(victim.events.empty());
  Hostile liar(victim);
  liar.layout().introduction.magic ^= 1;
  ASSERT_TRUE(liar.knock());
  victim.poll();
  EXPECT_EQ(liar.verdict(), ring::Verdict::none);
  liar.layout().introduction.magic ^= 1;
  ASSERT_TRUE(liar.knock());
  victim.poll();
  EXPECT_EQ(liar.verdict(), ring::Verdict::taken) << "and the truth is";
}

TEST(Neighbours, AReaderThatLiesAboutWhatItHasTakenBreaksItsLink) {
  Peer a(1), b(2);
  const auto link = a.all->connect(b.address());
  ASSERT_TRUE(link);
  std::uint64_t sent = 0;
  while (a.all->notify(link, as_notice(sent)) == Errc::ok) ++sent;
  reinterpret_cast<ring::Layout*>(link->endpoint->out_memory.bytes().data())->taken = ~std::uint64_t{0};
  EXPECT_EQ(a.all->notify(link, as_notice(sent)), Errc::peer_gone);
  a.poll();
  EXPECT_EQ(a.events.down, std::vector{link->id});
}

// A thread that scribbles over the ring while it is read; under ThreadSanitizer that is a race by intention.
#ifndef __SANITIZE_THREAD__
TEST(Neighbours, ARingThatChangesWhileItIsReadHurtsNobody) {
  Peer victim(1);
  std::vector<std::byte> memory(1000);
  victim.all->add_region(5, {memory.data(), memory.size(), MemoryKind::host});
  for (int round = 0; round < 30; ++round) {
    Hostile liar(victim, 1000 + static_cast<std::uint64_t>(round));
    ASSERT_TRUE(liar.knock());
    std::atomic<bool> stop{false};
    std::thread scribbler([&] {
      std::mt19937_64 random(static_cast<std::uint64_t>(round));
      while (!stop) {
        ring::Slot& slot = liar.layout().slots[random() % 4];
        const std::uint64_t what = random();
        volatile auto* const fields = reinterpret_cast<volatile std::uint64_t*>(&slot.message);
        fields[what % 4] = what % 3 == 0 ? what : what % 600;
      }
    });
    for (std::uint64_t i = 0; i < 50; ++i) {
      liar.writer().write({.kind = wire::Kind::put, .notice_size = 8, .body_size = 100, .region = 5, .offset = 10 * i, .size = 100}, as_notice(i), std::span(memory).first(100));
      victim.poll();
    }
    stop = true;
    scribbler.join();
    for (const Notice& notice : victim.events.notices) EXPECT_LE(notice.size, kNoticeSizeMax);
    victim.events.clear();
  }
}
#endif

}  // namespace
}  // namespace gossamer::testing
