// SPDX-License-Identifier: LGPL-2.1-or-later
/// Guards of several filesystems: which paths are the same, the order, and what happens to the
/// others when one fails.
#include "world.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <fcntl.h>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using libfreeze::Options;
using testing::code_of;
using testing::message_of;
using testing::Patches;
using testing::Reports;
using testing::with_timeout;
using testing::World;

namespace {

constexpr dev_t ext4 = World::ext4;
constexpr dev_t btrfs = World::btrfs;
constexpr dev_t loop = 0x700; // 7:0
using Order = std::vector<dev_t>;

/// /image is in a file on /srv, on a loop device.
void stack(World& world) {
    world.mount("/image", loop, "loop0");
    world.files["/srv/image"] = {S_IFREG, ext4, ext4, 0, world.files["/srv"].mount_id, 77};
    world.add_loop(loop, "loop0", "/srv/image");
    world.stacked = {{loop, {ext4}}};
}

/// Fails that request for that superblock, once or permanently.
void fail(World& world, const std::string& name, dev_t superblock, int error, bool sticky = true) {
    world.failing_errno = error;
    world.failing_request = [name, superblock, sticky, left = 1](const std::string& request,
                                                                 dev_t target) mutable {
        return request == name && target == superblock && (sticky || left-- > 0);
    };
}

Options skipping() {
    Options options;
    options.unfreezable = libfreeze::Unfreezable::skip;
    return options;
}

bool contains(const std::string& text, const std::string& part) {
    INFO(text);
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a guard of several filesystems freezes and thaws all of them") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    FreezeGuard guard({"/srv", "/pool"});
    CHECK(world.is_frozen(ext4));
    CHECK(world.is_frozen(btrfs));
    CHECK(guard.filesystems().size() == 2);
    guard.thaw();
    CHECK_FALSE(world.is_frozen(ext4));
    CHECK_FALSE(world.is_frozen(btrfs));
    CHECK(world.open_files.empty());
}

TEST_CASE("paths on one filesystem count once") {
    World world;
    const FreezeGuard guard({"/srv", "/srv/dir", "/bind"});
    REQUIRE(guard.filesystems().size() == 1);
    CHECK(guard.filesystems().front().path == "/srv");
}

TEST_CASE("the upper filesystem is frozen first and thawed last") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    stack(world);
    FreezeGuard guard({"/srv", "/image"}, with_timeout(10s));
    CHECK(guard.filesystems().front().mountpoint == "/image");
    guard.thaw();
    CHECK(world.stuck == 0);
    CHECK_FALSE(world.is_frozen(loop));
}

TEST_CASE("the plan has the order of the freeze and freezes nothing") {
    World world;
    stack(world);
    const auto plan = libfreeze::plan({"/srv", "/image"});
    REQUIRE(plan.size() == 2);
    CHECK(plan[0].filesystem.mountpoint == "/image");
    CHECK(plan[0].rank > plan[1].rank);
    REQUIRE(plan[0].stacked_on.size() == 1);
    CHECK(plan[0].stacked_on[0].mountpoint == "/srv");
    CHECK(world.count("FIFREEZE") == 0);
    CHECK(code_of([] { (void)libfreeze::plan({"/srv", "/proc"}); }) == errc::not_freezable);
}

TEST_CASE("independent filesystems are frozen at the same time") {
    World world;
    std::mutex mutex;
    std::condition_variable arrived;
    int waiting = 0;
    bool met = false;
    world.on_request = [&](const std::string& name, dev_t) {
        if (name == "FIFREEZE") {
            std::unique_lock lock(mutex);
            ++waiting;
            arrived.notify_all();
            met = arrived.wait_for(lock, 10s, [&] { return waiting == 2; }) || met;
        }
    };
    const FreezeGuard guard({"/srv", "/pool"});
    CHECK(met);
    world.on_request = nullptr;
}

TEST_CASE("if one cannot be frozen, the others are thawed and the error names it") {
    World world(GENERATE(Patches::none, Patches::timeouts));
    const std::string request = world.patches == Patches::none ? "FIFREEZE" : "FIFREEZE_TIMEOUT";
    fail(world, request, btrfs, EIO);
    CHECK(contains(message_of([] { const FreezeGuard guard({"/srv", "/pool"}); }), "/pool"));
    CHECK(world.is_soon(false, ext4));
    CHECK(world.open_files.empty());
}

TEST_CASE("a wrong path is found before anything is frozen") {
    World world;
    CHECK(code_of([] {
              const FreezeGuard guard({"/srv", "/none"});
          }) == std::errc::no_such_file_or_directory);
    CHECK(world.count("FIFREEZE") == 0);
}

