// SPDX-License-Identifier: LGPL-2.1-or-later
/// Guards of one process on one filesystem, in every order and with every event in between,
/// compared with an oracle that sees the state of the kernel.
#include "fake_kernel.hpp"
#include "reports.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using libfreeze::Clock;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using testing::FakeKernel;
using testing::Reports;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;
constexpr std::size_t slots = 3;
constexpr pid_t other_freezer = 200;
constexpr pid_t administrator = 300;

enum class Event {
    make,
    make_10s,
    make_60s,
    thaw_first,
    thaw_second,
    thaw_third,
    destroy_first,
    destroy_second,
    extend_first_20s,
    extend_second_20s,
    release_first,
    release_second,
    adopt,
    wait_7s,
    wait_30s,
    administrator_thaws,
    other_freezes,
    other_thaws,
};
constexpr int events = static_cast<int>(Event::other_thaws) + 1;

struct Slot {
    FreezeGuard guard;
    std::uint64_t thaws_before = 0;
    std::optional<Clock::time_point> deadline; ///< requested by the guard
};

/// Executes events and checks the guarantees of the library after each.
class Play final {
public:
    explicit Play(bool patched) { kernel_.patched = patched; }
    Play(const Play&) = delete;
    Play& operator=(const Play&) = delete;
    Play(Play&&) = delete;
    Play& operator=(Play&&) = delete;
    ~Play() { libfreeze::set_system(nullptr); }

    /// False if the event cannot happen now.
    bool happen(Event event);
    void end();
    std::string history;

private:
    bool make(std::chrono::seconds timeout);
    bool thaw(std::size_t slot);
    bool destroy(std::size_t slot);
    bool extend(std::size_t slot);
    bool release(std::size_t slot);
    bool adopt();
    bool wait(std::chrono::seconds time);
    bool foreign(Event event);
    void check(const Slot& slot, const std::error_code& error);
    void check_deadline();
    void remember(Slot& slot, std::chrono::seconds timeout);
    Slot* free_slot();

    FakeKernel kernel_;
    std::array<Slot, slots> slots_;
    std::size_t released_ = 0;  ///< the maximum number of freezes left behind
    std::size_t of_others_ = 0; ///< live holds of the other freezer, which only others may end
    bool others_ = false;       ///< others may have kept it frozen, or ended a hold
    bool left_behind_ = false;
};

Slot* Play::free_slot() {
    for (Slot& slot : slots_) {
        if (!slot.guard) {
            return &slot;
        }
    }
    return nullptr;
}

void Play::remember(Slot& slot, std::chrono::seconds timeout) {
    slot.thaws_before = kernel_.filesystems[ext4].thaws;
    slot.deadline.reset();
    if (timeout != 0s) {
        slot.deadline = kernel_.now() + timeout;
    }
}

bool Play::make(std::chrono::seconds timeout) {
    Slot* const slot = free_slot();
    if (slot == nullptr || (timeout != 0s && !kernel_.patched)) {
        return false;
    }
    libfreeze::Options options;
    options.timeout = timeout;
    std::error_code error;
    slot->guard = FreezeGuard("/srv", options, error);
    if (error) { // only a stock kernel refuses, and only if this process left a freeze behind
        REQUIRE(error == errc::already_frozen);
        REQUIRE_FALSE(kernel_.patched);
        REQUIRE(left_behind_);
        return true;
    }
    REQUIRE(kernel_.is_frozen(ext4));
    remember(*slot, timeout);
    return true;
}

/// For a guard that ended with this result.
void Play::check(const Slot& slot, const std::error_code& error) {
    const bool lasted = kernel_.filesystems[ext4].thaws == slot.thaws_before;
    if (!error) {
        REQUIRE(lasted); // the guarantee
    } else {
        REQUIRE(error == errc::expired);
        REQUIRE((!lasted || others_ || left_behind_)); // no false error
    }
}

