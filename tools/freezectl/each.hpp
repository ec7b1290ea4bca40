// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "resolve.hpp"

#include <filesystem>
#include <functional>
#include <vector>

namespace freezectl {

class Console;
struct Report;

/// Does `work` once for each filesystem that the paths are on, what is below before what is stacked
/// on it, whose thaw writes there. Goes on after a failure, which the console is told. The exit
/// status: failed if any was.
int for_each(const std::vector<std::filesystem::path>& paths, libfreeze::Operation operation,
             Console& console, Report& report,
             const std::function<void(const libfreeze::Target&)>& work);

} // namespace freezectl
