// SPDX-License-Identifier: LGPL-2.1-or-later
/// The C interface, which adds to the C++ one how it tells of errors and of options.
#include "fake_kernel.hpp"

#include <libfreeze/freeze.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <string>

using namespace std::chrono_literals;
using testing::FakeKernel;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;

int freeze(const char* path, const libfreeze_options& options, libfreeze_guard** guard) {
    return libfreeze_freeze(&path, 1, &options, guard);
}

/// The result of a freeze that must fail.
int refused(const char* path, const libfreeze_options& options) {
    libfreeze_guard* guard = nullptr;
    const int result = freeze(path, options, &guard);
    CHECK(guard == nullptr);
    CHECK(std::string(libfreeze_error_message()).find("libfreeze") +
              std::string(libfreeze_error_message()).find("cannot freeze") !=
          2 * std::string::npos);
    return result;
}

int told_error;
std::string told_mountpoint;

} // namespace

TEST_CASE("C: freeze, extend and thaw") {
    FakeKernel kernel;
    libfreeze_options options = LIBFREEZE_OPTIONS_INIT;
    options.timeout_ms = 30000;
    libfreeze_guard* guard = nullptr;
    const char* const paths[] = {"/srv", "/pool"};
    REQUIRE(libfreeze_freeze(paths, 2, &options, &guard) == 0);
    CHECK(kernel.is_frozen(ext4));
    CHECK(libfreeze_count(guard) == 2);
    CHECK(std::string(libfreeze_mountpoint(guard, 0)) +
              std::string(libfreeze_mountpoint(guard, 1)) ==
          "/srv/pool");
    CHECK(libfreeze_mountpoint(guard, 2) == nullptr);
    kernel.advance(20s);
    CHECK(libfreeze_extend(guard, 30000) == 0);
    kernel.advance(20s);
    libfreeze_stats stats{};
    libfreeze_get_stats(guard, &stats);
    CHECK(stats.frozen_ns == 40'000'000'000);
    CHECK(stats.flush_rounds > 0);
    CHECK(libfreeze_thaw(guard) == 0);
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(libfreeze_count(guard) == 0);
    CHECK(libfreeze_thaw(guard) == -EINVAL);
    libfreeze_free(guard);
    libfreeze_free(nullptr);
    CHECK(kernel.open_files.empty());
}

TEST_CASE("C: each error has its number and its line") {
    FakeKernel kernel;
    libfreeze_options options = LIBFREEZE_OPTIONS_INIT;
    SECTION("a path that does not exist") {
        CHECK(refused("/none", options) == -ENOENT);
    }
    SECTION("not freezable") {
        CHECK(refused("/proc", options) == -EOPNOTSUPP);
    }
    SECTION("frozen by another") {
        kernel.patched = false;
        kernel.foreign_freeze(300, ext4);
        CHECK(refused("/srv", options) == -EBUSY);
    }
    SECTION("no timeouts") {
        kernel.patched = false;
        options.timeout_ms = 2000;
        options.guardian = LIBFREEZE_GUARDIAN_NEVER;
        CHECK(refused("/srv", options) == -ENOTTY);
    }
    SECTION("its own standard error") {
        kernel.open_as(2, "/srv/dir/file");
        CHECK(refused("/srv", options) == -EDEADLK);
    }
    SECTION("not in time") {
        kernel.blocking = {FakeKernel::ext4};
        options.acquire_timeout_ms = 100;
        CHECK(refused("/srv", options) == -ETIMEDOUT);
    }
    SECTION("a timeout that is none") {
        options.timeout_ms = -1;
        CHECK(refused("/srv", options) == -ERANGE);
    }
    SECTION("options that are none") {
        options.guardian = 3;
        CHECK(refused("/srv", options) == -EINVAL);
        options = {};
        CHECK(refused("/srv", options) == -EINVAL);
    }
    SECTION("no path") {
        libfreeze_guard* guard = nullptr;
        CHECK(libfreeze_freeze(nullptr, 0, nullptr, &guard) == -EINVAL);
    }
    SECTION("nothing to adopt") {
        libfreeze_guard* guard = nullptr;
        CHECK(libfreeze_adopt("/srv", nullptr, &guard) == -ESTALE);
        CHECK(guard == nullptr);
    }
}

TEST_CASE("C: a freeze that did not last") {
    FakeKernel kernel;
    libfreeze_options options = LIBFREEZE_OPTIONS_INIT;
    options.timeout_ms = 2000;
    libfreeze_guard* guard = nullptr;
    REQUIRE(freeze("/srv", options, &guard) == 0);
    kernel.advance(3s);
    SECTION("told by thaw") {
        CHECK(libfreeze_thaw(guard) == -ESTALE);
        libfreeze_free(guard);
    }
    SECTION("told by the handler") {
        told_error = 0;
        libfreeze_set_failure_handler([](int error, const char*, const char* mountpoint) {
            told_error = error;
            told_mountpoint = mountpoint;
        });
        libfreeze_free(guard);
        libfreeze_set_failure_handler(nullptr);
        CHECK(told_error == -ESTALE);
        CHECK(told_mountpoint == "/srv");
    }
    CHECK(kernel.open_files.empty());
}

TEST_CASE("C: release and adopt, and options of an older version") {
    FakeKernel kernel;
    libfreeze_guard* guard = nullptr;
    libfreeze_options options = LIBFREEZE_OPTIONS_INIT;
    options.size = sizeof(options.size) + sizeof(options.timeout_ms);
    options.lock_memory = 1; // not known to that version
    REQUIRE(freeze("/srv", options, &guard) == 0);
    CHECK(kernel.count("mlockall") == 0);
    libfreeze_release(guard);
    libfreeze_free(guard);
    CHECK(kernel.is_frozen(ext4));
    REQUIRE(libfreeze_adopt("/srv", nullptr, &guard) == 0);
    libfreeze_free(guard);
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("C: what the kernel offers") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    CHECK(libfreeze_probe_timeout("/srv") == (kernel.patched ? 1 : 0));
    CHECK(libfreeze_probe_timeout("/none") == -ENOENT);
}
