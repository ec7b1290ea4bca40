// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "duration.hpp"
#include "exit_status.hpp"
#include "freezing.hpp"
#include "program.hpp"
#include "report.hpp"
#include "signals.hpp"

#include <libfreeze/error.hpp>
#include <libfreeze/failure_handler.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

namespace freezectl {

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// How long a program that is told to end may take for it, the filesystem being thawed.
constexpr Milliseconds grace{5000};

/// Why the freeze is over.
struct End {
    std::optional<Ending> ending; ///< the program has ended
    int signal = 0;               ///< freezectl is to end
                                  ///< neither: the deadline
};

class Vigil final {
public:
    Vigil(Program& program, Signals& signals, Console& console, Milliseconds timeout)
        : program_(program), signals_(signals), console_(console), timeout_(timeout) {}

    End wait() {
        for (;;) {
            if (const std::optional<int> signal = signals_.take()) {
                return {{}, *signal};
            }
            if (const std::optional<Ending> ending = program_.ending()) {
                return {ending};
            }
            if (has_deadline() && left() <= left().zero()) {
                return {};
            }
            show();
            if (!sleep()) {
                return {{}, SIGHUP};
            }
        }
    }

private:
    [[nodiscard]] bool has_deadline() const { return timeout_ != timeout_.zero(); }
    [[nodiscard]] Clock::duration left() const { return since_ + timeout_ - Clock::now(); }
    void show();
    bool sleep();

    Program& program_;
    Signals& signals_;
    Console& console_;
    Milliseconds timeout_;
    Clock::time_point since_ = Clock::now();
};

void Vigil::show() {
    const auto passed = Clock::now() - since_;
    if (passed >= std::chrono::seconds(1)) { // most commands are done before, and print themselves
        console_.live(fmt::format("frozen for {}", to_text(passed)) +
                      (has_deadline() ? fmt::format(", {} left", to_text(left())) : ""));
    }
}

/// Until there is something to look at; false if the terminal is gone.
bool Vigil::sleep() {
    const bool watches_terminal = program_.has_terminal() && signals_.heeds(SIGHUP);
    std::array<pollfd, 2> entries{
        {{signals_.fd(), POLLIN, 0}, {watches_terminal ? STDIN_FILENO : -1, 0, 0}}};
    Clock::duration time = std::chrono::hours(1);
    if (console_.is_live()) {
        time = std::chrono::seconds(1);
    }
    if (has_deadline()) {
        time = std::min(time, std::max(left(), Clock::duration::zero()));
    }
    (void)::poll(entries.data(), entries.size(),
                 static_cast<int>(std::chrono::ceil<Milliseconds>(time).count()));
    return (entries[1].revents & POLLHUP) == 0;
}

/// What the library tells beside an error, while this is there: what it could not thaw.
class Leftovers final {
public:
    Leftovers() : before_(libfreeze::set_failure_handler(&note)) { lines().clear(); }
    ~Leftovers() { libfreeze::set_failure_handler(before_); }
    Leftovers(const Leftovers&) = delete;
    Leftovers& operator=(const Leftovers&) = delete;
    Leftovers(Leftovers&&) = delete;
    Leftovers& operator=(Leftovers&&) = delete;

    static std::vector<std::string>& lines() {
        static std::vector<std::string> all;
        return all;
    }

private:
    static void note(const std::system_error& problem,
                     const libfreeze::Filesystem& /*unused*/) noexcept {
        if (problem.code() != libfreeze::errc::expired) {
            lines().emplace_back(problem.what());
        }
    }

    libfreeze::FailureHandler before_;
};

/// What thaw() has thrown, and the exit status for that.
int explain(const std::system_error& problem, Console& console, bool may_have_ended) {
    const bool expired = problem.code() == libfreeze::errc::expired;
    const bool still_frozen = !expired || !Leftovers::lines().empty();
    if (!still_frozen) {
        console.thawed();
    }
    if (!expired || !may_have_ended) {
        console.complain(problem.what());
    }
    for (const std::string& line : Leftovers::lines()) {
        console.complain(line);
    }
    return still_frozen ? exit_status::still_frozen : exit_status::did_not_last;
}

/// Thaws; the exit status if that tells more than what ended the freeze.
std::optional<int> end_freeze(libfreeze::FreezeGuard& guard, Console& console,
                              bool may_have_ended) {
    const Leftovers leftovers;
    console.live("");
    try {
        guard.thaw();
    } catch (const std::system_error& problem) {
        return explain(problem, console, may_have_ended);
    }
    console.thawed();
    console.tell(fmt::format("thawed after {}", to_text(guard.stats().frozen)));
    return std::nullopt;
}

int status_of(const Ending& ending) {
    return ending.signal == 0 ? ending.status : exit_status::signal_base + ending.signal;
}

int end_at_deadline(const Arguments& arguments, Program& program, libfreeze::FreezeGuard& guard,
                    Console& console) {
    program.send(SIGTERM);
    const std::optional<int> thawed = end_freeze(guard, console, true);
    program.finish(grace);
    console.complain(
        fmt::format("the command was killed: it had not ended after {}; discard what it made", //
                    to_text(arguments.timeout)));
    return thawed == exit_status::still_frozen ? *thawed : exit_status::deadline;
}

int watch_over(const Arguments& arguments, Program& program, Signals& signals,
               libfreeze::FreezeGuard& guard, Console& console, Report& report) {
    const End end = Vigil(program, signals, console, arguments.timeout).wait();
    int status = exit_status::deadline;
    if (end.signal != 0) {
        program.send(end.signal);
        end_freeze(guard, console, false);
        program.finish(grace);
    } else if (end.ending) {
        status = end_freeze(guard, console, false).value_or(status_of(*end.ending));
    } else {
        status = end_at_deadline(arguments, program, guard, console);
    }
    report.ending = program.ending();
    report.stats = guard.stats();
    if (end.signal != 0) {
        throw Interrupted{end.signal};
    }
    return status;
}

} // namespace

int run(const Arguments& arguments, Console& console, Report& report) {
    Signals signals;
    libfreeze::FreezeGuard guard = take_freeze(arguments, signals, console);
    report.filesystems = guard.filesystems();
    console.tell("frozen");
    try {
        Program program(arguments.program, signals);
        return watch_over(arguments, program, signals, guard, console, report);
    } catch (const std::system_error& problem) {
        const std::optional<int> thawed = end_freeze(guard, console, false);
        report.stats = guard.stats();
        console.complain(problem.what());
        const bool is_missing = problem.code() == std::errc::no_such_file_or_directory;
        return thawed == exit_status::still_frozen ? *thawed
               : is_missing                        ? exit_status::not_found
                                                   : exit_status::cannot_execute;
    }
}

} // namespace freezectl
