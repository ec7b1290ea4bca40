// SPDX-License-Identifier: LGPL-2.1-or-later
#include "acquire.hpp"
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "dry_run.hpp"
#include "exit_status.hpp"
#include "journal.hpp"
#include "outcome.hpp"
#include "publish.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <libfreeze/freeze_guard.hpp>

#include <optional>
#include <system_error>

#include <fmt/format.h>

namespace freezectl {

namespace {

/// A hold whose id nobody learns must not stay.
void publish_or_thaw(const Context& context) {
    try {
        publish(context, exit_status::ok);
    } catch (...) {
        std::error_code error;
        libfreeze::thaw(libfreeze::HoldId(context.outcome.id), error);
        throw;
    }
}

} // namespace

int freeze(const Context& context) {
    if (context.arguments.dry_run) {
        return dry_run(context);
    }
    Signals signals;
    libfreeze::FreezeGuard guard = acquire(context, signals);
    Outcome& outcome = context.outcome;
    if (const std::optional<int> signal = signals.take()) {
        throw Interrupted{*signal};
    }
    outcome.stats = guard.stats();
    if (!context.arguments.json) {
        context.console.print(outcome.id + "\n"); // before keep(): see publish_or_thaw()
    }
    guard.keep();
    publish_or_thaw(context);
    for (const libfreeze::Filesystem& filesystem : outcome.filesystems) {
        context.console.tell(fmt::format("frozen: {}", in_quotes(filesystem.path)));
    }
    send_to_journal({"freeze", "done", fmt::format("froze {}", names_of(outcome.filesystems)),
                     outcome.id, outcome.filesystems});
    return exit_status::ok;
}

} // namespace freezectl
