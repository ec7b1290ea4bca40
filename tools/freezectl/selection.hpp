// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/inspect.hpp>
#include <libfreeze/options.hpp>

#include <chrono>
#include <vector>

namespace freezectl {

struct Arguments;

/// A call that looks at filesystems gives up after this time: one of them may be on a dead server.
inline constexpr std::chrono::seconds inspect_timeout{30};

/// Looks at all mounted filesystems that --types and --exclude choose.
std::vector<libfreeze::FilesystemStatus> select_mounted(const Arguments& arguments);

/// The paths to freeze: those that were given, or the mountpoints for --all. Throws
/// std::runtime_error if there are none.
std::vector<std::filesystem::path> paths_to_freeze(const Arguments& arguments);

} // namespace freezectl
