// SPDX-License-Identifier: LGPL-2.1-or-later
/// Each system call of the guardian fails in turn, whatever its clients do.
#include "fake_syscalls.hpp"
#include "stage.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using testing::Client;
using testing::Fake;
using testing::Fault;
using testing::Stage;

namespace {

int count_descriptors() {
    int count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
        ++count;
    }
    return count;
}

/// What clients do. Each may fail at any step; what succeeds must be true.
struct Scenario {
    std::string name;
    std::function<void(const Stage&, Fake&)> play;
};

/// An answer of 0 to a thaw: nobody has thawed since the hold was made, but perhaps the guardian.
void check_thaw(int error, Fake& kernel, int thaws_before, int by_guardian) {
    if (error == 0) {
        CHECK(kernel.thaw_count() - thaws_before <= by_guardian);
    }
}

bool freeze(Client& client, Fake& kernel, std::uint64_t id, std::int64_t timeout_ms = 0) {
    const bool done = client.freeze(id, timeout_ms) == 0;
    if (done && timeout_ms == 0) {
        CHECK(kernel.is_frozen());
    }
    return done;
}

void one_hold(const Stage& stage, Fake& kernel) {
    if (stage.start() != 0 || !freeze(*stage.first, kernel, 1)) {
        return;
    }
    const int before = kernel.thaw_count();
    if (stage.first->ask(GUARDIAN_EXTEND, 0, 600000) == 0) {
        CHECK(kernel.is_frozen());
    }
    stage.first->ask(GUARDIAN_STATUS);
    check_thaw(stage.first->ask(GUARDIAN_THAW), kernel, before, 1);
}

void two_holds(const Stage& stage, Fake& kernel) {
    if (stage.start() != 0 || !freeze(*stage.first, kernel, 1)) {
        return;
    }
    const int before = kernel.thaw_count();
    const auto second = stage.connect();
    if (second && second->freeze(0) == 0) {
        check_thaw(stage.first->ask(GUARDIAN_THAW), kernel, before, 0);
        check_thaw(second->ask(GUARDIAN_THAW), kernel, before, 1);
    }
}

void kept(const Stage& stage, Fake& kernel) {
    if (stage.start() != 0 || !freeze(*stage.first, kernel, 7)) {
        return;
    }
    const int before = kernel.thaw_count();
    if (stage.first->ask(GUARDIAN_KEEP) != 0) {
        return;
    }
    const auto second = stage.connect();
    if (!second || second->ask(GUARDIAN_ADOPT, 7) != 0) {
        return;
    }
    CHECK(kernel.is_frozen());
    if (second->ask(GUARDIAN_KEEP) == 0) {
        check_thaw(second->ask(GUARDIAN_THAW, 7), kernel, before, 1);
    }
}

void expired(const Stage& stage, Fake& kernel) {
    if (stage.start() != 0 || !freeze(*stage.first, kernel, 1, 5 * Fake::speed)) {
        return;
    }
    CHECK(stage.first->wait_for_end());
}

