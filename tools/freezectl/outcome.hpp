// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ending.hpp"

#include <libfreeze/filesystem.hpp>
#include <libfreeze/stats.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace freezectl {

using Json = nlohmann::ordered_json;

/// What was done, as far as it got. For the report of --json and --report.
struct Outcome {
    std::string id; ///< of the hold; empty: there is none
    std::vector<libfreeze::Filesystem> filesystems;
    std::vector<libfreeze::Filesystem> skipped;
    std::optional<libfreeze::Stats> stats;
    std::optional<Ending> ending;  ///< of the program that was run
    std::shared_ptr<Json> details; ///< an object: replaces id, filesystems and skipped
    bool is_published = false;     ///< the report is written
};

/// Their paths, in one line.
std::string names_of(const std::vector<libfreeze::Filesystem>& filesystems);

/// The report, in one line. schema.json describes it.
std::string to_report(const Outcome& outcome, const std::string& command, int exit_status,
                      const std::vector<std::string>& complaints);

} // namespace freezectl
