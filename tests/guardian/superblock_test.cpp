// SPDX-License-Identifier: LGPL-2.1-or-later
/// What this machine's kernel cannot show: kernels with deadlines, and thaws that fail.
#include "fake_syscalls.hpp"
#include "stage.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>

using testing::Fake;
using testing::Fault;
using testing::Stage;

namespace {

constexpr std::int64_t hour_ms = 3600000;

bool becomes_true(const std::function<bool()>& condition) {
    for (int waited = 0; waited < 3000; ++waited) {
        if (condition()) {
            return true;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
}

std::int64_t kernel_seconds(Fake& kernel) {
    const std::lock_guard guard(kernel.lock);
    return kernel.kernel_seconds;
}

int calls(Fake& kernel, const char* name) {
    const std::lock_guard guard(kernel.lock);
    return kernel.calls[name];
}

void fail(Fake& kernel, const char* call, int error, int times = 1) {
    const std::lock_guard guard(kernel.lock);
    const int done = kernel.calls[call];
    kernel.fault = Fault{call, done + 1, done + times, error};
}

std::string content(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

void set_frozen(Fake& kernel) {
    kernel.frozen = true;
}

} // namespace

TEST_CASE("the kernel's deadline is a little after the last hold's") {
    Fake kernel;
    kernel.patched = true;
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1, hour_ms) == 0);
    CHECK(kernel_seconds(kernel) == 3601);
    CHECK(content(stage.path(".lock")).rfind("frozen ", 0) == 0);

    const auto second = stage.connect();
    REQUIRE(second);
    REQUIRE(second->freeze(2, 2 * hour_ms) == 0);
    CHECK(kernel_seconds(kernel) == 7201);
    CHECK(second->ask(GUARDIAN_EXTEND, 0, 0) == 0);
    CHECK(becomes_true([&] { return kernel_seconds(kernel) == 0; }));
    CHECK(second->ask(GUARDIAN_THAW) == 0);
    CHECK(becomes_true([&] { return kernel_seconds(kernel) > 3500; }));
    CHECK(stage.first->ask(GUARDIAN_THAW) == 0);
}

TEST_CASE("a closed connection shortens the kernel's deadline") {
    Fake kernel;
    kernel.patched = true;
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1, hour_ms) == 0);
    auto second = stage.connect();
    REQUIRE(second);
    REQUIRE(second->freeze(2) == 0);
    CHECK(kernel_seconds(kernel) == 0);
    second.reset();
    CHECK(becomes_true([&] { return kernel_seconds(kernel) > 3500; }));
    CHECK(stage.first->ask(GUARDIAN_THAW) == 0);
}

TEST_CASE("a patched kernel that has ended the hold is believed") {
    Fake kernel;
    kernel.patched = true;
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1) == 0);
    kernel.outsider_thaws();
    const auto second = stage.connect();
    REQUIRE(second);
    CHECK(second->freeze(2) == 0);
    CHECK(kernel.is_frozen());
    CHECK(stage.first->wait_for_end());
    CHECK(stage.first->cause() == GUARDIAN_CAUSE_UNKNOWN_THAW);
    CHECK(second->ask(GUARDIAN_THAW) == 0);
}

TEST_CASE("a thaw that fails leaves the hold in place") {
    Fake kernel;
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1) == 0);
    fail(kernel, "FITHAW", EIO);
    CHECK(stage.first->ask(GUARDIAN_THAW) == EIO);
    CHECK(stage.first->ask(GUARDIAN_EXTEND) == 0);
    fail(kernel, "FITHAW", EIO);
    const auto administrator = stage.connect();
    REQUIRE(administrator);
    CHECK(administrator->ask(GUARDIAN_END_ALL) == EIO);
    CHECK(kernel.is_frozen());
    CHECK(stage.first->ask(GUARDIAN_THAW) == 0);
    CHECK_FALSE(kernel.is_frozen());
}

