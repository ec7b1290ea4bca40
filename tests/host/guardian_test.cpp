// SPDX-License-Identifier: LGPL-2.1-or-later
/// Death on a real kernel, stock or patched, through the library: a freeze does not outlive its
/// program, and the program gets an error when its guardian dies. Where the kernel has descriptors,
/// only kept and adopted holds have a guardian.
#include "subject.hpp"
#include "support/stuck_writer.h"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using libfreeze::Options;
using testing::Child;
using testing::Clock;
using testing::has_descriptors;
using testing::subject;
using testing::Writer;

namespace {

/// A notification from a child process.
class Signal final {
public:
    Signal() { REQUIRE(::pipe2(ends_.data(), O_CLOEXEC) == 0); }
    ~Signal() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    Signal(const Signal&) = delete;
    Signal& operator=(const Signal&) = delete;
    Signal(Signal&&) = delete;
    Signal& operator=(Signal&&) = delete;

    void give() const { (void)!::write(ends_[1], "x", 1); }
    /// False if the sender has ended without it.
    [[nodiscard]] bool wait() {
        ::close(std::exchange(ends_[1], -1));
        char byte = 0;
        return ::read(ends_[0], &byte, 1) == 1;
    }

private:
    std::array<int, 2> ends_{};
};

/// The words of a file in /proc, which end with NUL.
std::vector<std::string> words(const std::filesystem::path& path) {
    std::vector<std::string> result;
    std::ifstream file(path);
    for (std::string word; std::getline(file, word, '\0');) {
        result.push_back(word);
    }
    return result;
}

/// The guardians of this suite. Those of other filesystems have ended with the tests that froze
/// them.
std::vector<pid_t> guardians() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it
    const char* const value = std::getenv("LIBFREEZE_RUNTIME_DIR");
    REQUIRE(value != nullptr);
    const std::string directory = std::string("LIBFREEZE_RUNTIME_DIR=") + value;
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::vector<std::string> command = words(entry.path() / "cmdline");
        const std::vector<std::string> variables = words(entry.path() / "environ");
        if (!command.empty() && command.front() == "libfreeze-guardian" &&
            std::find(variables.begin(), variables.end(), directory) != variables.end()) {
            found.push_back(std::stoi(entry.path().filename()));
        }
    }
    return found;
}

/// A guard whose hold a guardian keeps, on any kernel.
FreezeGuard guarded(Options options = {}) {
    FreezeGuard guard(subject().mountpoint, options);
    return has_descriptors() ? FreezeGuard::adopt(guard.keep(), options) : std::move(guard);
}

/// Waits until there has been none for a moment, because one may still be starting.
bool all_guardians_end() {
    constexpr int often = 20;
    const auto until = Clock::now() + 30s;
    int none = 0;
    while (Clock::now() < until && none < often) {
        none = guardians().empty() ? none + 1 : 0;
        std::this_thread::sleep_for(5ms);
    }
    return none == often;
}

std::filesystem::path proc(pid_t process) {
    return std::filesystem::path("/proc") / std::to_string(process);
}

/// In kilobytes; see proc_pid_status(5).
int memory(pid_t process, const std::string& name) {
    std::ifstream file(proc(process) / "status");
    for (std::string line; std::getline(file, line);) {
        if (line.substr(0, name.size() + 1) == name + ":") {
            return std::stoi(line.substr(name.size() + 1));
        }
    }
    return -1;
}

/// The files that a process has open on the filesystem under test.
std::vector<std::string> open_there(pid_t process) {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(proc(process) / "fd")) {
        const std::string name = std::filesystem::read_symlink(entry.path());
        if (name.rfind(subject().mountpoint.string(), 0) == 0) {
            found.push_back(name);
        }
    }
    return found;
}

