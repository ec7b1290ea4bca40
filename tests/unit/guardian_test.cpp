// SPDX-License-Identifier: LGPL-2.1-or-later
/// Guards that use a guardian.
#include "calls.hpp"
#include "fake_kernel.hpp"
#include "reports.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <future>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using libfreeze::Options;
using libfreeze::UseGuardian;
using testing::code_of;
using testing::FakeKernel;
using testing::Reports;
using testing::with_timeout;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;

Options guarded(std::chrono::milliseconds timeout = 0ms) {
    Options options = with_timeout(timeout);
    options.guardian = UseGuardian::always;
    return options;
}

} // namespace

TEST_CASE("on a stock kernel a guardian enforces the timeout") {
    FakeKernel kernel;
    kernel.patched = false;
    FreezeGuard guard("/srv", with_timeout(30s));
    CHECK(kernel.guardians.size() == 1);
    CHECK(kernel.is_frozen(ext4));
    SECTION("in time") {
        kernel.advance(29s);
        guard.thaw();
        CHECK_FALSE(kernel.is_frozen(ext4));
    }
    SECTION("too late") {
        kernel.advance(30s);
        CHECK_FALSE(kernel.is_frozen(ext4));
        CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    }
    SECTION("extended") {
        kernel.advance(20s);
        guard.extend(30s);
        kernel.advance(29s);
        CHECK(kernel.is_frozen(ext4));
        kernel.advance(1s);
        CHECK(code_of([&] { guard.extend(30s); }) == errc::expired);
    }
    SECTION("thawed by another") {
        kernel.foreign_thaw(300, ext4);
        CHECK(code_of([&] { guard.extend(30s); }) == errc::expired);
        CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    }
    SECTION("the next guard shares it") {
        FreezeGuard second("/bind", with_timeout(60s));
        kernel.advance(59s);
        CHECK(kernel.is_frozen(ext4));
        guard.thaw();
        second.thaw();
        CHECK(kernel.count("start_guardian") == 2);
    }
    SECTION("released, it keeps the deadline") {
        guard.release();
        kernel.advance(29s);
        CHECK(kernel.is_frozen(ext4));
        kernel.advance(1s);
        CHECK_FALSE(kernel.is_frozen(ext4));
    }
    guard = FreezeGuard();
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("a guardian is started only if needed") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    INFO("patched: " << kernel.patched);
    SECTION("no timeout") {
        FreezeGuard("/srv").thaw();
        CHECK(kernel.count("start_guardian") == 0);
    }
    SECTION("a timeout") {
        FreezeGuard("/srv", with_timeout(30s)).thaw();
        CHECK(kernel.count("start_guardian") == (kernel.patched ? 0 : 1));
    }
    SECTION("always") {
        FreezeGuard("/srv", guarded()).thaw();
        CHECK(kernel.count("start_guardian") == 1);
        CHECK(kernel.count("FIFREEZE") == 0); // by this process
    }
    SECTION("never") {
        Options options = with_timeout(30s);
        options.guardian = UseGuardian::never;
        const auto error = code_of([&] { FreezeGuard("/srv", options).thaw(); });
        CHECK(error == (kernel.patched ? std::error_condition() : errc::unsupported_by_kernel));
        CHECK(kernel.count("start_guardian") == 0);
    }
    SECTION("for each of several") {
        FreezeGuard({"/srv", "/pool"}, guarded(30s)).thaw();
        CHECK(kernel.count("start_guardian") == 2);
    }
    CHECK(kernel.open_files.empty());
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("a killed guardian's freeze is thawed and has expired") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    INFO("patched: " << kernel.patched);
    FreezeGuard guard("/srv", guarded(30s));
    kernel.kill_guardians();
    CHECK(kernel.is_frozen(ext4));
    SECTION("found by thaw") {
        CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    }
    SECTION("found by extend") {
        CHECK(code_of([&] { guard.extend(30s); }) == errc::expired);
        CHECK_FALSE(kernel.is_frozen(ext4));
        CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    }
    SECTION("found by the destructor") {
        const Reports reports;
        guard = FreezeGuard();
        CHECK(reports.all().size() == 1);
    }
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("a program that has frozen the filesystem itself thaws a killed guardian's freeze") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    INFO("patched: " << kernel.patched);
    FreezeGuard("/srv").thaw(); // after this it is not an administrator
    FreezeGuard guard("/srv", guarded());
    kernel.kill_guardians();
    SECTION("found by thaw") {
        CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    }
    SECTION("found by extend") {
        CHECK(code_of([&] { guard.extend(30s); }) == errc::expired);
    }
    SECTION("without another process for it") {
        kernel.failing_errno = ENOMEM;
        kernel.failing_request = [](const std::string& name, dev_t) {
            return name == "start_guardian";
        };
        try {
            guard.thaw();
            FAIL("no error");
        } catch (const std::system_error& error) {
            CHECK(error.code() == errc::expired);
            const std::string line = error.what();
            CHECK((line.find("fsfreeze -u '/srv'") != std::string::npos) == kernel.patched);
        }
        kernel.foreign_thaw(300, ext4);
    }
    CHECK_FALSE(kernel.is_frozen(ext4));
    guard = FreezeGuard();
    CHECK(kernel.open_files.empty());
}