TEST_CASE("JFS that fails to thaw with EINVAL is still frozen") {
    Fake kernel;
    kernel.jfs = true;
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1) == 0);
    fail(kernel, "FITHAW", EINVAL);
    CHECK(stage.first->ask(GUARDIAN_THAW) == EIO);
    CHECK(kernel.is_frozen());
    CHECK(stage.first->ask(GUARDIAN_THAW) == 0);
    CHECK_FALSE(kernel.is_frozen());
}

TEST_CASE("JFS that somebody has thawed is not left frozen") {
    Fake kernel;
    kernel.jfs = true;
    kernel.patched = GENERATE(false, true);
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1) == 0);
    kernel.outsider_thaws();
    CHECK(stage.first->ask(GUARDIAN_THAW) == ESTALE);
    CHECK_FALSE(kernel.is_frozen());
}

TEST_CASE("a thaw that nobody waits for is repeated") {
    Fake kernel;
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1) == 0);
    fail(kernel, "FITHAW", EIO, 3);
    stage.first->hang_up();
    CHECK(stage.finishes());
    CHECK_FALSE(kernel.is_frozen());
    CHECK(calls(kernel, "FITHAW") == 4);
}

TEST_CASE("a new hold ends the repetition") {
    Fake kernel;
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1) == 0);
    fail(kernel, "FITHAW", EIO, 1000000);
    stage.first->hang_up();
    CHECK(becomes_true([&] { return calls(kernel, "FITHAW") > 0; }));
    const auto second = stage.connect();
    REQUIRE(second);
    CHECK(second->freeze(2) == 0);
    kernel.no_more_faults();
    CHECK(kernel.is_frozen());
    CHECK(second->ask(GUARDIAN_THAW) == 0);
}

TEST_CASE("what a killed guardian has left is thawed first") {
    Fake kernel;
    set_frozen(kernel);
    const Stage stage(&kernel, "frozen");
    REQUIRE(stage.start() == 0);
    CHECK(becomes_true([&] { return !kernel.is_frozen(); }));
    CHECK(becomes_true([&] { return content(stage.path(".lock")).empty(); }));
    CHECK(stage.first->freeze(1) == 0);
    CHECK(stage.first->ask(GUARDIAN_THAW) == 0);
}

TEST_CASE("what the kernel has thawed already is left alone") {
    Fake kernel;
    kernel.patched = true;
    set_frozen(kernel);
    const Stage stage(&kernel, "frozen 1\n");
    REQUIRE(stage.start() == 0);
    CHECK(stage.first->ask(GUARDIAN_STATUS) == 0);
    CHECK(kernel.is_frozen());
    CHECK(calls(kernel, "FITHAW") == 0);
}

TEST_CASE("a filesystem that cannot be cleaned up stays recorded") {
    Fake kernel;
    set_frozen(kernel);
    fail(kernel, "FITHAW", EIO);
    const Stage stage(&kernel, "frozen");
    REQUIRE(stage.start() == 0);
    CHECK(stage.first->freeze(1) == EBUSY);
    CHECK(stage.finishes());
    CHECK(content(stage.path(".lock")) == "frozen");
}

TEST_CASE("a check that fails is reported, and the hold stays") {
    Fake kernel;
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1) == 0);
    fail(kernel, "FIFREEZE", EIO);
    CHECK(stage.first->ask(GUARDIAN_EXTEND) == EIO);
    const auto second = stage.connect();
    REQUIRE(second);
    fail(kernel, "FIFREEZE", EIO);
    CHECK(second->freeze(2) == EIO);
    CHECK(stage.first->ask(GUARDIAN_THAW) == 0);
}

TEST_CASE("a lock file that cannot be cleared is removed") {
    Fake kernel;
    const Stage stage(&kernel);
    REQUIRE(stage.start() == 0);
    REQUIRE(stage.first->freeze(1) == 0);
    fail(kernel, "ftruncate", EIO);
    CHECK(stage.first->ask(GUARDIAN_THAW) == 0);
    CHECK(stage.finishes());
    CHECK_FALSE(std::ifstream(stage.path(".lock")).good());
}