TEST_CASE("filesystems that cannot be frozen are an error or left out, as the caller chose") {
    World world;
    CHECK(code_of([] { const FreezeGuard guard({"/srv", "/proc"}); }) == errc::not_freezable);
    CHECK(world.is_soon(false, ext4));
    {
        const FreezeGuard guard({"/srv", "/proc"}, skipping());
        CHECK(guard.filesystems().size() == 1);
        REQUIRE(guard.skipped().size() == 1);
        CHECK(guard.skipped().front().path == "/proc");
    }
    CHECK(code_of([] { const FreezeGuard guard("/proc", skipping()); }) == errc::not_freezable);
}

TEST_CASE("other errors are not skipped") {
    World world;
    fail(world, "FIFREEZE", ext4, EIO);
    CHECK(code_of([] { const FreezeGuard guard({"/srv", "/pool"}, skipping()); }).value() == EIO);
    CHECK(world.is_soon(false, btrfs));
}

TEST_CASE("if any freeze ended early, the guard has expired and the others are thawed") {
    World world;
    FreezeGuard guard({"/srv", "/pool"});
    world.foreign_thaw(300, btrfs);
    CHECK(contains(message_of([&] { guard.thaw(); }), "/pool"));
    CHECK_FALSE(guard);
    CHECK(world.is_soon(false, ext4));
    CHECK(world.is_soon(false, btrfs));
}

TEST_CASE("what cannot be thawed stays in the guard, and thaw can be repeated") {
    World world;
    FreezeGuard guard({"/srv", "/pool"});
    fail(world, "FITHAW", btrfs, EIO, false);
    CHECK(code_of([&] { guard.thaw(); }).value() == EIO);
    REQUIRE(guard.filesystems().size() == 1);
    CHECK(guard.filesystems().front().mountpoint == "/pool");
    CHECK_FALSE(world.is_frozen(ext4));
    CHECK(world.is_frozen(btrfs));
    CHECK_NOTHROW(guard.thaw());
    CHECK_FALSE(world.is_frozen(btrfs));
}

TEST_CASE("no thaw waits for a lower filesystem that another guard holds") {
    World world(GENERATE(Patches::none, Patches::timeouts, Patches::all));
    stack(world);
    FreezeGuard both({"/image", "/srv"});
    FreezeGuard lower("/srv");
    CHECK(code_of([&] { both.thaw(); }) == errc::would_deadlock);
    REQUIRE(both.filesystems().size() == 1);
    CHECK(both.filesystems().front().mountpoint == "/image");
    lower.thaw();
    CHECK_NOTHROW(both.thaw());
    CHECK(world.stuck == 0);
    CHECK_FALSE(world.is_frozen(loop));
}

TEST_CASE("nothing above a filesystem that this program holds is frozen") {
    World world;
    stack(world);
    const FreezeGuard lower("/srv");
    CHECK(code_of([] { const FreezeGuard guard("/image"); }) == errc::would_deadlock);
    CHECK_FALSE(world.is_frozen(loop));
}

TEST_CASE("all filesystems share one id, and adopt by id takes all") {
    World world(GENERATE(Patches::none, Patches::all));
    const libfreeze::HoldId id = FreezeGuard({"/srv", "/pool"}).keep();
    FreezeGuard adopted = FreezeGuard::adopt(id);
    CHECK(adopted.filesystems().size() == 2);
    adopted.keep();
    libfreeze::thaw(id);
    CHECK(world.is_soon(false, ext4));
    CHECK(world.is_soon(false, btrfs));
}

TEST_CASE("keep leaves nothing frozen if one freeze has ended") {
    World world(GENERATE(Patches::none, Patches::all));
    FreezeGuard guard({"/srv", "/pool"});
    world.foreign_thaw(300, guard.filesystems().back().device);
    CHECK(code_of([&] { guard.keep(); }) == errc::expired);
    CHECK_FALSE(guard);
    CHECK(world.is_soon(false, ext4));
    CHECK(world.is_soon(false, btrfs));
}

TEST_CASE("data that cannot be written prevents the freeze") {
    World world;
    fail(world, "syncfs", ext4, EIO);
    CHECK(contains(message_of([] { const FreezeGuard guard("/srv"); }), "cannot be written"));
    CHECK(world.count("FIFREEZE") == 0);
}

TEST_CASE("a program that would block on its own freeze is refused") {
    World world;
    world.files["/srv/log"] = {S_IFREG, ext4, ext4, 0, world.files["/srv"].mount_id, 78};
    world.open_as(2, "/srv/log", O_WRONLY | O_APPEND);
    CHECK(contains(message_of([] { const FreezeGuard guard("/srv"); }), "standard error"));
    CHECK(code_of([] { const FreezeGuard guard("/srv"); }) == errc::would_deadlock);
    Options options;
    options.allow_self_deadlock = true;
    CHECK_NOTHROW(FreezeGuard("/srv", options).thaw());
}
