// SPDX-License-Identifier: LGPL-2.1-or-later
/// One guard, and several on one filesystem, by each kind of hold.
#include "world.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using libfreeze::HoldId;
using libfreeze::Options;
using testing::code_of;
using testing::message_of;
using testing::Patches;
using testing::Reports;
using testing::with_timeout;
using testing::World;

namespace {

constexpr dev_t ext4 = World::ext4;

bool is_readable(int fd, int timeout_ms) {
    pollfd entry{fd, POLLIN, 0};
    return ::poll(&entry, 1, timeout_ms) == 1;
}

bool contains(const std::string& text, const std::string& part) {
    INFO(text);
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a guard freezes, and thaws when it is destroyed") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    {
        const FreezeGuard guard("/srv/dir");
        CHECK(guard);
        CHECK(world.is_frozen(ext4));
        REQUIRE(guard.filesystems().size() == 1);
        CHECK(guard.filesystems().front().mountpoint == "/srv");
        CHECK(guard.filesystems().front().device == ext4);
        CHECK(guard.id().text.size() == 16);
    }
    CHECK_FALSE(world.is_frozen(ext4));
}

TEST_CASE("thaw thaws and empties the guard") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    FreezeGuard guard("/srv");
    guard.thaw();
    CHECK_FALSE(guard);
    CHECK_FALSE(world.is_frozen(ext4));
    CHECK(guard.filesystems().empty());
    CHECK(guard.descriptor() < 0);
    CHECK(world.open_files.empty());
}

TEST_CASE("an open file names its filesystem") {
    World world;
    const int fd = world.openat(AT_FDCWD, "/srv/dir", O_PATH);
    FreezeGuard guard{libfreeze::Fd(fd)};
    world.close(fd);
    CHECK(world.is_frozen(ext4));
}

TEST_CASE("calls of an empty guard throw logic_error") {
    const World world;
    FreezeGuard guard;
    std::error_code error;
    CHECK_THROWS_AS(guard.thaw(), std::logic_error);
    CHECK_THROWS_AS(guard.thaw(error), std::logic_error);
    CHECK_THROWS_AS(guard.extend(1s), std::logic_error);
    CHECK_THROWS_AS(guard.keep(), std::logic_error);
    CHECK_THROWS_AS(FreezeGuard(std::vector<std::filesystem::path>{}), std::logic_error);
}

TEST_CASE("moving a guard moves its hold") {
    World world;
    FreezeGuard first("/srv");
    FreezeGuard second(std::move(first));
    CHECK(second);
    FreezeGuard third;
    third = std::move(second);
    CHECK(world.is_frozen(ext4));
    third = FreezeGuard();
    CHECK_FALSE(world.is_frozen(ext4));
}

TEST_CASE("an invalid option freezes nothing and says why") {
    World world;
    const auto refused = [](const Options& options) {
        return code_of([&] { const FreezeGuard guard("/srv", options); });
    };
    const std::error_code out_of_range(ERANGE, std::system_category());
    CHECK(refused(with_timeout(-1ms)) == out_of_range);
    CHECK(refused(with_timeout(libfreeze::max_timeout + 1ms)) == out_of_range);
    Options options;
    options.acquire_timeout = -1ms;
    CHECK(refused(options) == out_of_range);
    options = {};
    options.comment = std::string(32, 'x');
    CHECK_THROWS_AS(FreezeGuard("/srv", options), std::logic_error);
    CHECK(world.count("FIFREEZE") == 0);
    CHECK_FALSE(world.is_frozen(ext4));
}

TEST_CASE("a deadline thaws, wakes the descriptor, and the guard has expired") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    FreezeGuard guard("/srv", with_timeout(80ms));
    CHECK_FALSE(is_readable(guard.descriptor(), 0));
    CHECK(is_readable(guard.descriptor(), 5000));
    CHECK(world.is_soon(false, ext4));
    CHECK(code_of([&] { guard.extend(1s); }) == errc::expired);
    CHECK(is_readable(guard.descriptor(), 0));
    CHECK(contains(message_of([&] { guard.thaw(); }), "its deadline has passed"));
    CHECK_FALSE(guard);
}

TEST_CASE("extend moves the deadline, and zero removes it") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    FreezeGuard guard("/srv", with_timeout(100ms));
    guard.extend(10s);
    std::this_thread::sleep_for(150ms);
    CHECK(world.is_frozen(ext4));
    guard.extend(60ms);
    guard.extend(0ms);
    std::this_thread::sleep_for(120ms);
    CHECK(world.is_frozen(ext4));
    CHECK_NOTHROW(guard.thaw());
}

