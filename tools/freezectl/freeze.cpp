// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "freezing.hpp"
#include "report.hpp"
#include "resolve.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <set>

#include <fmt/format.h>
#include <unistd.h>

namespace freezectl {

namespace {

/// The report comes when the filesystem is frozen, unlike that of `run`.
void refuse_report_on_frozen(const Arguments& arguments) {
    for (const auto& path : arguments.paths) {
        const auto target = libfreeze::resolve(path, libfreeze::Operation::freeze);
        if (writes_to(STDOUT_FILENO, {target.superblock})) {
            throw libfreeze::failure(libfreeze::Operation::freeze, target.filesystem,
                                     make_error_code(libfreeze::errc::would_deadlock),
                                     "standard output is on it, where the report could not be "
                                     "written: leave out --json or direct it elsewhere");
        }
    }
}

} // namespace

int freeze(const Arguments& arguments, Console& console, Report& report) {
    Signals signals;
    if (arguments.json) {
        refuse_report_on_frozen(arguments);
    }
    libfreeze::FreezeGuard guard = take_freeze(arguments, signals, console);
    report.filesystems = guard.filesystems();
    guard.release();
    report.stats = guard.stats();
    for (const libfreeze::Filesystem& filesystem : report.filesystems) {
        console.tell(fmt::format("frozen: {}", in_quotes(filesystem.path)));
    }
    return exit_status::ok;
}

} // namespace freezectl
