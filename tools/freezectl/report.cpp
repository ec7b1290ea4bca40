// SPDX-License-Identifier: LGPL-2.1-or-later
#include "report.hpp"

#include "text.hpp"

#include <chrono>

namespace freezectl {

namespace {

double seconds(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

Json to_json(const libfreeze::Filesystem& filesystem) {
    Json result = Json::object();
    put_bytes(result, "path", filesystem.path);
    put_bytes(result, "mountpoint", filesystem.mountpoint);
    put_bytes(result, "type", filesystem.type);
    put_bytes(result, "source", filesystem.source);
    return result;
}

Json to_json(const libfreeze::Stats& stats) {
    return {{"flush_rounds", stats.flush_rounds},
            {"flushing_seconds", seconds(stats.flushing)},
            {"freezing_seconds", seconds(stats.freezing)},
            {"frozen_seconds", seconds(stats.frozen)}};
}

Json to_json(const Ending& ending) {
    return ending.signal == 0 ? Json{{"exit_status", ending.status}, {"signal", nullptr}}
                              : Json{{"exit_status", nullptr}, {"signal", ending.signal}};
}

} // namespace

void put_bytes(Json& object, const std::string& key, const std::string& bytes) {
    object[key] = bytes;
    if (!is_utf8(bytes)) {
        const auto replace = Json::error_handler_t::replace;
        object[key] = Json::parse(Json(bytes).dump(-1, ' ', false, replace));
        object[key + "_bytes"] = hex(bytes);
    }
}

std::string to_json(const Report& report, const std::string& command, int exit_status,
                    const std::vector<std::string>& complaints) {
    Json result = {
        {"version", 1}, {"command", command}, {"exit_status", exit_status}, {"errors", complaints}};
    if (report.details.is_object()) {
        result.update(report.details);
    } else {
        result["filesystems"] = Json::array();
        for (const libfreeze::Filesystem& filesystem : report.filesystems) {
            result["filesystems"].push_back(to_json(filesystem));
        }
    }
    if (report.stats) {
        result["stats"] = to_json(*report.stats);
    }
    if (report.ending) {
        result["ending"] = to_json(*report.ending);
    }
    return result.dump() + "\n";
}

} // namespace freezectl