bool Play::thaw(std::size_t number) {
    Slot& slot = slots_[number];
    if (!slot.guard) {
        return false;
    }
    // The last thaw is that of this call.
    const Slot before{FreezeGuard(), slot.thaws_before, slot.deadline};
    const auto thaws = kernel_.filesystems[ext4].thaws;
    const bool frozen = kernel_.is_frozen(ext4);
    std::error_code error;
    slot.guard.thaw(error);
    REQUIRE_FALSE(slot.guard);
    if (!error) {
        REQUIRE(frozen);
        REQUIRE(thaws == before.thaws_before);
    } else {
        check(before, error);
    }
    return true;
}

bool Play::destroy(std::size_t number) {
    Slot& slot = slots_[number];
    if (!slot.guard) {
        return false;
    }
    const auto thaws = kernel_.filesystems[ext4].thaws;
    const Reports reports;
    slot.guard = FreezeGuard();
    if (Reports::all().empty()) {
        REQUIRE(thaws == slot.thaws_before);
    } else {
        REQUIRE(Reports::all().size() == 1);
        check(slot, Reports::all().front().code());
    }
    return true;
}

bool Play::extend(std::size_t number) {
    Slot& slot = slots_[number];
    if (!slot.guard || !kernel_.patched) {
        return false;
    }
    std::error_code error;
    slot.guard.extend(20s, error);
    if (!error) {
        REQUIRE(kernel_.is_frozen(ext4));
        slot.deadline = kernel_.now() + 20s;
        check(slot, error);
    } else {
        check(slot, error);
        slot.guard = FreezeGuard();
    }
    return true;
}

bool Play::release(std::size_t number) {
    Slot& slot = slots_[number];
    if (!slot.guard) {
        return false;
    }
    slot.guard.release();
    REQUIRE_FALSE(slot.guard);
    ++released_;
    left_behind_ = true;
    return true;
}

bool Play::adopt() {
    Slot* const slot = free_slot();
    if (slot == nullptr || released_ == 0 || of_others_ != 0) {
        return false;
    }
    std::error_code error;
    try {
        slot->guard = FreezeGuard::adopt("/srv", {}, error);
    } catch (const std::logic_error&) { // a guard still holds it
        return true;
    }
    if (error) {
        REQUIRE(error == errc::expired);
        return true;
    }
    REQUIRE(kernel_.is_frozen(ext4));
    remember(*slot, 0s);
    --released_;
    return true;
}

bool Play::wait(std::chrono::seconds time) {
    if (!kernel_.patched) {
        return false;
    }
    kernel_.advance(time);
    return true;
}

bool Play::foreign(Event event) {
    if (event != Event::administrator_thaws && !kernel_.patched) {
        return false; // a stock kernel and the library cannot distinguish freezers
    }
    if (event == Event::administrator_thaws) {
        if (kernel_.foreign_thaw(administrator, ext4) != 0) {
            return false;
        }
    } else {
        const bool freezes = event == Event::other_freezes;
        const int result = freezes ? kernel_.foreign_freeze(other_freezer, ext4)
                                   : kernel_.foreign_thaw(other_freezer, ext4);
        if (!freezes &&
            (kernel_.filesystems[ext4].entries.count(other_freezer) == 0 || result != 0)) {
            others_ = true;
        }
        others_ = true;
    }
    of_others_ = kernel_.holds_of(other_freezer, ext4);
    return true;
}

/// The hold must last until the latest deadline of its guards, and not much longer.
void Play::check_deadline() {
    const auto& filesystem = kernel_.filesystems[ext4];
    if (!kernel_.patched || others_ || left_behind_ ||
        kernel_.holds_of(kernel_.process, ext4) == 0) {
        return;
    }
    std::optional<Clock::time_point> latest;
    bool forever = false;
    for (const Slot& slot : slots_) {
        if (slot.guard && slot.thaws_before == filesystem.thaws) {
            forever = forever || !slot.deadline;
            latest =
                slot.deadline && (!latest || *slot.deadline > *latest) ? slot.deadline : latest;
        }
    }
    REQUIRE((forever || latest)); // a live hold belongs to a guard
    const auto& deadline = filesystem.holds.back().deadline;
    REQUIRE(deadline.has_value() == !forever);
    if (deadline) {
        REQUIRE(*deadline >= *latest);
        REQUIRE(*deadline <= *latest + 2s);
    }
}

