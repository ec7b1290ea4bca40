// SPDX-License-Identifier: LGPL-2.1-or-later
#include "acquire.hpp"
#include "arguments.hpp"
#include "command_process.hpp"
#include "command_supervisor.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "dry_run.hpp"
#include "duration.hpp"
#include "exit_status.hpp"
#include "journal.hpp"
#include "outcome.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <libfreeze/error.hpp>

#include <cerrno>
#include <csignal>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <fmt/format.h>

namespace freezectl {

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;
using Reason = SupervisionEnd::Reason;

/// How much time a command that is told to end has for it. The filesystem is thawed meanwhile.
constexpr Milliseconds grace{5000};
/// A lower filesystem may be held by another program for a moment.
constexpr Milliseconds thaw_patience{5000};

/// A path per line. A newline or a backslash in a path would make that ambiguous.
std::string join_paths(const std::vector<libfreeze::Filesystem>& filesystems) {
    std::string result;
    for (const libfreeze::Filesystem& filesystem : filesystems) {
        result += result.empty() ? "" : "\n";
        for (const char c : filesystem.path.native()) {
            result += c == '\n' ? "\\012" : c == '\\' ? "\\134" : std::string(1, c);
        }
    }
    return result;
}

/// In seconds since the epoch.
std::string deadline_text(Milliseconds timeout) {
    const auto deadline = std::chrono::system_clock::now() + timeout;
    return std::to_string(
        std::chrono::duration_cast<std::chrono::seconds>(deadline.time_since_epoch()).count());
}

std::vector<std::string> command_variables(const libfreeze::FreezeGuard& guard,
                                           Milliseconds timeout) {
    return {"LIBFREEZE_HOLD_ID=" + guard.id().text,
            "LIBFREEZE_PATHS=" + join_paths(guard.filesystems()),
            "LIBFREEZE_DEADLINE=" + (timeout == timeout.zero() ? "" : deadline_text(timeout))};
}

int status_of(const Ending& ending) {
    return ending.signal == 0 ? ending.status : exit_status::signal_base + ending.signal;
}

class Run final {
public:
    Run(const Context& context, libfreeze::FreezeGuard guard)
        : context_(context),
          console_(context.console),
          guard_(std::move(guard)),
          timeout_(freeze_options(context.arguments).timeout) {}

    /// Returns the exit status.
    int execute(Signals& signals);

private:
    int supervise(CommandProcess& command, Signals& signals);
    int end_after_command(const CommandProcess& command, const Ending& ending);
    int end_after_freeze(CommandProcess& command);
    int end_for_terminal(CommandProcess& command, int signal);
    [[noreturn]] void end_after_signal(CommandProcess& command, int signal);
    std::error_code thaw();
    int thaw_and_choose(int status, bool is_end_expected);
    void log(const std::error_code& error) const;

