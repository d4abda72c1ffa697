// Who the neighbours are: how they meet, leave and die.  What passes between them is in neighbours_messages.cc.
#include "transports/neighbours.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "base/serial.h"
#include "transports/neighbours_reception.h"

namespace gossamer {
namespace {

constexpr unsigned kPollsPerLook = 256;  // at the neighbours' processes, for those who never sleep
constexpr std::size_t kInTurn = 1;       // neighbours that are looked at in one poll, besides the hot ones
constexpr int kSettleRounds = 200;       // of a millisecond each, for what is under way at the end

}  // namespace

Result<std::shared_ptr<Neighbours>> Neighbours::make(std::uint64_t nonce, std::size_t puts_in_flight_max) {
  std::shared_ptr<Neighbours> made(new Neighbours(nonce, puts_in_flight_max));
  made->machine_ = wire::this_machine();
  made->user_ = wire::this_user();
  if (made->machine_ == 0 || made->user_ == 0)
    return fail(Errc::unsupported, "other processes of this machine may not look into this one's memory");
  GOSSAMER_TRY_ASSIGN(made->bell_, Doorbell::make());
  GOSSAMER_TRY_ASSIGN(made->reception_, SharedMemory::create(sizeof(ReceptionLayout)));
  GOSSAMER_TRY_ASSIGN(made->waiter_, Waiter::make());
  GOSSAMER_TRY(made->waiter_.watch(made->bell_.fd()));
  return made;
}

ReceptionLayout& Neighbours::reception() const { return *reinterpret_cast<ReceptionLayout*>(reception_.bytes().data()); }

std::string Neighbours::address() const {
  if (!open_) return {};
  Writer writer;
  writer.put(user_);
  const DoorbellHandle bell = bell_.handle();
  writer.array(std::span(&bell, 1));
  writer.array(std::span(&reception_.handle(), 1));
  const auto bytes = writer.view();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::shared_ptr<Neighbours::LinkState> Neighbours::connect(const wire::Address& address) {
  if (!open_ || address.machine != machine_ || address.neighbours.empty()) return nullptr;
  Reader reader(std::as_bytes(std::span(address.neighbours.data(), address.neighbours.size())));
  const auto user = reader.get<std::uint64_t>();
  DoorbellHandle bell;
  SharedHandle there;
  reader.array(std::span(&bell, 1));
  reader.array(std::span(&there, 1));
  if (!reader.ok() || user != user_ || there.process != address.process.id || bell.word.process != address.process.id) return nullptr;

  auto link = std::make_shared<LinkState>();
  link->id = next_link_++;
  links_.emplace(link->id, link);
  link->endpoint = meet(address.nonce, address.process, bell);
  const bool met = link->endpoint && !link->endpoint->gone;
  if (!met || (!link->endpoint->out && !knock(there, *link->endpoint))) lose(*link);
  return link;
}

// Null when it is dead, or cannot be reached.
std::shared_ptr<Neighbours::Neighbour> Neighbours::meet(std::uint64_t nonce, const wire::Process& process, const DoorbellHandle& bell) {
  if (const auto known = neighbours_.find(nonce); known != neighbours_.end()) return known->second;
  auto opened = RemoteDoorbell::open(bell);
  if (!opened) {
    why_not_ = opened.error().message;
    return nullptr;
  }
  if (!waiter_.watch(process, nonce)) return nullptr;
  auto neighbour = std::make_shared<Neighbour>();
  neighbour->nonce = nonce;
  neighbour->bell = std::move(*opened);
  neighbours_.emplace(nonce, neighbour);
  all_.push_back(neighbour);
  return neighbour;
}

// Makes a ring to it and tells it; false when that cannot be done.
bool Neighbours::knock(const SharedHandle& there, Neighbour& neighbour) {
  const auto cannot = [&](std::string why) {
    why_not_ = std::move(why);
    return false;
  };
  if (there.size < sizeof(ReceptionLayout)) return cannot("a neighbour's reception is too small");
  auto theirs = SharedMemory::open(there);
  if (!theirs) return cannot(theirs.error().message);
  auto memory = SharedMemory::create(ring::kSize);
  if (!memory) return cannot(memory.error().message);
  neighbour.out_memory = std::move(*memory);
  neighbour.taken = false;
  neighbour.out.emplace(neighbour.out_memory.bytes(), ring::Introduction{.from = nonce_,
                                                                         .to = neighbour.nonce,
                                                                         .process = wire::this_process(),
                                                                         .bell = bell_.handle()});
  const SharedHandle& handle = neighbour.out_memory.handle();
  if (!reinterpret_cast<ReceptionLayout*>(theirs->bytes().data())->knock(handle.process, handle.descriptor)) {
    neighbour.out.reset();
    return cannot("a neighbour has not looked at its reception for so long that it is full");
  }
  neighbour.bell->ring();
  return true;
}

void Neighbours::welcome() {
  for (const std::uint64_t word : reception().take_all())
    if (!take(ReceptionLayout::process(word), ReceptionLayout::descriptor(word))) ++refused_;
}

// A ring that somebody says he has for us.  If anything is wrong with it he is not believed, and not answered.
bool Neighbours::take(std::uint64_t process, std::uint64_t descriptor) {
  const auto handle = SharedMemory::find(process, descriptor);
  if (!handle || handle->size != ring::kSize) return false;
  auto memory = SharedMemory::open(*handle);
  if (!memory) {
    why_not_ = memory.error().message;
    return false;
  }
  ring::Reader in(memory->bytes());
  const ring::Introduction who = in.introduction();
  if (who.magic != ring::Introduction::kMagic || who.to != nonce_ || who.from == 0 || who.process.id != process ||
      who.bell.word.process != process || in.verdict() != ring::Verdict::none)
    return false;
  const std::shared_ptr<Neighbour> neighbour = meet(who.from, who.process, who.bell);
  if (!neighbour || neighbour->gone) return false;
  neighbour->in_memory = std::move(*memory);
  neighbour->in.emplace(in);
  neighbour->in->judge(ring::Verdict::taken);
  if (!neighbour->hot) heat(*neighbour);
  return true;
}

void Neighbours::forget(const std::shared_ptr<LinkState>& link) {
  links_.erase(link->id);
  link->down = link->told_down = true;
  for (EndedPut& put : ended_)
    if (put.link == link.get()) put.link = nullptr;
}

// The last that had something are looked at in every poll.
void Neighbours::heat(Neighbour& neighbour) {
  Neighbour*& place = hot_[next_hot_++ % hot_.size()];
  if (place != nullptr) place->hot = false;
  place = &neighbour;
  neighbour.hot = true;
}

// Our ring to it is of no use any more.
void Neighbours::fail_out(Neighbour& neighbour) {
  neighbour.out.reset();
  neighbour.out_memory = {};
  for (const auto& [id, link] : links_)
    if (link->endpoint.get() == &neighbour) lose(*link);
}

// It has left, or died.
void Neighbours::lose(Neighbour& neighbour, bool died, FabricEvents* events) {
  if (std::exchange(neighbour.gone, true)) return;
  any_gone_ = true;
  drain(neighbour, events);
  neighbour.in.reset();
  neighbour.in_memory = {};
  fail_out(neighbour);
  waiter_.forget(neighbour.nonce);
  left_.push_back({neighbour.nonce, died});
}

void Neighbours::sweep() {
  any_gone_ = false;
  for (Neighbour*& hot : hot_)
    if (hot != nullptr && hot->gone) hot = nullptr;
  std::erase_if(all_, [](const auto& neighbour) { return neighbour->gone; });
  std::erase_if(neighbours_, [](const auto& one) { return one.second->gone; });
}

void Neighbours::look_at(Neighbour& neighbour, FabricEvents* events) {
  // The bell first: who has closed it writes no more, so that what is found then is all.
  const bool closed = neighbour.bell->closed();
  drain(neighbour, events);
  if (closed) return lose(neighbour, false, events);
  if (!neighbour.out) return;
  switch (neighbour.out->verdict()) {
    case ring::Verdict::none:
      return;
    case ring::Verdict::taken:
      if (!std::exchange(neighbour.taken, true)) neighbour.out_memory.withdraw();
      return;
    case ring::Verdict::refused:
    case ring::Verdict::corrupt:
      break;
  }
  fail_out(neighbour);
}

// Whether look_at() would do something, as far as a sleeper has to know.
bool Neighbours::has_news(Neighbour& neighbour) {
  if (neighbour.starved && room(neighbour) != Errc::would_block) {
    neighbour.starved = false;
    return true;
  }
  if (neighbour.in && neighbour.in->pending()) return true;
  if (neighbour.bell->closed()) return true;
  return neighbour.out && neighbour.out->verdict() > ring::Verdict::taken;
}

void Neighbours::poll(FabricEvents* events) {
  if (!open_) return;
  const bool slept = std::exchange(slept_, false);
  disarm();
  if (reception().knocked()) welcome();
  for (Neighbour* const hot : hot_)
    if (hot != nullptr) drain(*hot, events);
  const std::size_t count = slept ? all_.size() : std::min(kInTurn, all_.size());
  for (std::size_t i = 0; i < count; ++i) {
    if (next_ >= all_.size()) next_ = 0;
    look_at(*all_[next_++], events);
  }
  if (slept || ++polls_ % kPollsPerLook == 0)
    for (const std::uint64_t nonce : waiter_.ended())
      if (const auto dead = neighbours_.find(nonce); dead != neighbours_.end()) lose(*dead->second, true, events);
  if (any_gone_) sweep();
  if (!ended_.empty() || !down_.empty()) hand_out(events);
}

bool Neighbours::arm() {
  if (!open_ || !ended_.empty() || !down_.empty()) return false;
  bell_.will_sleep();
  asleep_ = slept_ = true;
  bool news = reception().knocked();
  for (const auto& neighbour : all_) {
    settle_room(*neighbour);
    if (has_news(*neighbour)) news = true;
  }
  if (news) disarm();
  return !news;
}

// The next poll() looks at all, as after a sleep.
void Neighbours::disarm() {
  if (std::exchange(asleep_, false)) bell_.awake();
}

// Whether everything that was accepted lies where the neighbours find it, or nobody will look for it.
bool Neighbours::all_left() {
  FabricEvents nobody;
  if (reception().knocked()) welcome();
  for (const std::uint64_t nonce : waiter_.ended())
    if (const auto dead = neighbours_.find(nonce); dead != neighbours_.end()) lose(*dead->second, true, &nobody);
  for (const auto& neighbour : all_) look_at(*neighbour, &nobody);
  sweep();
  return std::ranges::all_of(all_, [](const auto& neighbour) {
    return !neighbour->out || neighbour->taken || neighbour->out->written() == 0;
  });
}

void Neighbours::close() {
  if (!open_) return;
  for (int round = 0; !all_left() && round < kSettleRounds; ++round) {
    pollfd none{-1, 0, 0};
    (void)::poll(&none, 1, 1);
  }
  bell_.close();
  // Who has knocked since sees that the bell is closed, or is seen here.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  welcome();
  for (const auto& neighbour : all_) neighbour->bell->ring();
  open_ = false;

  // Nothing is under way any more.
  for (const auto& [id, link] : links_) link->down = true;
  ended_.clear();
  links_.clear();
  hot_ = {};
  for (const auto& neighbour : all_) {  // links may live longer
    neighbour->out.reset();
    neighbour->in.reset();
    neighbour->out_memory = {};
    neighbour->in_memory = {};
  }
  all_.clear();
  neighbours_.clear();
}

}  // namespace gossamer
