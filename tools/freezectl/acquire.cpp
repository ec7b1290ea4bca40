// SPDX-License-Identifier: LGPL-2.1-or-later
#include "acquire.hpp"

#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "journal.hpp"
#include "outcome.hpp"
#include "progress_line.hpp"
#include "report_file.hpp"
#include "selection.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <libfreeze/error.hpp>
#include <libfreeze/inspect.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>

#include <unistd.h>

namespace freezectl {

namespace {

using Clock = std::chrono::steady_clock;
using Paths = std::vector<std::filesystem::path>;
using std::chrono::milliseconds;

constexpr std::chrono::seconds default_run_timeout{60};
constexpr std::size_t longest_comment = 31;

std::string comment(const Arguments& arguments) {
    if (arguments.comment || arguments.program.empty()) {
        return arguments.comment.value_or("");
    }
    const std::filesystem::path command = arguments.program.front();
    return beginning(command.filename(), longest_comment);
}

std::set<dev_t> superblocks_to_freeze(const Paths& paths, const libfreeze::Options& options) {
    std::set<dev_t> result;
    for (const libfreeze::FilesystemStatus& status : libfreeze::plan(paths, options)) {
        result.insert(status.filesystem.device);
    }
    return result;
}

/// The library looks only at what the freeze itself could block on, and not at that if it is
/// overridden.
void check_outputs(const Context& context, const Paths& paths, const libfreeze::Options& options) {
    const Arguments& arguments = context.arguments;
    const bool prints_while_frozen = arguments.command == "freeze";
    const bool must_check = prints_while_frozen && arguments.allow_self_deadlock;
    if (arguments.report.empty() && !must_check) {
        return;
    }
    const std::set<dev_t> superblocks = superblocks_to_freeze(paths, options);
    if (must_check && is_on(STDOUT_FILENO, superblocks)) {
        throw std::runtime_error("cannot freeze: standard output is on the filesystem, and the id "
                                 "could not be printed there; direct it elsewhere");
    }
    if (!arguments.report.empty()) {
        context.report_file.open(arguments.report, superblocks);
    }
}

/// The rest of it. Zero means no limit, so one millisecond is left at least.
milliseconds time_left(milliseconds timeout, Clock::time_point since) {
    if (timeout == timeout.zero()) {
        return timeout;
    }
    const auto passed = std::chrono::duration_cast<milliseconds>(Clock::now() - since);
    return std::max(timeout - passed, milliseconds(1));
}

libfreeze::FreezeGuard freeze(const Context& context, const Paths& paths,
                              libfreeze::Options options) {
    Console& console = context.console;
    ProgressLine line(console);
    options.progress = [&line](const libfreeze::Progress& progress) { line.update(progress); };
    options.failure_handler = [&console](const std::system_error& problem, const auto& /*unused*/) {
        console.complain_once(problem.what());
    };
    return libfreeze::FreezeGuard(paths, options);
}

} // namespace

libfreeze::Options freeze_options(const Arguments& arguments) {
    const auto default_timeout =
        arguments.command == "run" ? milliseconds(default_run_timeout) : milliseconds(0);
    libfreeze::Options options;
    options.timeout = arguments.timeout.value_or(default_timeout);
    options.acquire_timeout = arguments.acquire_timeout;
    options.comment = comment(arguments);
    options.allow_self_deadlock = arguments.allow_self_deadlock;
    options.allow_unprotected = arguments.allow_unprotected;
    if (arguments.no_flush) {
        options.flush_budget = milliseconds(0);
    }
    if (arguments.skip_unfreezable || arguments.all) {
        options.unfreezable = libfreeze::Unfreezable::skip;
    }
    return options;
}

libfreeze::FreezeGuard acquire(const Context& context, Signals& signals) {
    const auto began = Clock::now();
    libfreeze::Options options = freeze_options(context.arguments);
    const Paths paths = paths_to_freeze(context.arguments);
    options.cancel_fd = signals.cancel_fd();
    try {
        check_outputs(context, paths, options);
        options.acquire_timeout = time_left(options.acquire_timeout, began);
        context.console.freezing();
        libfreeze::FreezeGuard guard = freeze(context, paths, options);
        context.outcome.id = guard.id().text;
        context.outcome.filesystems = guard.filesystems();
        context.outcome.skipped = guard.skipped();
        return guard;
    } catch (const std::system_error& problem) {
        context.console.thawed();
        const std::optional<int> signal = signals.take();
        if (signal && problem.code() == libfreeze::errc::cancelled) {
            throw Interrupted{*signal};
        }
        send_to_journal({"freeze", journal_result(problem.code()), problem.what(), "", {}});
        throw;
    }
}

} // namespace freezectl
