// SPDX-License-Identifier: LGPL-2.1-or-later
#include "selection.hpp"

#include "arguments.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>

#include <sys/types.h>

namespace freezectl {

namespace {

std::set<dev_t> excluded_devices(const Arguments& arguments) {
    std::set<dev_t> result;
    if (!arguments.exclude.empty()) {
        for (const auto& status : libfreeze::inspect(arguments.exclude, inspect_timeout)) {
            result.insert(status.filesystem.device);
        }
    }
    return result;
}

bool is_of_type(const libfreeze::Filesystem& filesystem, const std::vector<std::string>& types) {
    return types.empty() || std::find(types.begin(), types.end(), filesystem.type) != types.end();
}

} // namespace

std::vector<libfreeze::FilesystemStatus> select_mounted(const Arguments& arguments) {
    const std::set<dev_t> excluded = excluded_devices(arguments);
    std::vector<libfreeze::FilesystemStatus> result = libfreeze::inspect({}, inspect_timeout);
    const auto is_left_out = [&](const libfreeze::FilesystemStatus& status) {
        return excluded.count(status.filesystem.device) != 0 ||
               !is_of_type(status.filesystem, arguments.types);
    };
    result.erase(std::remove_if(result.begin(), result.end(), is_left_out), result.end());
    return result;
}

std::vector<std::filesystem::path> paths_to_freeze(const Arguments& arguments) {
    if (!arguments.all) {
        return arguments.paths;
    }
    std::vector<std::filesystem::path> result;
    for (const libfreeze::FilesystemStatus& status : select_mounted(arguments)) {
        if (status.freezable.value_or(true) && !status.filesystem.mountpoint.empty()) {
            result.push_back(status.filesystem.mountpoint);
        }
    }
    if (result.empty()) {
        throw std::runtime_error("no filesystem is mounted that can be frozen and was chosen");
    }
    return result;
}

} // namespace freezectl