/// After a thaw without libfreeze. extend() waits for the check up to 40 ms; if that takes longer,
/// the descriptor wakes when the end is known, long before the deadline.
bool extend_finds_the_end(FreezeGuard& guard) {
    std::error_code error;
    guard.extend(60s, error);
    pollfd entry{guard.descriptor(), POLLIN, 0};
    if (!error && ::poll(&entry, 1, 10'000) == 1) {
        guard.extend(60s, error);
    }
    return error == errc::expired;
}

/// Whether a process may exempt itself from the OOM killer.
bool can_be_exempt() {
    Child actor([] {
        std::ofstream file("/proc/self/oom_score_adj");
        return file << -1000 << std::flush ? 0 : 1;
    });
    return actor.ends_within(5s) && actor.status == 0;
}

/// The time from the kill of a program that has frozen and run `rest` until a writer continues.
std::chrono::milliseconds time_to_thaw_after_kill(const std::function<void()>& rest) {
    Signal frozen;
    Child program([&] {
        FreezeGuard guard(subject().mountpoint);
        rest();
        frozen.give();
        std::this_thread::sleep_for(60s);
        return 0;
    });
    REQUIRE(frozen.wait());
    Writer writer;
    REQUIRE(writer.is_blocked(20ms));
    const auto begin = Clock::now();
    program.kill();
    CHECK(writer.succeeds_within(20s));
    const auto took = Clock::now() - begin;
    CHECK(all_guardians_end());
    return std::chrono::duration_cast<std::chrono::milliseconds>(took);
}

/// A program that is stuck in the middle of a write, so that no freeze completes.
class StuckWriter final {
public:
    StuckWriter() {
        std::ofstream(file_).put('x');
        listener_ = ::hold_opens(AT_FDCWD, file_.c_str());
        REQUIRE(listener_ >= 0);
        opener_ = std::make_unique<Child>(
            [&] { return ::open_truncating(AT_FDCWD, file_.c_str()) == 0 ? 0 : 1; });
        REQUIRE(::wait_for_open(listener_, 10000) == 0);
    }
    ~StuckWriter() { ::close(listener_); }
    StuckWriter(const StuckWriter&) = delete;
    StuckWriter& operator=(const StuckWriter&) = delete;
    StuckWriter(StuckWriter&&) = delete;
    StuckWriter& operator=(StuckWriter&&) = delete;

    bool release() { return ::allow_open(listener_) == 0 && opener_->ends_within(20s); }

private:
    std::string file_ = subject().mountpoint / "stuck";
    int listener_ = -1;
    std::unique_ptr<Child> opener_;
};

/// How many programs to kill for a measurement.
const char* measured() {
    return std::getenv("LIBFREEZE_TEST_KILLS"); // NOLINT(concurrency-mt-unsafe): nobody sets it
}

/// A bound for "at once". A busy machine stands still now and then.
std::chrono::milliseconds prompt() {
    return measured() != nullptr ? 100ms : 1000ms;
}

} // namespace

TEST_CASE("a killed program's freeze ends at once, repeatedly") {
    const int kills = measured() == nullptr ? 20 : std::atoi(measured());
    auto slowest = 0ms;
    for (int i = 0; i < kills; ++i) {
        slowest = std::max(slowest, time_to_thaw_after_kill([] {}));
    }
    INFO(kills << " killed, the slowest thaw after " << slowest.count() << " ms");
    CHECK(slowest <= prompt());
}

TEST_CASE("a freeze lasts as long as a forked child has its descriptor") {
    Signal frozen;
    Child program([&] {
        FreezeGuard guard(subject().mountpoint);
        const pid_t child = ::fork();
        if (child == 0) {
            std::this_thread::sleep_for(2s);
            ::_exit(0);
        }
        frozen.give();
        std::this_thread::sleep_for(60s);
        return 0;
    });
    REQUIRE(frozen.wait());
    program.kill();
    REQUIRE(program.ends_within(5s));
    Writer writer;
    CHECK(writer.is_blocked());
    CHECK(writer.succeeds_within(10s));
    CHECK(all_guardians_end());
}

TEST_CASE("a freeze ends whenever its program is killed") {
    for (int i = 0; i < 40; ++i) {
        Signal begun; // on a busy machine, it may take longer than all of the delays
        Child program([&] {
            for (;;) {
                FreezeGuard guard(subject().mountpoint, {30s});
                begun.give();
                guard.extend(30s);
                guard.thaw();
            }
            return 0;
        });
        REQUIRE(begun.wait());
        std::this_thread::sleep_for(std::chrono::microseconds(500 * i));
        program.kill();
        REQUIRE(program.ends_within(20s));
        REQUIRE(Writer().succeeds_within(20s));
        REQUIRE(all_guardians_end());
    }
}

