// SPDX-License-Identifier: LGPL-2.1-or-later
/// The C interface: errors and options, in which it differs from the C++ interface.
#include "fake_kernel.hpp"

#include <libfreeze/freeze.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <cstdint>
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
std::string reported_mountpoint;

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

TEST_CASE("C: each error has an errno and a message") {
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
    SECTION("invalid timeout") {
        options.timeout_ms = -1;
        CHECK(refused("/srv", options) == -ERANGE);
    }
    SECTION("invalid options") {
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

TEST_CASE("C: a freeze that ended early") {
    FakeKernel kernel;
    libfreeze_options options = LIBFREEZE_OPTIONS_INIT;
    options.timeout_ms = 2000;
    libfreeze_guard* guard = nullptr;
    REQUIRE(freeze("/srv", options, &guard) == 0);
    kernel.advance(3s);
    SECTION("reported by thaw") {
        CHECK(libfreeze_thaw(guard) == -ESTALE);
        libfreeze_free(guard);
    }
    SECTION("reported by the handler") {
        told_error = 0;
        libfreeze_set_failure_handler([](int error, const char*, const char* mountpoint) {
            told_error = error;
            reported_mountpoint = mountpoint;
        });
        libfreeze_free(guard);
        libfreeze_set_failure_handler(nullptr);
        CHECK(told_error == -ESTALE);
        CHECK(reported_mountpoint == "/srv");
    }
    CHECK(kernel.open_files.empty());
}

TEST_CASE("C: release and adopt, and options of an older version") {
    FakeKernel kernel;
    libfreeze_guard* guard = nullptr;
    libfreeze_options options = LIBFREEZE_OPTIONS_INIT;
    options.size = sizeof(options.size) + sizeof(options.timeout_ms);
    options.lock_memory = 1; // unknown in that version
    REQUIRE(freeze("/srv", options, &guard) == 0);
    CHECK(kernel.count("mlockall") == 0);
    libfreeze_release(guard);
    libfreeze_free(guard);
    CHECK(kernel.is_frozen(ext4));
    REQUIRE(libfreeze_adopt("/srv", nullptr, &guard) == 0);
    libfreeze_free(guard);
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("C: null guards and paths are errors, not crashes") {
    const FakeKernel kernel;
    const libfreeze_options options = LIBFREEZE_OPTIONS_INIT;
    const char* const none = nullptr;
    const char* const path = "/srv";
    libfreeze_guard* guard = nullptr;
    const auto is_misuse = [](int result) {
        const std::string line = libfreeze_error_message();
        (void)libfreeze_probe_timeout("/none"); // another message
        return result == -EINVAL && line.find("libfreeze: ") == 0;
    };
    CHECK(is_misuse(libfreeze_thaw(nullptr)));
    CHECK(is_misuse(libfreeze_extend(nullptr, 1000)));
    CHECK(is_misuse(libfreeze_freeze(nullptr, 1, &options, &guard)));
    CHECK(is_misuse(libfreeze_freeze(&none, 1, &options, &guard)));
    CHECK(is_misuse(libfreeze_freeze(&path, 1, &options, nullptr)));
    CHECK(is_misuse(libfreeze_adopt(nullptr, &options, &guard)));
    CHECK(is_misuse(libfreeze_adopt("/srv", &options, nullptr)));
    CHECK(is_misuse(libfreeze_probe_timeout(nullptr)));
    libfreeze_release(nullptr);
    CHECK(libfreeze_count(nullptr) == 0);
    CHECK(libfreeze_mountpoint(nullptr, 0) == nullptr);
    CHECK(libfreeze_skipped_count(nullptr) == 0);
    CHECK(libfreeze_skipped_path(nullptr, 0) == nullptr);
    libfreeze_stats stats{1, 1, 1, 1};
    libfreeze_get_stats(nullptr, &stats);
    CHECK(stats.flush_rounds + static_cast<std::uint64_t>(stats.frozen_ns) == 0);
    CHECK(kernel.count("FIFREEZE") == 0);
}

TEST_CASE("C: options of another version") {
    FakeKernel kernel;
    libfreeze_guard* guard = nullptr;
    struct {
        libfreeze_options known = LIBFREEZE_OPTIONS_INIT;
        std::int64_t later = 0;
    } options;
    SECTION("older: new members are not read") {
        options.known.size = sizeof(options.known.size) + sizeof(options.known.timeout_ms);
        options.known.guardian = 77;
        CHECK(freeze("/srv", options.known, &guard) == 0);
    }
    SECTION("later, without new options") {
        options.known.size = sizeof(options);
        CHECK(freeze("/srv", options.known, &guard) == 0);
    }
    SECTION("later, with an unknown option") {
        options.known.size = sizeof(options);
        options.later = std::int64_t(1) << 56;
        CHECK(freeze("/srv", options.known, &guard) == -E2BIG);
        CHECK(std::string(libfreeze_error_message()).find("later version") != std::string::npos);
        CHECK_FALSE(kernel.is_frozen(ext4));
    }
    SECTION("an invalid size") {
        options.known.size = SIZE_MAX;
        CHECK(freeze("/srv", options.known, &guard) == -E2BIG);
    }
    libfreeze_free(guard);
}

TEST_CASE("C: skipped filesystems") {
    const FakeKernel kernel;
    libfreeze_options options = LIBFREEZE_OPTIONS_INIT;
    options.skip_unfreezable = 1;
    libfreeze_guard* guard = nullptr;
    const char* const paths[] = {"/proc", "/srv/dir"};
    REQUIRE(libfreeze_freeze(paths, 2, &options, &guard) == 0);
    CHECK(libfreeze_count(guard) == 1);
    REQUIRE(libfreeze_skipped_count(guard) == 1);
    CHECK(std::string(libfreeze_skipped_path(guard, 0)) == "/proc");
    CHECK(libfreeze_skipped_path(guard, 1) == nullptr);
    CHECK(libfreeze_thaw(guard) == 0);
    CHECK(libfreeze_skipped_count(guard) == 1);
    libfreeze_free(guard);
}

TEST_CASE("C: probe") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    CHECK(libfreeze_probe_timeout("/srv") == (kernel.patched ? 1 : 0));
    CHECK(libfreeze_probe_timeout("/none") == -ENOENT);
}
