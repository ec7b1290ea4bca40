// SPDX-License-Identifier: LGPL-2.1-or-later
/// The C interface: its structs, and misuse by the caller.
#include "world.hpp"

#include <libfreeze/freeze.h>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

using testing::World;

namespace {

libfreeze_options defaults() {
    libfreeze_options options;
    libfreeze_options_init(&options, sizeof(options));
    return options;
}

int freeze(const libfreeze_options* options, libfreeze_guard** guard) {
    const char* const path = "/srv";
    return libfreeze_freeze(&path, 1, options, guard);
}

} // namespace

TEST_CASE("C: freeze, extend and thaw") {
    World world;
    libfreeze_guard* guard = nullptr;
    libfreeze_options options = defaults();
    options.timeout_ms = 10'000;
    REQUIRE(freeze(&options, &guard) == 0);
    CHECK(world.is_frozen(World::ext4));
    CHECK(libfreeze_guard_count(guard) == 1);
    CHECK(std::string(libfreeze_guard_filesystem(guard, 0)->mountpoint) == "/srv");
    CHECK(libfreeze_guard_filesystem(guard, 1) == nullptr);
    CHECK(std::strlen(libfreeze_guard_id(guard)) == 16);
    CHECK(libfreeze_guard_extend(guard, 1000) == 0);
    CHECK(libfreeze_guard_extend(guard, -1) == -ERANGE);
    CHECK(libfreeze_guard_thaw(guard) == 0);
    CHECK(libfreeze_guard_thaw(guard) == -EINVAL);
    CHECK(libfreeze_guard_count(guard) == 0);
    libfreeze_guard_free(guard);
}

TEST_CASE("C: a program of an earlier version gives less, and the rest has its defaults") {
    const World world;
    libfreeze_guard* guard = nullptr;
    libfreeze_options options = defaults();
    options.size = offsetof(libfreeze_options, flush_budget_ms);
    options.flush_budget_ms = -5; // not of its version
    CHECK(freeze(&options, &guard) == 0);
    libfreeze_guard_free(guard);
}

TEST_CASE("C: what only a later version has must be zero") {
    const World world;
    struct Later {
        libfreeze_options options;
        long added;
    } later{defaults(), 0};
    later.options.size = sizeof(later);
    libfreeze_guard* guard = nullptr;
    CHECK(freeze(&later.options, &guard) == 0);
    libfreeze_guard_free(guard);
    later.added = 1;
    CHECK(freeze(&later.options, &guard) == -E2BIG);
    CHECK(guard == nullptr);
    later.options.size = 100'000;
    CHECK(freeze(&later.options, &guard) == -E2BIG);
    later.options.size = 0;
    CHECK(freeze(&later.options, &guard) == -EINVAL);
}

TEST_CASE("C: structs of other versions are filled as far as they go") {
    const World world;
    struct {
        libfreeze_stats stats;
        unsigned char guard[8];
    } larger;
    std::memset(&larger, 0xff, sizeof(larger));
    libfreeze_guard_stats(nullptr, &larger.stats, sizeof(larger));
    CHECK(larger.guard[7] == 0);
    std::memset(&larger, 0xff, sizeof(larger));
    libfreeze_guard_stats(nullptr, &larger.stats, sizeof(std::uint64_t));
    CHECK(larger.stats.flush_rounds == 0);
    CHECK(larger.stats.flushing_ns == -1);
}

TEST_CASE("C: NULL and nonsense are errors with a message") {
    const World world;
    libfreeze_guard* guard = nullptr;
    const char* path = nullptr;
    CHECK(libfreeze_freeze(&path, 1, nullptr, &guard) == -EINVAL);
    CHECK(std::string(libfreeze_error_message()).find("NULL") != std::string::npos);
    CHECK(libfreeze_freeze(nullptr, 1, nullptr, &guard) == -EINVAL);
    CHECK(libfreeze_freeze(nullptr, 0, nullptr, &guard) == -EINVAL);
    CHECK(freeze(nullptr, nullptr) == -EINVAL);
    CHECK(libfreeze_freeze_fds(nullptr, 1, nullptr, &guard) == -EINVAL);
    const int closed = -1;
    CHECK(libfreeze_freeze_fds(&closed, 1, nullptr, &guard) == -EBADF);
    CHECK(libfreeze_adopt(nullptr, nullptr, &guard) == -EINVAL);
    CHECK(libfreeze_adopt_id("0123", nullptr, &guard) == -EINVAL);
    CHECK(libfreeze_adopt_id("0123456789abcdeg", nullptr, &guard) == -EINVAL);
    CHECK(libfreeze_thaw_id(nullptr) == -EINVAL);
    CHECK(libfreeze_thaw_id("0123456789abcdef") == -ESRCH);
    CHECK(libfreeze_extend_id("0123456789abcdef", 1) == -ESRCH);
    CHECK(libfreeze_guard_thaw(nullptr) == -EINVAL);
    CHECK(libfreeze_guard_keep(nullptr) == -EINVAL);
    CHECK(libfreeze_guard_descriptor(nullptr) == -EINVAL);
    CHECK(std::string(libfreeze_guard_id(nullptr)).empty());
    CHECK(libfreeze_guard_count(nullptr) == 0);
    CHECK(libfreeze_guard_skipped_count(nullptr) == 0);
    CHECK(libfreeze_guard_skipped(nullptr, 0) == nullptr);
    libfreeze_guard_free(nullptr);
    libfreeze_report_free(nullptr);
    CHECK(libfreeze_report_count(nullptr) == 0);
    CHECK(guard == nullptr);
}

TEST_CASE("C: the version is meson's") {
    CHECK(std::string(libfreeze_version()) == EXPECTED_VERSION);
}

TEST_CASE("C: the failure handler gets its data") {
    World world;
    struct Seen {
        int error = 0;
        std::string mountpoint;
    } seen;
    libfreeze_options options = defaults();
    options.timeout_ms = 20;
    options.failure_handler = [](int error, const char*, const char* mountpoint, void* data) {
        *static_cast<Seen*>(data) = {error, mountpoint};
    };
    options.failure_data = &seen;
    libfreeze_guard* guard = nullptr;
    REQUIRE(freeze(&options, &guard) == 0);
    CHECK(world.is_soon(false, World::ext4));
    libfreeze_guard_free(guard);
    CHECK(seen.error == -ESTALE);
    CHECK(seen.mountpoint == "/srv");
}
