// SPDX-License-Identifier: LGPL-2.1-or-later
#include "each.hpp"

#include "console.hpp"
#include "exit_status.hpp"
#include "report.hpp"
#include "stack.hpp"

#include <algorithm>
#include <exception>
#include <system_error>
#include <utility>

namespace freezectl {

namespace {

struct Level {
    libfreeze::Target target;
    libfreeze::Stack stack;
};

bool is_below(const Level& lower, const Level& upper) {
    return upper.stack.superblocks.count(lower.target.superblock) != 0;
}

/// The library's words for a failed thaw are those of a guard, which has frozen before.
libfreeze::Target find(const std::filesystem::path& path, libfreeze::Operation operation) {
    try {
        return libfreeze::resolve(path, operation);
    } catch (const std::system_error& problem) {
        if (problem.code().category() != std::system_category()) {
            throw;
        }
        throw libfreeze::failure(operation, {path, {}, {}, {}}, problem.code(), "check the path");
    }
}

/// Before the first that is stacked on it; so the list is in order at any time.
void insert(std::vector<Level>& levels, Level added) {
    const auto above = std::find_if(levels.begin(), levels.end(), [&added](const Level& level) {
        return is_below(added, level);
    });
    levels.insert(above, std::move(added));
}

} // namespace

int for_each(const std::vector<std::filesystem::path>& paths, libfreeze::Operation operation,
             Console& console, Report& report,
             const std::function<void(const libfreeze::Target&)>& work) {
    int status = exit_status::ok;
    const auto attempt = [&](const auto& step) {
        try {
            step();
        } catch (const std::exception& problem) {
            console.complain(problem.what());
            status = exit_status::failed;
        }
    };
    std::vector<Level> levels;
    for (const auto& path : paths) {
        attempt([&] {
            Level level{find(path, operation), {}};
            const auto is_same = [&level](const Level& other) {
                return other.target.superblock == level.target.superblock;
            };
            if (std::none_of(levels.begin(), levels.end(), is_same)) {
                level.stack = libfreeze::stack_under(level.target.superblock);
                insert(levels, std::move(level));
            }
        });
    }
    for (const Level& level : levels) {
        attempt([&] {
            work(level.target);
            report.filesystems.push_back(level.target.filesystem);
        });
    }
    return status;
}

} // namespace freezectl
