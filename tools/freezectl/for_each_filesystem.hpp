// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/inspect.hpp>

#include <filesystem>
#include <functional>
#include <vector>

namespace freezectl {

struct Context;

/// Calls `work` once for each filesystem that the paths are on. A lower filesystem comes before
/// those that are stacked on it, because their thaw writes to it. Continues after a failure, which
/// is printed. Returns the exit status: that of the first call which does not return `ok`, or
/// `failed`.
int for_each_filesystem(const Context& context, const std::vector<std::filesystem::path>& paths,
                        const std::function<int(const libfreeze::FilesystemStatus&)>& work);

} // namespace freezectl
