// SPDX-License-Identifier: LGPL-2.1-or-later
/// What differs where the kernel keeps the holds: no guardian until one is kept, and descriptors
/// that the program can close or replace.
#include "hold.hpp"
#include "sysfs.hpp"
#include "world.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using libfreeze::HoldId;
using libfreeze::Options;
using testing::code_of;
using testing::Patches;
using testing::with_timeout;
using testing::World;

namespace {

constexpr dev_t ext4 = World::ext4;

std::vector<int> open_descriptors() {
    std::vector<int> found;
    for (int fd = 0; fd < 256; ++fd) {
        if (::fcntl(fd, F_GETFD) >= 0) {
            found.push_back(fd);
        }
    }
    return found;
}

/// Files of the program that have got the numbers of a guard's descriptors.
class Replacements final {
public:
    Replacements(World& world, const std::vector<int>& numbers) : numbers_(numbers) {
        REQUIRE(::pipe2(pipe_.data(), O_CLOEXEC) == 0);
        for (const int fd : numbers_) {
            world.close(fd);
        }
        for (const int fd : numbers_) {
            REQUIRE(::dup2(pipe_[0], fd) == fd);
        }
    }
    ~Replacements() {
        for (const int fd : numbers_) {
            ::close(fd);
        }
        ::close(pipe_[0]);
        ::close(pipe_[1]);
    }
    Replacements(const Replacements&) = delete;
    Replacements& operator=(const Replacements&) = delete;
    Replacements(Replacements&&) = delete;
    Replacements& operator=(Replacements&&) = delete;

    [[nodiscard]] bool are_open() const {
        return std::all_of(numbers_.begin(), numbers_.end(),
                           [](int fd) { return ::fcntl(fd, F_GETFD) >= 0; });
    }
    /// Requests that were sent to them.
    [[nodiscard]] std::size_t requests(const World& world, std::size_t first) const {
        std::size_t count = 0;
        for (std::size_t number = first; number < world.calls.size(); ++number) {
            const testing::Call& call = world.calls[number];
            const bool is_request =
                call.name.compare(0, 2, "FI") == 0 || call.name.compare(0, 2, "FS") == 0;
            count += is_request && std::count(numbers_.begin(), numbers_.end(), call.fd) != 0;
        }
        return count;
    }

private:
    std::vector<int> numbers_;
    std::array<int, 2> pipe_{};
};

/// The descriptors that a guard has opened.
std::vector<int> added(const std::vector<int>& before) {
    std::vector<int> numbers;
    for (const int fd : open_descriptors()) {
        if (std::find(before.begin(), before.end(), fd) == before.end()) {
            numbers.push_back(fd);
        }
    }
    return numbers;
}

} // namespace

TEST_CASE("where the kernel has descriptors, no guardian is started, in containers either") {
    World world(Patches::all);
    world.links["/proc/thread-self/ns/pid"] = "pid:[4026532000]";
    Options options = with_timeout(10s);
    options.acquire_timeout = 5s;
    FreezeGuard guard("/srv", options);
    guard.extend(20s);
    guard.thaw();
    CHECK(world.count("start_guardian") == 0);
}

TEST_CASE("a guard leaves files alone that have got its descriptors' numbers") {
    World world(Patches::all);
    const std::vector<int> before = open_descriptors();
    auto guard = std::make_unique<FreezeGuard>("/srv");
    const Replacements files(world, added(before));
    const std::size_t calls = world.calls.size();
    SECTION("thaw") {
        CHECK(testing::message_of([&] { guard->thaw(); }).find("closed its descriptor") !=
              std::string::npos);
        CHECK_FALSE(*guard);
    }
    SECTION("extend") {
        CHECK(code_of([&] { guard->extend(1s); }) == errc::expired);
    }
    SECTION("keep") {
        CHECK(code_of([&] { guard->keep(); }) == errc::expired);
    }
    SECTION("descriptor") {
        CHECK(guard->descriptor() == -EINVAL);
    }
    SECTION("the destructor") {}
    guard.reset();
    CHECK(files.are_open());
    CHECK(files.requests(world, calls) == 0);
    CHECK_FALSE(world.is_frozen(ext4));
}

