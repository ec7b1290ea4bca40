// SPDX-License-Identifier: LGPL-2.1-or-later
#include "calls.hpp"
#include "fake_kernel.hpp"
#include "reports.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using libfreeze::Options;
using testing::code_of;
using testing::FakeKernel;
using testing::Reports;
using testing::with_timeout;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;

/// The argument of the last request of that name.
std::int64_t last_argument(const FakeKernel& kernel, const std::string& name) {
    for (auto call = kernel.calls.rbegin(); call != kernel.calls.rend(); ++call) {
        if (call->name == name) {
            return call->argument;
        }
    }
    FAIL("no call of " << name);
    return 0;
}

} // namespace

static_assert(!std::is_copy_constructible_v<FreezeGuard> &&
              !std::is_copy_assignable_v<FreezeGuard>);
static_assert(std::is_nothrow_move_constructible_v<FreezeGuard> &&
              std::is_nothrow_move_assignable_v<FreezeGuard>);
static_assert(std::is_final_v<FreezeGuard> && std::is_nothrow_default_constructible_v<FreezeGuard>);

TEST_CASE("a guard freezes, and thaws when it is destroyed") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const Reports reports;
    {
        const FreezeGuard guard("/srv/dir");
        CHECK(kernel.is_frozen(ext4));
        CHECK(guard);
        CHECK(guard.filesystem().mountpoint == "/srv");
        CHECK(guard.filesystem().source == "/dev/sda1");
    }
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.open_files.empty());
    CHECK(Reports::all().empty());
}

TEST_CASE("thaw thaws and empties the guard") {
    FakeKernel kernel;
    FreezeGuard guard("/srv");
    guard.thaw();
    CHECK_FALSE(guard);
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("calls of an empty guard throw logic_error") {
    FreezeGuard guard;
    std::error_code error;
    CHECK_FALSE(guard);
    CHECK_THROWS_AS(guard.thaw(), std::logic_error);
    CHECK_THROWS_AS(guard.thaw(error), std::logic_error);
    CHECK_THROWS_AS(guard.extend(10s), std::logic_error);
    CHECK_THROWS_AS(guard.extend(10s, error), std::logic_error);
    CHECK_THROWS_AS(guard.filesystem(), std::logic_error);
    guard.release();
}

TEST_CASE("moving a guard moves its freeze") {
    FakeKernel kernel;
    const Reports reports;
    FreezeGuard first("/srv");
    FreezeGuard second(std::move(first));
    CHECK_FALSE(first); // NOLINT(bugprone-use-after-move): that is the test
    CHECK(kernel.is_frozen(ext4));
    second = FreezeGuard("/pool");
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.is_frozen(FakeKernel::btrfs));
    second.thaw();
    CHECK(Reports::all().empty());
}

TEST_CASE("a timeout is rounded up to whole seconds, at least two") {
    FakeKernel kernel;
    struct Row {
        std::chrono::milliseconds asked;
        std::int64_t given;
    };
    const auto row = GENERATE(Row{1ms, 2}, Row{1s, 2}, Row{1999ms, 2}, Row{2s, 2}, Row{2001ms, 3},
                              Row{30s, 30}, Row{libfreeze::max_timeout, 31536000});
    FreezeGuard guard("/srv", with_timeout(row.asked));
    CHECK(last_argument(kernel, "FIFREEZE_TIMEOUT") == row.given);
    guard.extend(row.asked);
    CHECK(last_argument(kernel, "FIFREEZE_RESET_TIMEOUT") == row.given);
    CHECK(kernel.count("FIFREEZE") == 0);
    guard.thaw();
}

TEST_CASE("without a timeout FIFREEZE is used, without an argument") {
    FakeKernel kernel;
    { const FreezeGuard guard("/srv"); }
    CHECK(kernel.count("FIFREEZE") == 1);
    CHECK(kernel.count("FIFREEZE_TIMEOUT") == 0);
    CHECK(last_argument(kernel, "FIFREEZE") == 0);
    CHECK(last_argument(kernel, "FITHAW") == 0);
}

TEST_CASE("an invalid timeout freezes nothing") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const auto timeout = GENERATE(-1ms, -30s, std::chrono::milliseconds::min(),
                                  std::chrono::milliseconds::max(), libfreeze::max_timeout + 1ms);
    CHECK(code_of([&] { const FreezeGuard guard("/srv", with_timeout(timeout)); }) ==
          std::error_code(ERANGE, std::system_category()));
    CHECK(kernel.calls.empty());
    CHECK_THROWS_AS(FreezeGuard::adopt("/srv", with_timeout(timeout)), std::system_error);
    CHECK(kernel.calls.empty());
}

