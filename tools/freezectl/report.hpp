// SPDX-License-Identifier: LGPL-2.1-or-later
/// What --json prints: schema.json describes it.
#pragma once

#include "program.hpp"

#include <libfreeze/filesystem.hpp>
#include <libfreeze/stats.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace freezectl {

using Json = nlohmann::ordered_json;

/// What a command has done, as far as it came.
// NOLINTNEXTLINE(bugprone-exception-escape): of moving a Json, which throws nothing
struct Report {
    std::vector<libfreeze::Filesystem> filesystems;
    std::optional<libfreeze::Stats> stats;
    std::optional<Ending> ending; ///< of the program that was run
    Json details;                 ///< what else there is to tell, an object
};

/// Sets object[key]. Bytes that are no UTF-8 become U+FFFD there, and object[key + "_bytes"] then
/// has them all in hexadecimal digits.
void put_bytes(Json& object, const std::string& key, const std::string& bytes);

/// One line.
std::string to_json(const Report& report, const std::string& command, int exit_status,
                    const std::vector<std::string>& complaints);

} // namespace freezectl
