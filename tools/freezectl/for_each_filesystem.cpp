// SPDX-License-Identifier: LGPL-2.1-or-later
#include "for_each_filesystem.hpp"

#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "selection.hpp"

#include <libfreeze/error.hpp>

#include <algorithm>
#include <exception>
#include <system_error>
#include <utility>

namespace freezectl {

namespace {

using libfreeze::FilesystemStatus;

bool is_below(const FilesystemStatus& lower, const FilesystemStatus& upper) {
    return std::any_of(upper.stacked_on.begin(), upper.stacked_on.end(), [&](auto& filesystem) {
        return filesystem.device == lower.filesystem.device;
    });
}

/// A block device is accepted too: its filesystem may have been unmounted while it was frozen.
FilesystemStatus find(const std::filesystem::path& path) {
    try {
        return libfreeze::inspect({path}, inspect_timeout).front();
    } catch (const std::system_error& problem) {
        std::error_code error;
        if (problem.code() != libfreeze::errc::not_freezable ||
            !std::filesystem::is_block_file(path, error)) {
            throw;
        }
    }
    FilesystemStatus status;
    status.filesystem.path = path;
    return status;
}

/// Before the first that is stacked on it, so that the list is always in order.
void insert(std::vector<FilesystemStatus>& all, FilesystemStatus added) {
    const auto is_same = [&added](const FilesystemStatus& other) {
        return added.filesystem.device != 0 && other.filesystem.device == added.filesystem.device;
    };
    if (std::none_of(all.begin(), all.end(), is_same)) {
        const auto above = std::find_if(all.begin(), all.end(),
                                        [&added](auto& other) { return is_below(added, other); });
        all.insert(above, std::move(added));
    }
}

} // namespace

int for_each_filesystem(const Context& context, const std::vector<std::filesystem::path>& paths,
                        const std::function<int(const FilesystemStatus&)>& work) {
    int result = exit_status::ok;
    const auto attempt = [&](const auto& step) {
        int status = exit_status::failed;
        try {
            status = step();
        } catch (const std::exception& problem) {
            context.console.complain(problem.what());
        }
        result = result == exit_status::ok ? status : result;
    };
    std::vector<FilesystemStatus> all;
    for (const auto& path : paths) {
        attempt([&] {
            insert(all, find(path));
            return exit_status::ok;
        });
    }
    for (const FilesystemStatus& status : all) {
        attempt([&] { return work(status); });
    }
    return result;
}

} // namespace freezectl