TEST_CASE("extend with a zero, negative or huge timeout changes nothing") {
    FakeKernel kernel;
    FreezeGuard guard("/srv", with_timeout(10s));
    const std::size_t resets = kernel.count("FIFREEZE_RESET_TIMEOUT");
    for (const std::chrono::milliseconds timeout : {0ms, -1ms, std::chrono::milliseconds::max()}) {
        CHECK(code_of([&] { guard.extend(timeout); }) == std::errc::result_out_of_range);
    }
    CHECK(kernel.count("FIFREEZE_RESET_TIMEOUT") == resets);
    guard.thaw();
}

TEST_CASE("on a stock kernel a timeout without a guardian is refused before anything is frozen") {
    FakeKernel kernel;
    kernel.patched = false;
    libfreeze::Options options = with_timeout(30s);
    options.guardian = libfreeze::UseGuardian::never;
    std::error_code error;
    const FreezeGuard guard("/srv", options, error);
    CHECK_FALSE(guard);
    CHECK(error == errc::unsupported_by_kernel);
    CHECK(error == std::error_code(ENOTTY, std::system_category()));
    CHECK(kernel.count("FIFREEZE") + kernel.count("FIFREEZE_TIMEOUT") == 0);
    CHECK(kernel.filesystems[ext4].thaws == 0);
}

TEST_CASE("on a stock kernel extend fails and the guard keeps its freeze") {
    FakeKernel kernel;
    kernel.patched = false;
    FreezeGuard guard("/srv");
    CHECK(code_of([&] { guard.extend(30s); }) == errc::unsupported_by_kernel);
    CHECK(kernel.is_frozen(ext4));
    guard.thaw();
}

TEST_CASE("on a stock kernel a guard does not thaw another process's freeze") {
    FakeKernel kernel;
    kernel.patched = false;
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    std::error_code error;
    { const FreezeGuard guard("/srv", error); }
    CHECK(error == errc::already_frozen);
    CHECK(kernel.is_frozen(ext4));
}

TEST_CASE("extend and thaw report a freeze that timed out as expired") {
    FakeKernel kernel;
    const Reports reports;
    {
        FreezeGuard guard("/srv", with_timeout(10s));
        kernel.advance(10s);
        CHECK(code_of([&] { guard.extend(10s); }) == errc::expired);
        CHECK(guard);
        std::error_code error;
        guard.thaw(error);
        CHECK(error == errc::expired);
        CHECK_FALSE(guard);
    }
    CHECK(Reports::all().empty());
    CHECK(kernel.open_files.empty());
}

TEST_CASE("extend keeps a freeze beyond its first deadline") {
    FakeKernel kernel;
    FreezeGuard guard("/srv", with_timeout(10s));
    for (int i = 0; i < 10; ++i) {
        kernel.advance(5s);
        guard.extend(10s);
    }
    kernel.advance(9s);
    guard.thaw();
    CHECK(kernel.filesystems[ext4].thaws == 1);
}

TEST_CASE("a freeze that an administrator thaws has expired") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    FreezeGuard guard("/srv");
    REQUIRE(kernel.foreign_thaw(200, ext4) == 0);
    const auto error = code_of([&] { guard.thaw(); });
    CHECK(error == errc::expired);
    CHECK(error == std::error_code(EINVAL, std::system_category()));
}

TEST_CASE("a late thaw does not end another process's freeze") {
    FakeKernel kernel;
    FreezeGuard guard("/srv", with_timeout(10s));
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    kernel.advance(10s);
    CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    CHECK(kernel.holds_of(200, ext4) == 1);
    CHECK(kernel.is_frozen(ext4));
}

TEST_CASE("a destructor reports an expired freeze once, unless the caller got the error before") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const Reports reports;
    {
        const FreezeGuard guard("/srv");
        REQUIRE(kernel.foreign_thaw(200, ext4) == 0);
    }
    REQUIRE(Reports::all().size() == 1);
    CHECK(Reports::all().front().code() == errc::expired);
    Reports::all().clear();
    if (kernel.patched) {
        FreezeGuard guard("/srv", with_timeout(10s));
        kernel.advance(10s);
        CHECK_THROWS_AS(guard.extend(1s), std::system_error);
    }
    CHECK(Reports::all().empty());
}

TEST_CASE("an assignment to a guard whose freeze expired reports it") {
    FakeKernel kernel;
    const Reports reports;
    FreezeGuard guard("/srv", with_timeout(10s));
    kernel.advance(10s);
    guard = FreezeGuard();
    CHECK(Reports::all().size() == 1);
}