TEST_CASE("a killed guardian's freeze is thawed, not the program's own") {
    FakeKernel kernel;
    FreezeGuard own("/srv");
    own.release();
    FreezeGuard guard("/srv", guarded());
    kernel.kill_guardians();
    CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    CHECK(kernel.holds_of(kernel.process, ext4) == 1);
    FreezeGuard::adopt("/srv").thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("if a killed guardian's freeze has ended, no other freeze is thawed for it") {
    FakeKernel kernel;
    if (GENERATE(false, true)) {
        FreezeGuard("/srv").thaw();
    }
    FreezeGuard guard("/srv", guarded(10s));
    guard.extend(20s);
    kernel.kill_guardians();
    kernel.foreign_freeze(300, ext4);
    SECTION("in time") {
        kernel.advance(18s);
    }
    SECTION("too late") {
        kernel.advance(20s);
    }
    CHECK(code_of([&] { guard.thaw(); }) == errc::expired);
    CHECK(kernel.holds_of(300, ext4) == 1);
    CHECK(kernel.filesystems[ext4].holds.size() <= 2);
    kernel.foreign_thaw(300, ext4);
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("a freeze that takes too long fails") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    kernel.blocking = {ext4};
    Options options;
    options.acquire_timeout = 1s;
    options.flush_budget = GENERATE(0s, 10s);
    try {
        const FreezeGuard guard("/srv", options);
        FAIL("not given up");
    } catch (const std::system_error& error) {
        CHECK(error.code() == errc::acquire_timeout);
        CHECK(std::string(error.what()).find("'/srv' (ext4)") != std::string::npos);
    }
    CHECK(kernel.count("syncfs") == 0); // it could block this process
    CHECK(kernel.guardians.empty());
    CHECK(kernel.open_files.empty());
}

TEST_CASE("a freeze that waits too long for another guard's freeze fails") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    std::promise<void> go_on;
    std::promise<void> freezing;
    kernel.on_request = [&](const std::string& name, dev_t) {
        if (name == "FIFREEZE") {
            freezing.set_value();
            go_on.get_future().wait();
        }
    };
    auto blocked = std::async(std::launch::async, [] { FreezeGuard("/srv").thaw(); });
    freezing.get_future().wait();
    Options options;
    options.acquire_timeout = 20ms;
    options.flush_budget = GENERATE(0s, 10s);
    auto second = std::async(
        std::launch::async, [&] { return code_of([&] { FreezeGuard("/bind", options).thaw(); }); });
    CHECK(second.wait_for(10s) == std::future_status::ready);
    go_on.set_value();
    blocked.get();
    CHECK(second.get() == errc::acquire_timeout);
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("if a guardian is killed before its freeze, no other freeze is thawed for it") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    kernel.foreign_freeze(300, ext4);
    kernel.failing_errno = EPIPE;
    kernel.failing_request = [](const std::string& name, dev_t) { return name == "ask_guardian"; };
    std::error_code error;
    CHECK_FALSE(FreezeGuard("/srv", guarded(), error));
    CHECK(error == std::errc::broken_pipe);
    CHECK(kernel.is_frozen(ext4));
}