TEST_CASE("a thaw without libfreeze is found out by thaw, extend and keep") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    FreezeGuard guard("/srv");
    world.foreign_thaw(300, ext4);
    if (world.patches != Patches::none) {
        world.foreign_thaw(300, ext4);
    }
    REQUIRE_FALSE(world.is_frozen(ext4));
    SECTION("thaw") {
        CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    }
    SECTION("extend") {
        // Where the check takes long, extend() does not wait for it, and the descriptor wakes.
        const std::error_code first = code_of([&] { guard.extend(1s); });
        CHECK((first == errc::expired || is_readable(guard.descriptor(), 5000)));
        CHECK(code_of([&] { guard.extend(1s); }) == errc::expired);
    }
    SECTION("keep") {
        CHECK(code_of([&] { guard.keep(); }) == errc::expired);
        CHECK_FALSE(guard);
    }
    CHECK(world.is_soon(false, ext4));
}

TEST_CASE("guards on one filesystem end in any order") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    std::vector<int> order{0, 1, 2};
    do {
        std::vector<FreezeGuard> guards;
        for (int i = 0; i < 3; ++i) {
            guards.emplace_back("/srv", with_timeout(10s));
        }
        for (const int i : order) {
            CHECK(world.is_frozen(ext4));
            CHECK_NOTHROW(guards[static_cast<std::size_t>(i)].thaw());
        }
        CHECK_FALSE(world.is_frozen(ext4));
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("one guard's deadline does not end another's freeze") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    FreezeGuard lasting("/srv");
    FreezeGuard brief("/srv", with_timeout(50ms));
    CHECK(is_readable(brief.descriptor(), 5000));
    CHECK(code_of([&] { brief.thaw(); }) == errc::expired);
    CHECK(world.is_frozen(ext4));
    CHECK_FALSE(is_readable(lasting.descriptor(), 0));
    CHECK_NOTHROW(lasting.thaw());
}

TEST_CASE("another program's freeze is an error that says so") {
    World world;
    world.foreign_freeze(300, ext4);
    CHECK(contains(message_of([] { const FreezeGuard guard("/srv"); }),
                   "a program that does not use libfreeze has frozen it"));
    CHECK(code_of([] { const FreezeGuard guard("/srv"); }) == errc::already_frozen);
    CHECK(code_of([] { const FreezeGuard guard("/srv"); }) == std::errc::device_or_resource_busy);
    CHECK(world.is_frozen(ext4));
    world.foreign_thaw(300, ext4);
}

TEST_CASE("a kept hold is found by path and by id") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    FreezeGuard guard("/srv", with_timeout(10s));
    const HoldId id = guard.keep();
    CHECK_FALSE(guard);
    CHECK(id.text == guard.id().text);
    CHECK(world.is_frozen(ext4));
    SECTION("adopt by path") {
        FreezeGuard adopted = FreezeGuard::adopt("/srv/dir", with_timeout(10s));
        CHECK(adopted.id().text == id.text);
        adopted.thaw();
    }
    SECTION("adopt by id") {
        FreezeGuard adopted = FreezeGuard::adopt(id);
        CHECK(adopted.filesystems().front().mountpoint == "/srv");
        adopted.thaw();
    }
    SECTION("thaw by id") {
        libfreeze::extend(id, 20s);
        libfreeze::thaw(id);
    }
    CHECK(world.is_soon(false, ext4));
    CHECK(code_of([&] { libfreeze::thaw(id); }) == errc::no_such_hold);
    CHECK(code_of([&] { (void)FreezeGuard::adopt(id); }) == errc::no_such_hold);
    CHECK(code_of([&] { (void)FreezeGuard::adopt("/srv"); }) == errc::no_such_hold);
}

TEST_CASE("the end of a kept hold is remembered until somebody asks") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    const HoldId id = FreezeGuard("/srv", with_timeout(50ms)).keep();
    CHECK(world.is_soon(false, ext4));
    std::this_thread::sleep_for(50ms);
    CHECK(contains(message_of([&] { libfreeze::thaw(id); }), "deadline"));
    CHECK(code_of([&] { libfreeze::thaw(id); }) == errc::no_such_hold);
}

TEST_CASE("an old hold's deadline and id do not touch a later freeze") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    const HoldId old = FreezeGuard("/srv", with_timeout(60ms)).keep();
    libfreeze::thaw(old);
    FreezeGuard later("/srv");
    std::this_thread::sleep_for(100ms);
    CHECK(code_of([&] { libfreeze::thaw(old); }) == errc::no_such_hold);
    CHECK(world.is_frozen(ext4));
    CHECK_NOTHROW(later.thaw());
}