TEST_CASE("set_failure_handler returns the previous handler; the default one writes a line to "
          "standard error") {
    FakeKernel kernel;
    CHECK(libfreeze::set_failure_handler(nullptr) == nullptr);
    const std::string stderr_path = GENERATE("/pool", "/srv/dir/file", "");
    if (!stderr_path.empty()) {
        kernel.open_as(STDERR_FILENO, stderr_path);
    }
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    const int saved = ::dup(STDERR_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    {
        libfreeze::Options options = with_timeout(10s);
        options.allow_self_deadlock = true;
        const FreezeGuard guard("/srv", options);
        kernel.advance(10s);
    }
    ::dup2(saved, STDERR_FILENO);
    std::array<char, 4096> buffer{};
    const auto length = ::read(ends[0], buffer.data(), buffer.size());
    for (const int fd : {ends[0], ends[1], saved}) {
        ::close(fd);
    }
    if (stderr_path == "/pool") {
        const std::string line(buffer.data(), static_cast<std::size_t>(length));
        CHECK(line.rfind("libfreeze: cannot thaw '/srv' (ext4): it did not stay frozen", 0) == 0);
        CHECK(std::count(line.begin(), line.end(), '\n') == 1);
        CHECK(line.back() == '\n');
    } else { // on the frozen filesystem, or at an unknown place
        CHECK(length == -1);
    }
}

TEST_CASE("a released filesystem stays frozen, and can be adopted") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const Reports reports;
    {
        FreezeGuard guard("/srv");
        guard.release();
        CHECK_FALSE(guard);
    }
    CHECK(kernel.is_frozen(ext4));
    CHECK(kernel.open_files.empty());
    FreezeGuard again = FreezeGuard::adopt("/bind");
    CHECK(again);
    again.thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(Reports::all().empty());
}

TEST_CASE("a freeze of another process can be adopted") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    FreezeGuard guard = FreezeGuard::adopt("/srv");
    guard.thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("adopt gives a new deadline") {
    FakeKernel kernel;
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    FreezeGuard guard = FreezeGuard::adopt("/srv", with_timeout(10s));
    kernel.advance(10s);
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
}

TEST_CASE("a filesystem that is not frozen cannot be adopted, and stays thawed") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    std::error_code error;
    CHECK_FALSE(FreezeGuard::adopt("/srv", {}, error));
    CHECK(error == errc::expired);
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK_FALSE(FreezeGuard::adopt("/proc", {}, error));
    CHECK(error == (kernel.patched ? errc::expired : errc::not_supported));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("on a stock kernel adopt with a timeout fails") {
    FakeKernel kernel;
    kernel.patched = false;
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    CHECK(code_of([] { const auto guard = FreezeGuard::adopt("/srv", with_timeout(10s)); }) ==
          errc::unsupported_by_kernel);
    CHECK(kernel.is_frozen(ext4));
}

TEST_CASE(
    "on a stock kernel device-mapper's freeze cannot be adopted, because a thaw would end it") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    kernel.sysfs["/sys/dev/block/8:1/dm/suspended"] = "1\n";
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    try {
        FreezeGuard::adopt("/srv").thaw();
        CHECK(kernel.patched);
    } catch (const std::system_error& error) {
        INFO(error.what());
        CHECK_FALSE(kernel.patched);
        CHECK(error.code() == errc::already_frozen);
        CHECK(std::string(error.what()).find("resume it first") != std::string::npos);
        CHECK(kernel.count("FIFREEZE") == 0); // it would wait for the device
        CHECK(kernel.is_frozen(ext4));
    }
    CHECK(kernel.open_files.empty());
}

TEST_CASE("a freeze that a guard still holds cannot be adopted") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    FreezeGuard guard("/srv");
    std::error_code error;
    CHECK_THROWS_AS(FreezeGuard::adopt("/srv"), std::logic_error);
    CHECK_THROWS_AS(FreezeGuard::adopt("/srv", {}, error), std::logic_error);
    guard.thaw();
    CHECK(kernel.open_files.empty());
}

TEST_CASE("adopt reports if it cannot undo the freeze by which it asks") {
    FakeKernel kernel;
    kernel.patched = false;
    kernel.failing_errno = EIO;
    std::size_t undo = 0;
    { // find the number of the call that undoes the freeze
        CHECK_THROWS_AS(FreezeGuard::adopt("/srv"), std::system_error);
        while (kernel.calls[undo].name != "FITHAW") {
            ++undo;
        }
        kernel.calls.clear();
    }
    kernel.failing_call = undo;
    kernel.sticky = true;
    try {
        const auto guard = FreezeGuard::adopt("/srv");
        FAIL("adopted nothing");
    } catch (const std::system_error& error) {
        INFO(error.what());
        CHECK(error.code() == errc::expired);
        CHECK(std::string(error.what()).find("Input/output error") != std::string::npos);
        CHECK(std::string(error.what()).find("fsfreeze -u '/srv'") != std::string::npos);
    }
    CHECK(kernel.is_frozen(ext4)); // as it says
}

