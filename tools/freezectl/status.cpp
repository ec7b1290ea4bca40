// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "json.hpp"
#include "outcome.hpp"
#include "selection.hpp"
#include "status_table.hpp"

#include <libfreeze/inspect.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

namespace freezectl {

namespace {

using libfreeze::FilesystemStatus;

bool is_frozen(const FilesystemStatus& status) {
    return status.state == FilesystemStatus::State::frozen ||
           status.state == FilesystemStatus::State::freezing;
}

int exit_status_of(const std::vector<FilesystemStatus>& all) {
    return std::any_of(all.begin(), all.end(), is_frozen) ? exit_status::frozen : exit_status::ok;
}

Json to_array(const std::vector<FilesystemStatus>& all) {
    Json result = Json::array();
    for (const FilesystemStatus& status : all) {
        result.push_back(to_json(status));
    }
    return result;
}

/// A path that cannot be looked at does not keep the others from being reported.
std::vector<FilesystemStatus> look_at_paths(const Context& context, bool* has_failed) {
    std::vector<FilesystemStatus> result;
    for (const auto& path : context.arguments.paths) {
        try {
            result.push_back(libfreeze::inspect({path}, inspect_timeout).front());
        } catch (const std::exception& problem) {
            context.console.complain(problem.what());
            *has_failed = true;
        }
    }
    return result;
}

int look(const Context& context) {
    bool has_failed = false;
    const std::vector<FilesystemStatus> all = context.arguments.paths.empty()
                                                  ? select_mounted(context.arguments)
                                                  : look_at_paths(context, &has_failed);
    context.outcome.details = std::make_shared<Json>(Json{{"filesystems", to_array(all)}});
    if (!context.arguments.json) {
        context.console.print(
            status_table(all, context.arguments.columns, !context.arguments.no_headings));
    }
    return has_failed ? exit_status::failed : exit_status_of(all);
}

/// Until a signal ends the program.
[[noreturn]] void watch(const Context& context) {
    constexpr std::chrono::seconds period{1};
    const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
    for (;;) {
        if (is_terminal) {
            context.console.print("\x1b[H\x1b[J");
        }
        const int status = look(context);
        if (context.arguments.json) {
            context.console.print(
                to_report(context.outcome, "status", status, context.console.complaints()));
        } else if (!is_terminal) {
            context.console.print("\n");
        }
        std::this_thread::sleep_for(period);
    }
}

} // namespace

int status(const Context& context) {
    if (context.arguments.watch) {
        watch(context);
    }
    return look(context);
}

} // namespace freezectl