TEST_CASE("a freeze ends when its program executes another one") {
    Signal frozen;
    const Child program([&] {
        FreezeGuard guard(subject().mountpoint);
        frozen.give();
        ::execlp("sleep", "sleep", "20", nullptr);
        return 1;
    });
    REQUIRE(frozen.wait());
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("the freeze of a program that closes all descriptors ends, and thaw reports it") {
    Child program([] {
        FreezeGuard guard(subject().mountpoint);
        ::closefrom(3);
        if (!Writer().succeeds_within(5s)) {
            return 1;
        }
        std::error_code error;
        guard.thaw(error);
        return error == errc::expired ? 0 : 2;
    });
    CHECK(program.ends_within(20s));
    CHECK(program.status == 0);
}

TEST_CASE("a stopped program's freeze ends at its deadline") {
    Signal frozen;
    const Child program([&] {
        FreezeGuard guard(subject().mountpoint, {2s});
        frozen.give();
        std::this_thread::sleep_for(60s);
        return 0;
    });
    REQUIRE(frozen.wait());
    ::kill(program.pid(), SIGSTOP);
    Writer writer;
    CHECK(writer.is_blocked());
    CHECK(writer.succeeds_within(10s));
}

TEST_CASE("the program thaws a killed guardian's freeze and gets an error") {
    FreezeGuard guard = guarded();
    const auto found = guardians();
    REQUIRE(found.size() == 1);
    pollfd entry{guard.descriptor(), POLLIN, 0};
    CHECK(::poll(&entry, 1, 0) == 0);
    REQUIRE(::kill(found.front(), SIGKILL) == 0);
    CHECK(::poll(&entry, 1, 2000) == 1);
    CHECK(all_guardians_end());
    Writer writer;
    CHECK(writer.is_blocked());
    std::error_code error;
    SECTION("by thaw") {
        guard.thaw(error);
    }
    SECTION("by extend") {
        guard.extend(5s, error);
    }
    SECTION("by keep") {
        static_cast<void>(guard.keep(error));
    }
    CHECK(error == errc::expired);
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("the filesystem of a killed guardian can be frozen again") {
    FreezeGuard guard = guarded();
    REQUIRE(::kill(guardians().at(0), SIGKILL) == 0);
    CHECK(all_guardians_end());
    FreezeGuard fresh = guarded();
    std::error_code error;
    guard.thaw(error);
    CHECK(error == errc::expired);
    Writer writer;
    CHECK(writer.is_blocked());
    fresh.thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("a thaw after a killed guardian ends no later hold") {
    FreezeGuard guard = guarded();
    REQUIRE(::kill(guardians().at(0), SIGKILL) == 0);
    CHECK(all_guardians_end());
    REQUIRE(testing::run({"fsfreeze", "-u", subject().mountpoint.string()}) == 0);
    FreezeGuard later(subject().mountpoint);
    std::error_code error;
    guard.thaw(error);
    CHECK(error == errc::expired);
    later.thaw(error);
    CHECK_FALSE(error);
}

TEST_CASE("all holds of a filesystem have one guardian, which ends with the last") {
    const std::size_t expected = has_descriptors() ? 0 : 1;
    FreezeGuard first(subject().mountpoint);
    FreezeGuard second(subject().mountpoint);
    CHECK(guardians().size() == expected);
    first.thaw();
    CHECK(guardians().size() == expected);
    FreezeGuard third = guarded();
    FreezeGuard fourth = guarded();
    CHECK(guardians().size() == 1);
    third.thaw();
    CHECK(guardians().size() == 1);
    fourth.thaw();
    second.thaw();
    CHECK(all_guardians_end());
}

TEST_CASE("if both are killed, the kernel's deadline remains if it supports timeouts") {
    Signal frozen;
    Child program([&] {
        const FreezeGuard guard = guarded({2s});
        frozen.give();
        std::this_thread::sleep_for(60s);
        return 0;
    });
    REQUIRE(frozen.wait());
    const pid_t guardian = guardians().at(0);
    ::kill(guardian, SIGSTOP); // so that it does not see the program die
    program.kill();
    REQUIRE(program.ends_within(5s));
    ::kill(guardian, SIGKILL);
    Writer writer;
    CHECK(writer.is_blocked());
    if (!libfreeze::probe(subject().mountpoint).kernel_timeouts) {
        std::this_thread::sleep_for(2500ms);
        CHECK(writer.is_blocked());
        CHECK(testing::run({"fsfreeze", "-u", subject().mountpoint.string()}) == 0);
    }
    CHECK(writer.succeeds_within(10s));
}

TEST_CASE("the guardian ignores other signals") {
    FreezeGuard guard = guarded();
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1}) {
        REQUIRE(::kill(guardians().at(0), number) == 0);
    }
    std::this_thread::sleep_for(100ms);
    CHECK(Writer().is_blocked());
    guard.thaw();
}

TEST_CASE("a guardian that has thawed at its deadline does not thaw again when the program dies") {
    Signal frozen;
    Child program([&] {
        const FreezeGuard guard(subject().mountpoint, {2s});
        frozen.give();
        std::this_thread::sleep_for(60s);
        return 0;
    });
    REQUIRE(frozen.wait());
    REQUIRE(Writer().succeeds_within(10s));
    REQUIRE(testing::run({"fsfreeze", "-f", subject().mountpoint.string()}) == 0);
    program.kill();
    CHECK(program.ends_within(5s));
    CHECK(all_guardians_end());
    Writer writer;
    CHECK(writer.is_blocked());
    CHECK(testing::run({"fsfreeze", "-u", subject().mountpoint.string()}) == 0);
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("a guardian that checks whether its freeze still exists leaves nothing frozen") {
    FreezeGuard guard(subject().mountpoint);
    REQUIRE(testing::run({"fsfreeze", "-u", subject().mountpoint.string()}) == 0);
    CHECK(extend_finds_the_end(guard));
    CHECK(Writer().succeeds_within(3s));
}

TEST_CASE("the guardian is locked in memory and exempt from the OOM killer") {
    FreezeGuard guard = guarded();
    const pid_t guardian = guardians().at(0);
    CHECK(memory(guardian, "VmRSS") > 0);
    // The kernel's own pages (vdso) are not locked, and the kernel counts approximately.
    const int tolerance = 64;
    CHECK(memory(guardian, "VmLck") >= memory(guardian, "VmRSS") - tolerance);
    int score = 0;
    std::ifstream(proc(guardian) / "oom_score_adj") >> score;
    CHECK(score == (can_be_exempt() ? -1000 : 0));
    guard.thaw();
}

TEST_CASE("the guardian has only the descriptor for freezing open on the filesystem") {
    Signal frozen;
    const Child program([&] { // has more open
        Options options = {};
        options.allow_self_deadlock = true;
        const bool there = ::chdir(subject().mountpoint.c_str()) == 0;
        const int log = ::open("log", O_WRONLY | O_CREAT | O_APPEND, 0644); // not close-on-exec
        FreezeGuard guard(".", options);
        if (has_descriptors()) {
            guard = FreezeGuard::adopt(guard.keep(), options);
        }
        if (there && log >= 0) {
            frozen.give();
        }
        std::this_thread::sleep_for(60s);
        return 0;
    });
    REQUIRE(frozen.wait());
    const pid_t guardian = guardians().at(0);
    CHECK(open_there(program.pid()).size() == 2);
    CHECK(open_there(guardian) == std::vector<std::string>{subject().mountpoint});
    CHECK(std::filesystem::read_symlink(proc(guardian) / "cwd") == "/");
}

TEST_CASE("the guardian leaves no child to reap and no process behind") {
    guarded({30s}).thaw();
    CHECK(all_guardians_end());
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
    CHECK(errno == ECHILD);
}

TEST_CASE("a guardian has closed the filesystem when thaw returns") {
    FreezeGuard guard = guarded();
    const pid_t child = ::fork();
    if (child == 0) { // keeps the channel open, so that the guardian does not see it close
        std::this_thread::sleep_for(60s);
        ::_exit(0);
    }
    const pid_t guardian = guardians().at(0);
    guard.thaw();
    std::vector<std::string> left;
    try {
        left = open_there(guardian);
    } catch (const std::filesystem::filesystem_error&) { // it has ended
        left.clear();
    }
    CHECK(left.empty());
    CHECK(all_guardians_end());
    ::kill(child, SIGKILL);
    CHECK(::waitpid(child, nullptr, 0) == child);
}

TEST_CASE("a kept hold outlives the last guard") {
    FreezeGuard kept(subject().mountpoint);
    FreezeGuard other(subject().mountpoint);
    const libfreeze::HoldId id = kept.keep();
    other.thaw();
    CHECK(guardians().size() == 1);
    Writer writer;
    CHECK(writer.is_blocked());
    FreezeGuard::adopt(id).thaw();
    CHECK(writer.succeeds_within(5s));
    CHECK(all_guardians_end());
}

TEST_CASE("a kept hold outlives its program") {
    Child program([] {
        static_cast<void>(FreezeGuard(subject().mountpoint).keep());
        return 0;
    });
    REQUIRE(program.ends_within(10s));
    Writer writer;
    CHECK(writer.is_blocked());
    FreezeGuard::adopt(subject().mountpoint).thaw();
    CHECK(writer.succeeds_within(5s));
}

TEST_CASE("a kept freeze stays frozen until its deadline") {
    FreezeGuard guard(subject().mountpoint, {2s});
    static_cast<void>(guard.keep());
    Writer writer;
    CHECK(writer.is_blocked());
    CHECK(writer.succeeds_within(10s));
    CHECK(all_guardians_end());
}

TEST_CASE("a freeze that a stuck writer blocks is given up in time and undone later") {
    StuckWriter stuck;
    Options options;
    options.acquire_timeout = 300ms;
    std::error_code error;
    const auto begin = Clock::now();
    const FreezeGuard guard(subject().mountpoint, options, error);
    const auto took = Clock::now() - begin;
    if (has_descriptors()) { // the kernel has given it up, and nobody waits for the stuck writer
        CHECK(Writer().succeeds_within(5s));
    }
    CHECK(stuck.release());
    REQUIRE(error == errc::acquire_timeout);
    CHECK(took >= 300ms);
    CHECK(took <= 300ms + prompt());
    CHECK(Writer().succeeds_within(20s));
    CHECK(all_guardians_end());
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("a cancelled freeze that a stuck writer blocks is given up or undone") {
    StuckWriter stuck;
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    std::thread canceller([&ends] {
        std::this_thread::sleep_for(500ms);
        (void)!::write(ends[1], "x", 1);
    });
    Options options;
    options.cancel_fd = ends[0];
    std::error_code error;
    const auto begin = Clock::now();
    const FreezeGuard guard(subject().mountpoint, options, error);
    const auto took = Clock::now() - begin;
    canceller.join();
    CHECK(error == errc::cancelled);
    CHECK(took >= 500ms);
    CHECK(took <= 500ms + prompt());
    if (has_descriptors()) {
        CHECK(Writer().succeeds_within(5s));
    }
    CHECK(stuck.release());
    CHECK(Writer().succeeds_within(20s));
    CHECK(all_guardians_end());
    CHECK(Writer().succeeds_within(5s));
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_CASE("a blocked freeze is given up in time even if a forked child stays alive") {
    StuckWriter stuck;
    pid_t child = -1;
    std::thread forker([&child] {
        std::this_thread::sleep_for(200ms);
        child = ::fork();
        if (child == 0) {
            std::this_thread::sleep_for(60s);
            ::_exit(0);
        }
    });
    Options options;
    options.acquire_timeout = 600ms;
    std::error_code error;
    const FreezeGuard guard(subject().mountpoint, options, error);
    CHECK(error == errc::acquire_timeout);
    forker.join();
    CHECK(stuck.release());
    CHECK(all_guardians_end());
    CHECK(Writer().succeeds_within(5s));
    ::kill(child, SIGKILL);
    CHECK(::waitpid(child, nullptr, 0) == child);
}

TEST_CASE("the error reports a guardian that cannot be started") {
    Child program([] {
        ::setenv("LIBFREEZE_GUARDIAN", "/dev/null", 1); // NOLINT(concurrency-mt-unsafe): one thread
        try {
            FreezeGuard guard(subject().mountpoint);
            static_cast<void>(guard.keep()); // where the kernel has descriptors
        } catch (const std::system_error& error) {
            const std::string line = error.what();
            return error.code() == std::errc::permission_denied &&
                           line.find("its guardian cannot be started") != std::string::npos
                       ? 0
                       : 1;
        }
        return 2;
    });
    CHECK(program.ends_within(20s));
    CHECK(program.status == 0);
    CHECK(Writer().succeeds_within(5s));
}

TEST_CASE("a program in a PID namespace gets no guardian that would die with it") {
    Child program([] {
        if (::unshare(CLONE_NEWPID) != 0) {
            return 77;
        }
        Child init([] {
            std::error_code error;
            FreezeGuard guard(subject().mountpoint, error);
            if (has_descriptors()) { // the kernel protects it, until it is kept
                static_cast<void>(guard.keep(error));
                guard.thaw();
            }
            const bool refused = error == errc::unprotected;
            Options options;
            options.allow_unprotected = true;
            FreezeGuard(subject().mountpoint, options).thaw();
            return refused ? 0 : 1;
        });
        return init.ends_within(10s) ? init.status : 2;
    });
    REQUIRE(program.ends_within(20s));
    if (program.status == 77) {
        SKIP("PID namespaces are not possible here");
    }
    CHECK(program.status == 0);
    CHECK(Writer().succeeds_within(5s));
}