TEST_CASE("a forked child cannot touch its parent's freeze") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const Reports reports;
    const std::size_t before = kernel.calls.size();
    {
        FreezeGuard guard("/srv");
        const std::size_t asked = kernel.calls.size() - before;
        kernel.process = 101; // from here on, this is the child
        std::error_code error;
        CHECK_THROWS_AS(guard.thaw(), std::logic_error);
        CHECK_THROWS_AS(guard.thaw(error), std::logic_error);
        CHECK_THROWS_AS(guard.extend(10s), std::logic_error);
        CHECK_THROWS_AS(guard.extend(10s, error), std::logic_error);
        CHECK(kernel.calls.size() - before == asked);
    }
    CHECK(kernel.is_frozen(ext4));
    CHECK(kernel.count("FITHAW") == 0);
    CHECK(kernel.open_files.empty());
    CHECK(Reports::all().empty());
}

TEST_CASE("a forked child's own guards are independent of its parent's") {
    FakeKernel kernel;
    const Reports reports;
    auto inherited = std::make_unique<FreezeGuard>("/srv");
    kernel.process = 101;
    {
        FreezeGuard own("/srv", with_timeout(10s));
        CHECK(kernel.holds_of(101, ext4) == 1);
        own.thaw();
    }
    inherited->release();
    inherited.reset();
    CHECK(kernel.holds_of(100, ext4) == 1);
    CHECK(kernel.is_frozen(ext4));
}

TEST_CASE("the kernel is asked once whether it supports timeouts") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    { const FreezeGuard guard("/srv", with_timeout(10s)); }
    CHECK(kernel.count("FIFREEZE_RESET_TIMEOUT") == 1);
}

TEST_CASE("a security module that forbids the probe prevents only timeouts") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const int error = GENERATE(EPERM, EACCES);
    kernel.failing_errno = error;
    {
        kernel.on_request = [&](const std::string& name, dev_t /*unused*/) {
            if (name == "FIFREEZE_RESET_TIMEOUT") { // the probe
                kernel.failing_call = kernel.calls.size();
            }
        };
        FreezeGuard guard("/srv");
        REQUIRE(kernel.count("FIFREEZE_RESET_TIMEOUT") == 1);
        CHECK(code_of([&] { guard.extend(10s); }).value() == error);
        // It is unknown whether it is still frozen, so the hold is not shared.
        CHECK(code_of([] { const FreezeGuard other("/srv"); }).value() == error);
        CHECK(kernel.is_frozen(ext4));
        guard.thaw();
    }
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(code_of([] { const FreezeGuard guard("/srv", with_timeout(10s)); }).value() == error);
    CHECK(code_of([] { (void)libfreeze::probe("/srv"); }).value() == error);
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("an interrupted call is repeated") {
    const bool patched = GENERATE(false, true);
    std::vector<std::string> names;
    {
        FakeKernel kernel;
        kernel.patched = patched;
        { const FreezeGuard guard("/srv/dir"); }
        for (const auto& call : kernel.calls) {
            names.push_back(call.name);
        }
    }
    int interrupted = 0;
    for (std::size_t number = 0; number < names.size(); ++number) {
        if (names[number] == "openat" || names[number].rfind("FI", 0) == 0) {
            FakeKernel kernel;
            kernel.patched = patched;
            kernel.failing_call = number;
            kernel.failing_errno = EINTR;
            INFO(names[number]);
            FreezeGuard guard("/srv/dir");
            guard.thaw();
            CHECK_FALSE(kernel.is_frozen(ext4));
            CHECK(kernel.calls.size() == names.size() + 1);
            ++interrupted;
        }
    }
    CHECK(interrupted == 5);
}

TEST_CASE("guards of several threads on one filesystem") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const Reports reports;
    std::vector<std::thread> threads;
    threads.reserve(4);
    std::atomic<int> broken = 0;
    for (int number = 0; number < 4; ++number) {
        threads.emplace_back([&, number] {
            for (int round = 0; round < 200; ++round) {
                FreezeGuard guard("/srv",
                                  with_timeout(kernel.patched && number % 2 == 0 ? 10s : 0s));
                std::error_code error;
                if (kernel.patched) {
                    guard.extend(20s, error);
                    broken += error ? 1 : 0;
                }
                guard.thaw(error);
                broken += error ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(broken == 0);
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.open_files.empty());
}