TEST_CASE("the kernel gives a freeze up, in one attempt") {
    World world(Patches::all);
    world.block(ext4);
    Options options;
    options.acquire_timeout = 60s; // by the kernel's clock
    CHECK(code_of([&] { const FreezeGuard guard("/srv", options); }) == errc::acquire_timeout);
    CHECK(world.count("FIFREEZE_FD") == 1);
}

TEST_CASE("a hold that is destroyed ends, even if a forked child has its descriptor") {
    World world(Patches::all);
    libfreeze::internal::FileDescriptor filesystem(world.openat(AT_FDCWD, "/srv", O_RDONLY));
    libfreeze::internal::Outcome outcome;
    auto hold = libfreeze::internal::take_hold(std::move(filesystem), ext4, {}, &outcome);
    REQUIRE(hold);
    hold.reset();
    CHECK(world.count("FSFREEZE_EXTEND") == 1); // which ends it for all
    CHECK(world.count("FSFREEZE_THAW") == 0);   // which could block
    CHECK_FALSE(world.is_frozen(ext4));
    CHECK(world.open_files.empty());
}

TEST_CASE("a guardian takes over a kept hold with its deadline and comment") {
    World world(Patches::all);
    Options options = with_timeout(60s);
    options.comment = "nightly";
    FreezeGuard guard("/srv", options);
    const bool extended = GENERATE(false, true);
    if (extended) {
        guard.extend(200s);
    }
    const HoldId id = guard.keep();
    CHECK(world.count("FSFREEZE_KEEP") == 0);
    CHECK(world.filesystems.at(ext4).thaws == 0);
    const auto holds = libfreeze::inspect({"/srv"}).at(0).holds;
    REQUIRE(holds.size() == 1); // the guardian's own in the kernel is not another one
    CHECK(holds[0].id == id.text);
    CHECK(holds[0].kept);
    CHECK(holds[0].comment == "nightly");
    REQUIRE(holds[0].left);
    CHECK(*holds[0].left <= (extended ? 200s : 60s));
    CHECK(*holds[0].left > (extended ? 150s : 30s));
    libfreeze::thaw(id);
    CHECK(world.is_soon(false, ext4));
}

TEST_CASE("inspect reports kept holds and those of the kernel together") {
    World world(Patches::all);
    const HoldId id = FreezeGuard("/srv").keep();
    FreezeGuard first("/srv");
    std::this_thread::sleep_for(5ms); // the ids are found by the ages
    FreezeGuard second("/srv");
    const FreezeGuard elsewhere("/pool");
    const auto holds = libfreeze::inspect({"/srv"}).at(0).holds;
    REQUIRE(holds.size() == 3);
    CHECK(holds[0].id == id.text);
    CHECK(holds[1].id == first.id().text);
    CHECK(holds[2].id == second.id().text);
    libfreeze::thaw(id);
    CHECK(world.is_frozen(ext4));
    second.thaw();
    first.thaw();
    CHECK_FALSE(world.is_frozen(ext4));
}

TEST_CASE("other programs reach a hold of the kernel by its id") {
    World world(Patches::all);
    FreezeGuard guard({"/srv", "/pool"}, with_timeout(300ms));
    const FreezeGuard other("/srv");
    libfreeze::extend(guard.id(), 60s);
    std::this_thread::sleep_for(400ms);
    CHECK(world.is_frozen(World::btrfs));
    CHECK(code_of([&] { (void)FreezeGuard::adopt(guard.id()); }) == errc::no_such_hold);
    libfreeze::thaw(guard.id());
    CHECK_FALSE(world.is_frozen(World::btrfs));
    CHECK(world.is_frozen(ext4)); // by the other
    pollfd entry{guard.descriptor(), POLLIN, 0};
    CHECK(::poll(&entry, 1, 0) == 1);
    CHECK(code_of([&] { libfreeze::extend(guard.id(), 1s); }) == errc::expired);
    CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    CHECK(code_of([&] { libfreeze::thaw(guard.id()); }) == errc::no_such_hold);
}

TEST_CASE("a thaw by id does not wait for a hold that its holder has thawed meanwhile") {
    World world(Patches::all);
    FreezeGuard guard("/srv");
    world.stop_clock(); // the kernel does not get to it
    const auto began = std::chrono::steady_clock::now();
    std::thread other([&] { CHECK_FALSE(code_of([&] { libfreeze::thaw(guard.id()); })); });
    while (world.count("FSFREEZE_EXTEND") == 0) {
        std::this_thread::sleep_for(1ms);
    }
    guard.thaw();
    other.join();
    CHECK(std::chrono::steady_clock::now() - began < 30s);
}