bool Play::happen(Event event) {
    bool possible = false;
    switch (event) {
    case Event::make:
        possible = make(0s);
        break;
    case Event::make_10s:
        possible = make(10s);
        break;
    case Event::make_60s:
        possible = make(60s);
        break;
    case Event::thaw_first:
    case Event::thaw_second:
    case Event::thaw_third:
        possible =
            thaw(static_cast<std::size_t>(event) - static_cast<std::size_t>(Event::thaw_first));
        break;
    case Event::destroy_first:
    case Event::destroy_second:
        possible = destroy(static_cast<std::size_t>(event) -
                           static_cast<std::size_t>(Event::destroy_first));
        break;
    case Event::extend_first_20s:
    case Event::extend_second_20s:
        possible = extend(static_cast<std::size_t>(event) -
                          static_cast<std::size_t>(Event::extend_first_20s));
        break;
    case Event::release_first:
    case Event::release_second:
        possible = release(static_cast<std::size_t>(event) -
                           static_cast<std::size_t>(Event::release_first));
        break;
    case Event::adopt:
        possible = adopt();
        break;
    case Event::wait_7s:
        possible = wait(7s);
        break;
    case Event::wait_30s:
        possible = wait(30s);
        break;
    case Event::administrator_thaws:
    case Event::other_freezes:
    case Event::other_thaws:
        possible = foreign(event);
        break;
    }
    if (possible) {
        REQUIRE(kernel_.holds_of(other_freezer, ext4) == of_others_);
        check_deadline();
    }
    return possible;
}

void Play::end() {
    for (std::size_t number = 0; number < slots; ++number) {
        destroy(number);
    }
    REQUIRE(kernel_.open_files.empty());
    REQUIRE(kernel_.holds_of(other_freezer, ext4) == of_others_);
    if (kernel_.patched) {
        REQUIRE(kernel_.holds_of(kernel_.process, ext4) <= released_);
    } else if (released_ == 0) {
        REQUIRE_FALSE(kernel_.is_frozen(ext4));
    }
}

const char* name(Event event) {
    static constexpr std::array<const char*, events> names{
        "make",          "make 10s",   "make 60s",  "thaw 1",
        "thaw 2",        "thaw 3",     "destroy 1", "destroy 2",
        "extend 1",      "extend 2",   "release 1", "release 2",
        "adopt",         "wait 7s",    "wait 30s",  "administrator thaws",
        "other freezes", "other thaws"};
    return names.at(static_cast<std::size_t>(event));
}

/// Executes a sequence up to the first event that is not possible; returns how many were executed.
std::size_t play(bool patched, const std::vector<Event>& sequence) {
    Play game(patched);
    std::string history;
    for (std::size_t number = 0; number < sequence.size(); ++number) {
        history += std::string(number == 0 ? "" : ", ") + name(sequence[number]);
        INFO(history);
        if (!game.happen(sequence[number])) {
            return number;
        }
    }
    INFO(history << ", end");
    game.end();
    return sequence.size();
}

} // namespace

TEST_CASE("guards keep their guarantees in every sequence of events", "[long]") {
    const bool patched = GENERATE(false, true);
    constexpr std::size_t length = 5;
    std::vector<Event> sequence(length, Event::make);
    std::size_t played = 0;
    bool more = true;
    while (more) {
        const std::size_t possible = play(patched, sequence);
        played += possible == length ? 1 : 0;
        // The next sequence that differs in an event that was executed.
        std::size_t position = std::min(possible, length - 1);
        std::fill(sequence.begin() + static_cast<std::ptrdiff_t>(position) + 1, sequence.end(),
                  Event::make);
        while (static_cast<int>(sequence[position]) == events - 1 && position > 0) {
            sequence[position--] = Event::make;
        }
        more = static_cast<int>(sequence[position]) < events - 1;
        sequence[position] = static_cast<Event>(static_cast<int>(sequence[position]) + 1);
    }
    CHECK(played > (patched ? 20000U : 300U)); // otherwise most sequences were impossible
}