TEST_CASE("a guardian's hold that was released outlives the other guards") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    const auto timeout = GENERATE(0s, 30s);
    INFO("patched: " << kernel.patched << ", timeout: " << timeout.count());
    FreezeGuard released("/srv", guarded(timeout));
    FreezeGuard other("/srv", guarded());
    released.release();
    kernel.advance(10s);
    SECTION("thawed") {
        other.thaw();
    }
    SECTION("destroyed") {
        other = FreezeGuard();
    }
    CHECK(kernel.is_frozen(ext4));
    kernel.advance(20s);
    CHECK(kernel.is_frozen(ext4) == (timeout == 0s));
    if (timeout == 0s) {
        FreezeGuard::adopt("/srv").thaw();
    }
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("the guardian stays until the last guard goes, in spite of releases") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    FreezeGuard first("/srv", guarded());
    FreezeGuard second("/srv", guarded());
    FreezeGuard third("/srv", guarded());
    first.release();
    second.thaw();
    CHECK(kernel.guardians.begin()->second.has_client);
    third.thaw();
    CHECK(kernel.is_frozen(ext4));
}

TEST_CASE("release reports a killed guardian") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    FreezeGuard("/srv").thaw();
    const Reports reports;
    FreezeGuard guard("/srv", guarded());
    kernel.kill_guardians();
    SECTION("and it is thawed") {
        guard.release();
        REQUIRE(Reports::all().size() == 1);
        CHECK(Reports::all()[0].code() == errc::expired);
        CHECK_FALSE(kernel.is_frozen(ext4));
    }
    SECTION("nor that it cannot be thawed") {
        kernel.failing_errno = EPERM;
        kernel.failing_request = [](const std::string& name, dev_t) {
            return name == "start_guardian" || name == "FITHAW";
        };
        guard.release();
        REQUIRE(Reports::all().size() == 2);
        CHECK(Reports::all()[0].code() == errc::expired);
        CHECK(Reports::all()[1].code().value() == EPERM);
        CHECK(kernel.is_frozen(ext4));
    }
    SECTION("unless that is known") {
        CHECK(code_of([&] { guard.extend(30s); }) == errc::expired);
        guard.release();
        CHECK(Reports::all().empty());
    }
    CHECK_FALSE(guard);
}

TEST_CASE(
    "if a killed guardian's freeze cannot be thawed, this is reported in addition to the error") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    const Reports reports;
    FreezeGuard guard("/srv", guarded());
    kernel.kill_guardians();
    kernel.failing_errno = EIO;
    kernel.failing_request = [](const std::string& name, dev_t) {
        return name == "start_guardian" || name == "FITHAW";
    };
    std::error_code error;
    SECTION("by thaw") {
        guard.thaw(error);
    }
    SECTION("by extend") {
        guard.extend(30s, error);
    }
    CHECK(error == errc::expired);
    REQUIRE(Reports::all().size() == 1);
    CHECK(Reports::all()[0].code().value() == EIO);
    CHECK(std::string(Reports::all()[0].what()).find("it is still frozen") != std::string::npos);
    guard = FreezeGuard();
    CHECK(Reports::all().size() == 1);
}