TEST_CASE("adopt refuses options that have nothing to act on") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    const HoldId id = FreezeGuard("/srv").keep();
    Options options;
    options.flush_budget = 1s;
    CHECK_THROWS_AS((void)FreezeGuard::adopt(id, options), std::logic_error);
    options = {};
    options.unfreezable = libfreeze::Unfreezable::skip;
    CHECK_THROWS_AS((void)FreezeGuard::adopt(id, options), std::logic_error);
    CHECK_THROWS_AS((void)FreezeGuard::adopt(HoldId("no id")), std::logic_error);
    libfreeze::thaw(id);
}

TEST_CASE("an administrator ends all holds, and their guards are told") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    FreezeGuard first("/srv");
    FreezeGuard second("/srv");
    const libfreeze::FilesystemStatus ended = libfreeze::thaw_others("/srv");
    CHECK(ended.holds.size() >= 2);
    CHECK(is_readable(first.descriptor(), 5000));
    CHECK(code_of([&] { first.thaw(); }) == errc::expired);
    CHECK(code_of([&] { second.thaw(); }) == errc::expired);
    CHECK_FALSE(world.is_frozen(ext4));
}

TEST_CASE("inspect shows the holders") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    Options options = with_timeout(10s);
    options.comment = "nightly";
    FreezeGuard guard("/srv", options);
    const auto found = libfreeze::inspect({"/srv"});
    REQUIRE(found.size() == 1);
    CHECK(found[0].state == libfreeze::FilesystemStatus::State::frozen);
    REQUIRE(found[0].holds.size() == 1);
    CHECK(found[0].holds[0].id == guard.id().text);
    CHECK(found[0].holds[0].comment == "nightly");
    CHECK(found[0].holds[0].pid == (world.patches == Patches::all ? world.process : ::getpid()));
    CHECK(found[0].holds[0].left > 5s);
}

TEST_CASE("a guard in a forked child does nothing") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    world.stop_clock();
    FreezeGuard guard("/srv");
    const pid_t child = ::fork();
    if (child == 0) {
        int refused = 0;
        try {
            guard.thaw();
        } catch (const std::logic_error&) {
            ++refused;
        }
        refused += guard.descriptor() < 0 ? 1 : 0;
        guard = FreezeGuard();
        ::_exit(refused == 2 ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(world.is_frozen(ext4));
    CHECK_NOTHROW(guard.thaw());
}

TEST_CASE("a destructor reports an expired freeze, unless the caller knows") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    Reports reports;
    Options options = with_timeout(30ms);
    options.failure_handler = reports.handler();
    {
        const FreezeGuard guard("/srv", options);
        CHECK(is_readable(guard.descriptor(), 5000));
    }
    REQUIRE(reports.codes.size() == 1);
    CHECK(reports.codes[0] == errc::expired);
    {
        FreezeGuard guard("/srv", options);
        CHECK(is_readable(guard.descriptor(), 5000));
        std::error_code error;
        guard.extend(1s, error);
        CHECK(error == errc::expired);
    }
    CHECK(reports.codes.size() == 1);
}

TEST_CASE("a freeze that blocks is given up in time, and undone when it completes") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    world.block(ext4);
    Options options;
    SECTION("by acquire_timeout") {
        options.acquire_timeout = 100ms;
        const auto began = libfreeze::internal::Clock::now();
        CHECK(code_of([&] { const FreezeGuard guard("/srv", options); }) == errc::acquire_timeout);
        CHECK(libfreeze::internal::Clock::now() - began < 5s);
    }
    SECTION("by cancel_fd") {
        std::array<int, 2> ends{};
        REQUIRE(::pipe(ends.data()) == 0);
        options.cancel_fd = ends[0];
        std::thread canceller([&] {
            std::this_thread::sleep_for(50ms);
            (void)!::write(ends[1], "x", 1);
        });
        CHECK(code_of([&] { const FreezeGuard guard("/srv", options); }) == errc::cancelled);
        canceller.join();
        ::close(ends[0]);
        ::close(ends[1]);
    }
    world.unblock(ext4);
    CHECK(world.is_soon(false, ext4));
}

