// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace freezectl {

/// The command line.
struct Arguments {
    std::string command; ///< "run", "freeze", "thaw", "extend", "status" or "probe"
    std::vector<std::filesystem::path> paths;
    std::vector<std::string> program; ///< what `run` runs, with its arguments

    std::optional<std::chrono::milliseconds> timeout; ///< zero: no deadline
    std::chrono::milliseconds acquire_timeout{0};     ///< zero: none
    std::string id;                                   ///< of a hold; empty: not given
    std::optional<std::string> comment;
    std::string report; ///< a file, or the number of a descriptor; empty: not given

    bool all = false;
    std::vector<std::string> types;             ///< empty: all
    std::vector<std::filesystem::path> exclude; ///< what these are on is left out
    std::vector<std::string> columns;           ///< empty: the default

    bool no_flush = false;
    bool skip_unfreezable = false;
    bool allow_self_deadlock = false;
    bool allow_unprotected = false;
    bool dry_run = false;
    bool json = false;
    bool no_headings = false;
    bool watch = false;
    bool verbose = false;
    bool quiet = false;
};

/// No value: the process ends with `status` now. It has printed everything.
std::optional<Arguments> parse_arguments(int argc, const char* const* argv, int* status);

} // namespace freezectl