    const Context& context_;
    Console& console_;
    libfreeze::FreezeGuard guard_;
    Milliseconds timeout_;
    std::chrono::system_clock::time_point frozen_at_ = std::chrono::system_clock::now();
    std::string problem_; ///< of the thaw
};

int Run::execute(Signals& signals) {
    std::optional<CommandProcess> command;
    try {
        command.emplace(context_.arguments.program, command_variables(guard_, timeout_), signals);
        return supervise(*command, signals);
    } catch (const std::system_error& problem) { // of the supervision
        console_.show("");
        if (command) {
            command->send(SIGKILL);
        }
        const int status = thaw_and_choose(exit_status::cannot_freeze, false);
        console_.complain(problem.what());
        return status;
    }
}

int Run::supervise(CommandProcess& command, Signals& signals) {
    const SupervisionEnd end =
        CommandSupervisor(command, signals, guard_, console_, timeout_).supervise();
    console_.show("");
    switch (end.reason) {
    case Reason::signal:
        end_after_signal(command, end.signal);
    case Reason::freeze_ended:
        return end_after_freeze(command);
    case Reason::needs_terminal:
        return end_for_terminal(command, end.signal);
    case Reason::command_ended:
        break;
    }
    return end_after_command(command, end.ending);
}

int Run::end_after_command(const CommandProcess& command, const Ending& ending) {
    const int error = command.exec_error();
    const int status = thaw_and_choose(status_of(ending), false);
    if (error == 0) {
        context_.outcome.ending = ending;
    } else {
        const std::error_code code(error, std::system_category());
        console_.complain(fmt::format(
            "cannot run {}: {}", in_quotes(context_.arguments.program.front()), code.message()));
    }
    return status;
}

/// The filesystem is thawed already.
int Run::end_after_freeze(CommandProcess& command) {
    const libfreeze::Stats stats = guard_.stats();
    const bool is_deadline =
        timeout_ != timeout_.zero() && stats.freezing + stats.frozen >= timeout_;
    command.send(SIGTERM);
    const int status = thaw_and_choose(
        is_deadline ? exit_status::deadline : exit_status::did_not_last, is_deadline);
    command.finish(grace);
    context_.outcome.ending = command.ending();
    console_.complain(is_deadline
                          ? fmt::format("the command was ended: it had not finished after {}; "
                                        "discard what it made",
                                        duration_text(timeout_))
                          : "the command was ended: discard what it made");
    return status;
}

int Run::end_for_terminal(CommandProcess& command, int signal) {
    command.send(SIGTERM);
    const int status = thaw_and_choose(exit_status::signal_base + signal, false);
    command.finish(grace);
    context_.outcome.ending = command.ending();
    console_.complain(
        "the command was ended: it waited for the terminal, which it does not have in "
        "the background");
    return status;
}

void Run::end_after_signal(CommandProcess& command, int signal) {
    command.send(signal);
    thaw_and_choose(exit_status::ok, false);
    command.finish(grace);
    context_.outcome.ending = command.ending();
    throw Interrupted{signal};
}

/// Tries again while another program holds a lower filesystem.
std::error_code Run::thaw() {
    constexpr Milliseconds period{50};
    const auto deadline = Clock::now() + thaw_patience;
    for (;;) {
        try {
            guard_.thaw();
            return {};
        } catch (const std::system_error& problem) {
            problem_ = problem.what();
            if (problem.code() != libfreeze::errc::would_deadlock || Clock::now() >= deadline) {
                return problem.code();
            }
        }
        std::this_thread::sleep_for(period);
    }
}

/// Thaws. Returns `status`, unless what happened to the freeze is more important.
int Run::thaw_and_choose(int status, bool is_end_expected) {
    const std::error_code error = thaw();
    const bool is_still_frozen = error && error != libfreeze::errc::expired;
    context_.outcome.stats = guard_.stats();
    if (!is_still_frozen) {
        console_.thawed();
    }
    log(error);
    if (!error) {
        console_.tell(fmt::format("thawed after {}", duration_text(guard_.stats().frozen)));
        return status;
    }
    if (is_still_frozen || !is_end_expected) {
        console_.complain(is_still_frozen ? problem_ + " (it is still frozen)" : problem_);
    }
    return is_still_frozen   ? exit_status::still_frozen
           : is_end_expected ? status
                             : exit_status::did_not_last;
}

/// Both entries come after the thaw. Otherwise a journal on the frozen filesystem would wait for it,
/// and everything that logs would wait for the journal.
void Run::log(const std::error_code& error) const {
    const Outcome& outcome = context_.outcome;
    const std::string names = names_of(outcome.filesystems);
    const std::string command = printable(context_.arguments.program.front());
    send_to_journal({"freeze", "done", fmt::format("froze {} for {}", names, command), outcome.id,
                     outcome.filesystems, frozen_at_});
    const std::string time = duration_text(outcome.stats->frozen);
    send_to_journal({"thaw", journal_result(error),
                     error ? problem_ : fmt::format("thawed {} after {}", names, time), outcome.id,
                     outcome.filesystems});
}

} // namespace

int run(const Context& context) {
    if (context.arguments.dry_run) {
        return dry_run(context);
    }
    Signals signals;
    libfreeze::FreezeGuard guard = acquire(context, signals);
    return Run(context, std::move(guard)).execute(signals);
}

} // namespace freezectl