void kept_and_expired(const Stage& stage, Fake& kernel) {
    if (stage.start() != 0 || !freeze(*stage.first, kernel, 1)) {
        return;
    }
    const auto second = stage.connect();
    if (!second || !freeze(*second, kernel, 2, 10 * Fake::speed) ||
        second->ask(GUARDIAN_KEEP) != 0) {
        return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    CHECK(second->ask(GUARDIAN_THAW, 2) != 0);
    stage.first->ask(GUARDIAN_THAW);
}

void thawed_by_outsider(const Stage& stage, Fake& kernel) {
    if (stage.start() != 0 || !freeze(*stage.first, kernel, 1)) {
        return;
    }
    const auto second = stage.connect();
    const bool both = second && freeze(*second, kernel, 2);
    kernel.outsider_thaws();
    if (both) {
        CHECK(second->ask(GUARDIAN_THAW) != 0);
    }
    CHECK(stage.first->ask(GUARDIAN_THAW) != 0);
}

void all_ended(const Stage& stage, Fake& kernel) {
    if (stage.start() != 0 || !freeze(*stage.first, kernel, 1)) {
        return;
    }
    const auto second = stage.connect();
    if (second && second->ask(GUARDIAN_END_ALL) == 0) {
        CHECK_FALSE(kernel.is_frozen());
    }
}

void closed(const Stage& stage, Fake& kernel) {
    if (stage.start() == 0) {
        freeze(*stage.first, kernel, 1);
    }
}

const std::vector<Scenario>& scenarios() {
    static const std::vector<Scenario> all{
        {"one hold", one_hold},
        {"two holds", two_holds},
        {"kept", kept},
        {"expired", expired},
        {"kept and expired", kept_and_expired},
        {"thawed by an outsider", thawed_by_outsider},
        {"all ended", all_ended},
        {"closed", closed},
    };
    return all;
}

/// A kept hold has nobody to end it if a fault prevents that.
void end_kept_holds(const Stage& stage) {
    for (int attempt = 0; attempt < 100; ++attempt) {
        const auto administrator = stage.connect();
        if (!administrator || administrator->ask(GUARDIAN_END_ALL) == 0) {
            return;
        }
    }
}

std::map<std::string, int> play(const Scenario& scenario, bool patched,
                                std::optional<Fault> fault) {
    const int descriptors = count_descriptors();
    auto kernel = std::make_unique<Fake>();
    kernel->patched = patched;
    kernel->fault = fault;
    INFO(scenario.name << (patched ? ", patched" : ", stock") << ": " << (fault ? fault->call : "")
                       << " number " << (fault ? fault->first : 0) << " to "
                       << (fault ? fault->last : 0) << " fails with error "
                       << (fault ? fault->error : 0));
    {
        Stage stage(kernel.get());
        scenario.play(stage, *kernel);
        CHECK_FALSE(stage.first->timed_out());
        kernel->no_more_faults();
        stage.first->hang_up();
        end_kept_holds(stage);
        const bool finished = stage.finishes();
        if (!finished) {
            FAIL("the guardian does not exit"); // the destructor would wait forever
        }
    }
    CHECK_FALSE(kernel->is_frozen());
    CHECK(kernel->open_descriptors == 0);
    CHECK(count_descriptors() == descriptors);
    return kernel->calls;
}

std::vector<int> errors_of(const std::string& call) {
    if (call == "read" || call == "pwrite") {
        return {EIO, ENOSPC, 0};
    }
    if (call == "send" || call == "recvmsg") {
        return {EINTR, EAGAIN, ECONNRESET, ENOMEM, 0};
    }
    if (call == "poll") {
        return {EINTR, ENOMEM};
    }
    if (call == "open" || call == "mkdir") {
        return {EACCES, EROFS, EMFILE, ENOSPC, ENOENT};
    }
    if (call == "accept") {
        return {EMFILE, ECONNABORTED, EINTR, ENOMEM};
    }
    if (call.rfind("FI", 0) == 0) {
        return {EINTR, EIO, EPERM, ENOMEM, EINVAL, EBUSY};
    }
    return {EINTR, EIO, ENOMEM, EAGAIN};
}

/// A lie of the kernel, not a failure: it claims that something else than the truth is the case.
bool is_lie(const std::string& call, int error) {
    return (call == "FITHAW" && error == EINVAL) || (call == "FIFREEZE" && error == EBUSY) ||
           (call == "FIFREEZE_RESET_TIMEOUT" && error == EINVAL);
}

/// EINTR and EAGAIN mean "again", so they cannot last. While accept() fails, clients wait.
bool can_last(const std::string& call, int error) {
    return error != EINTR && error != EAGAIN && call != "accept";
}

void fail_each_call(const Scenario& scenario, bool patched, bool lasting) {
    constexpr int most = 12; // calls of one name
    constexpr int forever = 1000000;
    const auto calls = play(scenario, patched, std::nullopt);
    for (const auto& [call, count] : calls) {
        for (int number = 1; number <= std::min(count, most); ++number) {
            for (const int error : errors_of(call)) {
                if (!is_lie(call, error) && (!lasting || can_last(call, error))) {
                    play(scenario, patched, Fault{call, number, lasting ? forever : number, error});
                }
            }
        }
    }
}

} // namespace

TEST_CASE("nothing stays frozen whichever call fails once") {
    for (const Scenario& scenario : scenarios()) {
        fail_each_call(scenario, false, false);
        fail_each_call(scenario, true, false);
    }
}

TEST_CASE("nothing stays frozen whichever call fails from some moment on") {
    for (const Scenario& scenario : scenarios()) {
        fail_each_call(scenario, false, true);
        fail_each_call(scenario, true, true);
    }
}