TEST_CASE("where a guardian would die with the program, a freeze is refused") {
    World world;
    world.links["/proc/thread-self/ns/pid"] = "pid:[4026532000]";
    CHECK(code_of([] { const FreezeGuard guard("/srv"); }) == errc::unprotected);
    CHECK(
        contains(message_of([] { const FreezeGuard guard("/srv"); }), "libfreeze-guardian.socket"));
    CHECK_FALSE(libfreeze::probe("/srv").guardian_survives);
    SECTION("unless the caller allows it") {
        Options options;
        options.allow_unprotected = true;
        CHECK_NOTHROW(FreezeGuard("/srv", options).thaw());
    }
    SECTION("unless the host starts it") {
        world.has_host_socket = true;
        CHECK_NOTHROW(FreezeGuard("/srv").thaw());
    }
}

TEST_CASE("a guardian that would die with a container serves only those who allow it") {
    World world;
    world.in_initial_namespace = false;
    Options options;
    options.allow_unprotected = true;
    FreezeGuard guard("/srv", options);
    CHECK(code_of([] { const FreezeGuard other("/srv"); }) == errc::unprotected);
    CHECK_NOTHROW(FreezeGuard("/srv", options).thaw());
    CHECK_NOTHROW(guard.thaw());
}

TEST_CASE("the end of one filesystem's hold is the end of all with its id") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    const HoldId id = FreezeGuard({"/srv", "/pool"}, with_timeout(60s)).keep();
    libfreeze::thaw_others("/srv");
    SECTION("thaw") {
        CHECK(code_of([&] { libfreeze::thaw(id); }) == errc::expired);
        CHECK(world.is_soon(false, World::btrfs));
    }
    SECTION("adopt") {
        CHECK(code_of([&] { (void)FreezeGuard::adopt(id); }) == errc::expired);
        CHECK(world.is_frozen(World::btrfs));
        CHECK(libfreeze::inspect({"/pool"}).at(0).holds.at(0).left > 10s);
        libfreeze::thaw(id);
    }
}

TEST_CASE("a thaw that is refused leaves other holds with that id alone") {
    World world;
    const HoldId id = FreezeGuard({"/srv", "/pool"}).keep();
    FreezeGuard first = FreezeGuard::adopt("/srv");
    FreezeGuard second = FreezeGuard::adopt("/pool");
    world.foreign_thaw(300, ext4);
    CHECK(code_of([&] { first.keep(); }) == errc::expired);
    CHECK(world.is_frozen(World::btrfs));
    CHECK_NOTHROW(second.thaw());
}

TEST_CASE("progress is reported in order") {
    World world;
    std::vector<libfreeze::Progress::Phase> phases;
    Options options;
    options.progress = [&](const libfreeze::Progress& now) {
        if (phases.empty() || phases.back() != now.phase) {
            phases.push_back(now.phase);
        }
    };
    options.acquire_timeout = GENERATE(0ms, 10s);
    const FreezeGuard guard("/srv", options);
    CHECK(std::is_sorted(phases.begin(), phases.end()));
    CHECK(phases.back() == libfreeze::Progress::Phase::frozen);
}

TEST_CASE("memory is locked while a guard lives, and unlocked only if it was not locked before") {
    World world;
    const bool was_locked = GENERATE(false, true);
    world.texts["/proc/self/status"] = was_locked ? "VmLck:\t 8 kB\n" : "VmLck:\t 0 kB\n";
    Options options;
    options.lock_memory = true;
    {
        FreezeGuard first("/srv", options);
        const FreezeGuard second("/srv", options);
        first.thaw();
        CHECK(world.count("mlockall") == 1);
        CHECK(world.count("munlockall") == 0);
    }
    CHECK(world.count("munlockall") == (was_locked ? 0U : 1U));
}

TEST_CASE("statistics") {
    World world;
    FreezeGuard guard("/srv");
    std::this_thread::sleep_for(5ms);
    CHECK(guard.stats().flush_rounds >= 1);
    CHECK(guard.stats().frozen >= 5ms);
    guard.thaw();
    const auto frozen = guard.stats().frozen;
    std::this_thread::sleep_for(5ms);
    CHECK(guard.stats().frozen == frozen);
}

TEST_CASE("guards of several threads on one filesystem") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    std::atomic<int> bad = 0;
    std::vector<std::thread> threads;
    for (int number = 0; number < 8; ++number) {
        threads.emplace_back([&] {
            for (int round = 0; round < 20; ++round) {
                try {
                    FreezeGuard guard("/srv", with_timeout(20s));
                    bad += world.is_frozen(ext4) ? 0 : 1;
                    guard.thaw();
                } catch (const std::exception&) {
                    ++bad;
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(bad == 0);
    CHECK(world.is_soon(false, ext4));
}