TEST_CASE("if a guardian killed during its freeze leaves it frozen, this is reported") {
    FakeKernel kernel;
    kernel.patched = GENERATE(true, false);
    const Reports reports;
    Options options = guarded();
    options.flush_budget = 0s;
    kernel.failing_request = [&, started = 0](const std::string& name, dev_t) mutable {
        kernel.failing_errno = name == "ask_guardian" ? ECONNRESET : EIO;
        started += name == "start_guardian" ? 1 : 0;
        return name == "ask_guardian" || name == "FITHAW" || started == 2;
    };
    try {
        const FreezeGuard guard("/srv", options);
        FAIL("no error");
    } catch (const std::system_error& error) {
        const std::string line = error.what();
        INFO(line);
        CHECK(error.code() == std::errc::connection_reset);
        CHECK(line.find("its guardian was killed") != std::string::npos);
        CHECK(line.find("fsfreeze -u '/srv'") != std::string::npos);
        CHECK(line.find("froze it again") == std::string::npos);
    }
    REQUIRE(Reports::all().size() == 1);
    CHECK(Reports::all()[0].code().value() == EIO);
    CHECK(kernel.is_frozen(ext4));
}

TEST_CASE("a guardian killed during syncfs is not reported as a device error") {
    FakeKernel kernel;
    kernel.failing_errno = GENERATE(EPIPE, ECONNRESET);
    kernel.failing_request = [](const std::string& name, dev_t) { return name == "ask_guardian"; };
    try {
        const FreezeGuard guard("/srv", guarded());
        FAIL("no error");
    } catch (const std::system_error& error) {
        const std::string line = error.what();
        INFO(line);
        CHECK(line.find("its guardian was killed") != std::string::npos);
        CHECK(line.find("check its device") == std::string::npos);
    }
}

TEST_CASE("the longest possible timeouts do not expire at once") {
    FakeKernel kernel;
    Options options;
    options.acquire_timeout = std::chrono::milliseconds::max();
    options.flush_budget = std::chrono::milliseconds::max();
    FreezeGuard guard("/srv", options);
    CHECK(guard.stats().flush_rounds > 0);
    guard.thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("ETIMEDOUT from a device is not reported as acquire_timeout") {
    FakeKernel kernel;
    const std::string call = GENERATE("FIFREEZE", "syncfs");
    kernel.failing_errno = ETIMEDOUT;
    kernel.failing_request = [call](const std::string& name, dev_t) { return name == call; };
    try {
        const FreezeGuard guard("/srv");
        FAIL("no error");
    } catch (const std::system_error& error) {
        INFO(error.what());
        CHECK(error.code() == std::error_code(ETIMEDOUT, std::system_category()));
        CHECK(std::string(error.what()).find("acquire_timeout") == std::string::npos);
    }
}

TEST_CASE("a guardian that cannot be started fails the freeze") {
    FakeKernel kernel;
    kernel.failing_errno = ENOENT;
    kernel.failing_request = [](const std::string& name, dev_t) {
        return name == "start_guardian";
    };
    try {
        const FreezeGuard guard("/srv", guarded());
        FAIL("no error");
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::no_such_file_or_directory);
        CHECK(std::string(error.what()).find("libfreeze-guardian") != std::string::npos);
    }
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("a forked child does not affect the guardian") {
    FakeKernel kernel;
    FreezeGuard guard("/srv", guarded(30s));
    const pid_t parent = kernel.process;
    kernel.process = 200;
    CHECK_THROWS_AS(guard.thaw(), std::logic_error);
    kernel.process = parent;
    guard.thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("contradicting options are refused") {
    const FakeKernel kernel;
    Options options;
    options.acquire_timeout = -1ms;
    CHECK_THROWS_AS(FreezeGuard("/srv", options), std::logic_error);
    options.acquire_timeout = 1s;
    options.guardian = UseGuardian::never;
    CHECK_THROWS_AS(FreezeGuard("/srv", options), std::logic_error);
    CHECK(kernel.calls.empty());
}
