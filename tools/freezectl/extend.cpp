// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "duration.hpp"
#include "exit_status.hpp"
#include "for_each_filesystem.hpp"
#include "outcome.hpp"
#include "text.hpp"

#include <libfreeze/error.hpp>
#include <libfreeze/freeze_guard.hpp>
#include <libfreeze/inspect.hpp>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <system_error>

#include <fmt/format.h>

namespace freezectl {

namespace {

using libfreeze::FilesystemStatus;
using libfreeze::HoldInfo;

/// The newest.
const HoldInfo& find_kept_hold(const FilesystemStatus& status) {
    const HoldInfo* found = nullptr;
    for (const HoldInfo& hold : status.holds) {
        if (hold.kept && (found == nullptr || hold.age < found->age)) {
            found = &hold;
        }
    }
    if (found == nullptr) {
        throw std::runtime_error(
            fmt::format("cannot extend {}: there is no freeze that freezectl has left there; see "
                        "freezectl status",
                        in_quotes(status.filesystem.path)));
    }
    return *found;
}

int extend(const Context& context, const std::string& id) {
    try {
        libfreeze::extend(libfreeze::HoldId(id), *context.arguments.timeout);
        return exit_status::ok;
    } catch (const std::system_error& problem) {
        context.console.complain(problem.what());
        return problem.code() == libfreeze::errc::expired ? exit_status::did_not_last
                                                          : exit_status::failed;
    }
}

std::string describe(const std::string& name, std::chrono::milliseconds timeout) {
    return timeout == timeout.zero()
               ? fmt::format("frozen without a deadline: {}", name)
               : fmt::format("frozen for another {}: {}", duration_text(timeout), name);
}

} // namespace

int extend(const Context& context) {
    const Arguments& arguments = context.arguments;
    context.outcome.id = arguments.id;
    if (!arguments.id.empty()) {
        const int status = extend(context, arguments.id);
        if (status == exit_status::ok) {
            context.console.tell(describe(arguments.id, *arguments.timeout));
        }
        return status;
    }
    std::set<std::string> done; // an id may stand for several filesystems
    return for_each_filesystem(context, arguments.paths, [&](const FilesystemStatus& filesystem) {
        const std::string& id = find_kept_hold(filesystem).id;
        const int status = done.insert(id).second ? extend(context, id) : exit_status::ok;
        if (status == exit_status::ok) {
            context.outcome.filesystems.push_back(filesystem.filesystem);
            context.console.tell(
                describe(in_quotes(filesystem.filesystem.path), *arguments.timeout));
        }
        return status;
    });
}

} // namespace freezectl