TEST_CASE("a hold that no guardian can take over is not kept, and still there") {
    World world(Patches::all);
    world.links["/proc/thread-self/ns/pid"] = "pid:[4026532000]";
    FreezeGuard guard("/srv");
    CHECK(code_of([&] { guard.keep(); }) == errc::unprotected);
    CHECK(guard);
    CHECK(world.is_frozen(ext4));
    CHECK_NOTHROW(guard.thaw());
}

TEST_CASE("keep leaves nothing frozen if the hold of the kernel has ended") {
    World world(Patches::all);
    FreezeGuard guard("/srv");
    world.foreign_thaw(300, ext4);
    CHECK(code_of([&] { guard.keep(); }) == errc::expired);
    CHECK_FALSE(guard);
    CHECK(world.is_soon(false, ext4));
}

TEST_CASE("keep has the deadline that another program has set") {
    World world(Patches::all);
    FreezeGuard guard("/srv", with_timeout(100ms));
    libfreeze::extend(guard.id(), 60s);
    std::this_thread::sleep_for(200ms);
    const HoldId id = guard.keep();
    std::this_thread::sleep_for(300ms);
    CHECK(world.is_frozen(ext4));
    libfreeze::thaw(id);
}

TEST_CASE("keep leaves nothing frozen if it fails, and the guard is as it was or empty") {
    for (const int error : {ETIMEDOUT, ECONNRESET}) {
        bool reached = true;
        for (std::size_t number = 0; reached; ++number) {
            World world(Patches::all);
            auto guard = std::make_unique<FreezeGuard>("/srv");
            const HoldId id = guard->id();
            const std::size_t call = world.calls.size() + number;
            world.failing_call = call;
            world.failing_errno = error;
            const std::error_code code = code_of([&] { guard->keep(); });
            reached = world.calls.size() > call;
            world.failing_call.reset();
            CAPTURE(error, number, reached ? world.calls[call].name : "", code.message());
            guard.reset();
            if (!code) {
                libfreeze::thaw(id);
            }
            CHECK(world.is_soon(false, ext4));
        }
    }
}

TEST_CASE("a false mark of another process hides no hold") {
    World world(Patches::all);
    FreezeGuard guard("/srv");
    world.links["/proc/10/fd/3"] = "/memfd:libfreeze:" + guard.id().text + ":" +
                                   libfreeze::internal::number_text(ext4) + ":9 (deleted)";
    CHECK_FALSE(code_of([&] { libfreeze::thaw(guard.id()); }));
    CHECK_FALSE(world.is_frozen(ext4));
}

TEST_CASE("a file that replaces a freeze descriptor while it is copied gets no request") {
    World world(Patches::all);
    FreezeGuard guard("/srv");
    world.replaced_on_copy = true;
    CHECK(code_of([&] { libfreeze::extend(guard.id(), 60s); }) == errc::no_such_hold);
    world.replaced_on_copy = false;
    CHECK(world.count("FSFREEZE_EXTEND") == 0);
    CHECK_NOTHROW(guard.thaw());
}

TEST_CASE("a cancelled freeze is not tried again, though nothing is readable any more") {
    World world(Patches::all);
    world.block(ext4);
    std::atomic<int> slice = 100;
    world.on_request = [&](const std::string& name, dev_t) {
        if (name == "FIFREEZE_FD") {
            std::this_thread::sleep_for(std::chrono::milliseconds(slice.load()));
            slice = 2 * slice;
        }
    };
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    Options options;
    options.cancel_fd = ends[0];
    std::thread canceller([&] {
        std::this_thread::sleep_for(350ms); // in the third attempt, which lasts until 700 ms
        REQUIRE(::write(ends[1], "x", 1) == 1);
    });
    CHECK(code_of([&] { const FreezeGuard guard("/srv", options); }) == errc::cancelled);
    canceller.join();
    char byte = 0;
    REQUIRE(::read(ends[0], &byte, 1) == 1); // like a signalfd that is read
    const std::size_t attempts = world.count("FIFREEZE_FD");
    std::this_thread::sleep_for(1200ms); // the attempt that is in progress is counted at its end
    CHECK(world.count("FIFREEZE_FD") <= attempts + 1);
    ::close(ends[0]);
    ::close(ends[1]);
}
