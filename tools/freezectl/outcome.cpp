// SPDX-License-Identifier: LGPL-2.1-or-later
#include "outcome.hpp"

#include "json.hpp"
#include "text.hpp"

#include <chrono>

namespace freezectl {

namespace {

constexpr int schema_version = 2;

double seconds(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

Json describe(const libfreeze::Stats& stats) {
    return {{"flush_rounds", stats.flush_rounds},
            {"flushing_seconds", seconds(stats.flushing)},
            {"freezing_seconds", seconds(stats.freezing)},
            {"frozen_seconds", seconds(stats.frozen)}};
}

Json describe(const Ending& ending) {
    return ending.signal == 0 ? Json{{"exit_status", ending.status}, {"signal", nullptr}}
                              : Json{{"exit_status", nullptr}, {"signal", ending.signal}};
}

Json to_array(const std::vector<libfreeze::Filesystem>& filesystems) {
    Json result = Json::array();
    for (const libfreeze::Filesystem& filesystem : filesystems) {
        result.push_back(to_json(filesystem));
    }
    return result;
}

} // namespace

std::string names_of(const std::vector<libfreeze::Filesystem>& filesystems) {
    std::string result;
    for (const libfreeze::Filesystem& filesystem : filesystems) {
        result += (result.empty() ? "" : ", ") + in_quotes(filesystem.path);
    }
    return result;
}

std::string to_report(const Outcome& outcome, const std::string& command, int exit_status,
                      const std::vector<std::string>& complaints) {
    Json result = {{"version", schema_version},
                   {"command", command},
                   {"exit_status", exit_status},
                   {"errors", complaints}};
    if (outcome.details) {
        result.update(*outcome.details);
    } else {
        result["id"] = outcome.id.empty() ? Json(nullptr) : Json(outcome.id);
        result["filesystems"] = to_array(outcome.filesystems);
        result["skipped"] = to_array(outcome.skipped);
    }
    if (outcome.stats) {
        result["stats"] = describe(*outcome.stats);
    }
    if (outcome.ending) {
        result["ending"] = describe(*outcome.ending);
    }
    return result.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

} // namespace freezectl
