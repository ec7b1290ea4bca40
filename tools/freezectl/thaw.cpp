// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "for_each_filesystem.hpp"
#include "journal.hpp"
#include "json.hpp"
#include "outcome.hpp"
#include "selection.hpp"
#include "text.hpp"

#include <libfreeze/error.hpp>
#include <libfreeze/freeze_guard.hpp>
#include <libfreeze/inspect.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <system_error>

#include <fmt/format.h>

namespace freezectl {

namespace {

using libfreeze::FilesystemStatus;
using libfreeze::FreezeGuard;

void log(const std::error_code& error, const std::string& message, const std::string& id,
         const std::vector<libfreeze::Filesystem>& filesystems) {
    send_to_journal({"thaw", journal_result(error), message, id, filesystems});
}

/// "backup (PID 123, nightly)"
std::string describe(const libfreeze::HoldInfo& hold) {
    std::string details = hold.pid == 0 ? "" : fmt::format("PID {}", hold.pid);
    if (!hold.comment.empty()) {
        details += (details.empty() ? "" : ", ") + printable(hold.comment);
    }
    const std::string name =
        hold.command.empty() ? "a program that does not use libfreeze" : printable(hold.command);
    return details.empty() ? name : fmt::format("{} ({})", name, details);
}

/// The administrator's rescue.
void end_all(const Context& context, const libfreeze::Filesystem& filesystem) {
    const FilesystemStatus ended = libfreeze::thaw_others(filesystem.path, inspect_timeout);
    std::string names;
    Json holds = Json::array();
    for (const libfreeze::HoldInfo& hold : ended.holds) {
        names += (names.empty() ? "" : ", ") + describe(hold);
        holds.push_back(to_json(hold));
    }
    const std::string line =
        fmt::format("thawed {}: ended the freeze of {}", in_quotes(filesystem.path), names);
    context.console.say(line);
    log({}, line, "", {ended.filesystem});
    Json entry = to_json(ended.filesystem);
    entry["ended"] = holds;
    (*context.outcome.details)["filesystems"].push_back(entry);
}

/// The time that the newest kept hold has left; zero: it has no deadline.
std::chrono::milliseconds time_left(const libfreeze::Filesystem& filesystem) {
    std::chrono::milliseconds left{0};
    for (const FilesystemStatus& status : libfreeze::inspect({filesystem.path}, inspect_timeout)) {
        for (const libfreeze::HoldInfo& hold : status.holds) {
            left = hold.kept ? hold.left.value_or(std::chrono::milliseconds(0)) : left;
        }
    }
    return left;
}

/// Takes the newest kept hold over, with its deadline. None: there is no kept hold.
std::optional<FreezeGuard> adopt(const libfreeze::Filesystem& filesystem) {
    libfreeze::Options options;
    options.timeout = time_left(filesystem);
    options.acquire_timeout = inspect_timeout;
    options.allow_self_deadlock = true; // it is going to be thawed
    options.allow_unprotected = true;
    try {
        return FreezeGuard::adopt(filesystem.path, options);
    } catch (const std::system_error& problem) {
        if (problem.code() != libfreeze::errc::no_such_hold) {
            throw;
        }
        return std::nullopt;
    }
}

void end_kept(const Context& context, FreezeGuard guard) {
    const std::string id = guard.id().text;
    const auto filesystems = guard.filesystems();
    try {
        guard.thaw();
    } catch (const std::system_error&) {
        std::error_code ignored; // the first failure matters more
        if (guard) {
            guard.keep(ignored);
        }
        throw;
    }
    for (const libfreeze::Filesystem& filesystem : filesystems) {
        const std::string line = fmt::format("thawed: {}", in_quotes(filesystem.path));
        context.console.tell(line);
        log({}, line, id, {filesystem});
        Json entry = to_json(filesystem);
        entry["ended"] = Json::array();
        (*context.outcome.details)["filesystems"].push_back(entry);
    }
}

int fail(const Context& context, const std::system_error& problem, const std::string& id,
         const std::vector<libfreeze::Filesystem>& filesystems) {
    context.console.complain(problem.what());
    log(problem.code(), problem.what(), id, filesystems);
    return problem.code() == libfreeze::errc::expired ? exit_status::did_not_last
                                                      : exit_status::failed;
}

int thaw_path(const Context& context, const libfreeze::Filesystem& filesystem) {
    try {
        std::optional<FreezeGuard> guard;
        if (filesystem.device != 0) {
            guard = adopt(filesystem);
        }
        if (guard) {
            end_kept(context, std::move(*guard));
        } else {
            end_all(context, filesystem);
        }
        return exit_status::ok;
    } catch (const std::system_error& problem) {
        return fail(context, problem, "", {filesystem});
    }
}

int thaw_id(const Context& context) {
    const std::string& id = context.arguments.id;
    try {
        libfreeze::thaw(libfreeze::HoldId(id));
    } catch (const std::system_error& problem) {
        return fail(context, problem, id, {});
    }
    const std::string line = fmt::format("thawed: {}", id);
    context.console.tell(line);
    log({}, line, id, {});
    return exit_status::ok;
}

} // namespace

int thaw(const Context& context) {
    const Arguments& arguments = context.arguments;
    context.outcome.details = std::make_shared<Json>(
        Json{{"id", arguments.id.empty() ? Json(nullptr) : Json(arguments.id)},
             {"filesystems", Json::array()}});
    if (!arguments.id.empty()) {
        return thaw_id(context);
    }
    return for_each_filesystem(context, arguments.paths, [&](const FilesystemStatus& status) {
        return thaw_path(context, status.filesystem);
    });
}

} // namespace freezectl