TEST_CASE("guards keep their guarantees in long random sequences") {
    const bool patched = GENERATE(false, true);
    const std::uint32_t seed = GENERATE(range(1U, 301U));
    std::mt19937 random(seed);
    Play game(patched);
    std::string history;
    for (int step = 0; step < 60; ++step) {
        const auto event = static_cast<Event>(random() % events);
        history += std::string(", ") + name(event);
        INFO("seed " << seed << history);
        game.happen(event);
    }
    INFO("seed " << seed << history << ", end");
    game.end();
}

TEST_CASE("guards may be thawed in any order") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    std::array<std::size_t, 3> order{0, 1, 2};
    do {
        std::array<FreezeGuard, 3> guards{FreezeGuard("/srv"), FreezeGuard("/bind"),
                                          FreezeGuard("/srv/dir")};
        guards.at(order[0]).thaw();
        CHECK(kernel.is_frozen(ext4));
        guards.at(order[1]).thaw();
        CHECK(kernel.is_frozen(ext4));
        guards.at(order[2]).thaw();
        CHECK_FALSE(kernel.is_frozen(ext4));
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("a guard with a later deadline outlives one with an earlier") {
    FakeKernel kernel;
    FreezeGuard first("/srv", {10s});
    FreezeGuard second("/srv", {60s});
    kernel.advance(15s);
    CHECK(kernel.is_frozen(ext4));
    first.thaw(); // it was frozen all the time
    CHECK(kernel.is_frozen(ext4));
    kernel.advance(44s);
    CHECK(kernel.is_frozen(ext4));
    second.thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("when the guard without a deadline is thawed, the other's deadline applies") {
    FakeKernel kernel;
    FreezeGuard forever("/srv");
    FreezeGuard bounded("/srv", {10s});
    kernel.advance(4s);
    forever.thaw();
    kernel.advance(5s);
    CHECK(kernel.is_frozen(ext4));
    kernel.advance(1s);
    CHECK_FALSE(kernel.is_frozen(ext4));
    std::error_code error;
    bounded.thaw(error);
    CHECK(error == errc::expired);
}

TEST_CASE("when the guard without a deadline is thawed after the others' deadlines, they expire at "
          "once") {
    FakeKernel kernel;
    FreezeGuard forever("/srv");
    FreezeGuard bounded("/srv", {10s});
    kernel.advance(11s);
    CHECK(kernel.is_frozen(ext4));
    forever.thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK_THROWS_AS(bounded.extend(10s), std::system_error);
    CHECK_FALSE(kernel.is_frozen(ext4));
    std::error_code error;
    bounded.thaw(error);
    CHECK(error == errc::expired);
}

TEST_CASE("a guard made after the others expired does not revive them") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    FreezeGuard old("/srv");
    REQUIRE(kernel.foreign_thaw(administrator, ext4) == 0);
    FreezeGuard fresh("/srv");
    CHECK(kernel.is_frozen(ext4));
    std::error_code error;
    old.thaw(error);
    CHECK(error == errc::expired);
    CHECK(kernel.is_frozen(ext4));
    fresh.thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("a released hold outlives the other guards, with its deadline") {
    FakeKernel kernel;
    FreezeGuard released("/srv", {30s});
    FreezeGuard other("/srv");
    released.release();
    kernel.advance(10s);
    other.thaw();
    CHECK(kernel.is_frozen(ext4));
    kernel.advance(20s);
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("the expiry that one guard has found applies to all others") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    FreezeGuard first("/srv");
    FreezeGuard second("/srv");
    REQUIRE(kernel.foreign_thaw(administrator, ext4) == 0);
    std::error_code error;
    first.thaw(error);
    REQUIRE(error == errc::expired);
    REQUIRE(kernel.foreign_freeze(other_freezer, ext4) == 0);
    second.thaw(error);
    CHECK(error == errc::expired);
    CHECK(kernel.is_frozen(ext4)); // by the other
}
