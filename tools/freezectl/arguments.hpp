// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace freezectl {

struct Arguments {
    std::string command; ///< "run", "freeze", "thaw", "extend", "status" or "probe"
    std::vector<std::filesystem::path> paths;
    std::chrono::milliseconds timeout{0}; ///< zero: none
    std::vector<std::string> program;     ///< what `run` runs, with its arguments
    bool json = false;
    bool verbose = false;
    bool quiet = false;
};

/// No value: the process ends with `status` now; what there is to say has been said.
std::optional<Arguments> parse_arguments(int argc, const char* const* argv, int* status);

} // namespace freezectl
