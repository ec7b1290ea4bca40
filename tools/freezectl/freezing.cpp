// SPDX-License-Identifier: LGPL-2.1-or-later
#include "freezing.hpp"

#include "arguments.hpp"
#include "console.hpp"
#include "duration.hpp"
#include "resolve.hpp"
#include "signals.hpp"
#include "system.hpp"
#include "text.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace freezectl {

namespace {

using libfreeze::Clock;

enum class Phase { preparing, flushing, freezing, cancelled };

/// Sees how far the library is, and can stop it until a guardian is asked for the first freeze.
/// After that the request cannot be taken back; the guardian undoes it once this program is gone.
class Watch final : public libfreeze::System {
public:
    int ask_guardian(int channel, const guardian_request& request, guardian_reply* reply,
                     const libfreeze::Deadline& until) override {
        if (request.operation == GUARDIAN_SYNC) {
            flushing();
        }
        if (request.operation == GUARDIAN_FREEZE) {
            if (!move_to(Phase::freezing, Phase::cancelled)) {
                errno = EPIPE;
                return -1;
            }
        }
        return System::ask_guardian(channel, request, reply, until);
    }

    /// False if it is too late.
    bool cancel() { return move_to(Phase::cancelled, Phase::freezing); }
    [[nodiscard]] Phase phase() const { return phase_.load(); }

private:
    void flushing() {
        Phase expected = Phase::preparing;
        phase_.compare_exchange_strong(expected, Phase::flushing);
    }

    bool move_to(Phase next, Phase unless) {
        Phase current = phase_.load();
        while (current != unless) {
            if (phase_.compare_exchange_weak(current, next)) {
                return true;
            }
        }
        return false;
    }

    std::atomic<Phase> phase_{Phase::preparing};
};

/// It stays in place until the program ends: a thread that was given up may still use it.
Watch& watch() {
    static Watch* const installed = [] {
        auto made = std::make_unique<Watch>();
        libfreeze::set_system(made.get());
        return made.release();
    }();
    return *installed;
}

/// Shared with the thread that freezes, which outlives an interrupted caller.
struct Attempt {
    Attempt() {
        if (done < 0) {
            throw std::system_error(errno, std::system_category(), "cannot wait for the freeze");
        }
    }
    ~Attempt() { ::close(done); }
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    Attempt(Attempt&&) = delete;
    Attempt& operator=(Attempt&&) = delete;

    libfreeze::FreezeGuard guard;
    std::exception_ptr problem;
    int done = ::eventfd(0, EFD_CLOEXEC);
};

void freeze(Attempt& attempt, const Arguments& arguments) noexcept {
    try {
        libfreeze::Options options;
        options.timeout = arguments.timeout;
        options.guardian = libfreeze::UseGuardian::always;
        attempt.guard = libfreeze::FreezeGuard(arguments.paths, options);
    } catch (...) {
        attempt.problem = std::current_exception();
    }
    const std::uint64_t one = 1;
    (void)!::write(attempt.done, &one, sizeof one);
}

/// Shows how far the thread is.
class Meter final {
public:
    explicit Meter(Console& console) : console_(console) {}

    void show(Phase phase) {
        if (phase != shown_) {
            shown_ = phase;
            since_ = Clock::now();
            if (phase == Phase::flushing || phase == Phase::freezing) {
                console_.tell(name(phase));
            }
        }
        if (phase == Phase::flushing || phase == Phase::freezing) {
            console_.live(fmt::format("{}, {}", name(phase), to_text(Clock::now() - since_)));
        }
    }

private:
    static const char* name(Phase phase) {
        return phase == Phase::flushing ? "flushing" : "freezing";
    }

    Console& console_;
    Phase shown_ = Phase::preparing;
    Clock::time_point since_ = Clock::now();
};

std::set<dev_t> superblocks_of(const std::vector<std::filesystem::path>& paths) {
    std::set<dev_t> result;
    for (const auto& path : paths) {
        result.insert(libfreeze::resolve(path, libfreeze::Operation::freeze).superblock);
    }
    return result;
}

/// Waits for the thread; a signal that came meanwhile.
std::optional<int> wait_for(const Attempt& attempt, Signals& signals, Console& console) {
    constexpr int tick = 100; // ms
    constexpr std::chrono::seconds patience{5};
    Meter meter(console);
    std::optional<int> signal;
    Clock::time_point signalled;
    std::array<pollfd, 2> entries{{{attempt.done, POLLIN, 0}, {signals.fd(), POLLIN, 0}}};
    while ((entries[0].revents & POLLIN) == 0) {
        meter.show(watch().phase());
        (void)::poll(entries.data(), entries.size(), tick);
        const std::optional<int> next = signals.take();
        if (next && !signal) {
            signal = next;
            signalled = Clock::now();
        }
        const bool give_up = signal && Clock::now() - signalled > patience;
        if (give_up || (next && watch().cancel())) {
            throw Interrupted{*signal};
        }
    }
    return signal;
}

} // namespace

libfreeze::FreezeGuard take_freeze(const Arguments& arguments, Signals& signals, Console& console) {
    watch();
    console.freezing(superblocks_of(arguments.paths));
    const auto attempt = std::make_shared<Attempt>();
    std::thread worker([attempt, arguments] { freeze(*attempt, arguments); });
    std::optional<int> signal;
    try {
        signal = wait_for(*attempt, signals, console);
    } catch (...) {
        worker.detach(); // it may sit in a syncfs, and the program is to end now
        console.thawed();
        throw;
    }
    worker.join();
    console.live("");
    if (signal) {
        attempt->guard = libfreeze::FreezeGuard();
        console.thawed();
        throw Interrupted{*signal};
    }
    if (attempt->problem) {
        console.thawed();
        std::rethrow_exception(attempt->problem);
    }
    return std::move(attempt->guard);
}

} // namespace freezectl
