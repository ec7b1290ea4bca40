// SPDX-License-Identifier: LGPL-2.1-or-later
#include "json.hpp"

#include "text.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace freezectl {

namespace {

using libfreeze::FilesystemStatus;

double seconds(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

template <typename Time>
Json seconds_or_null(const std::optional<Time>& time) {
    return time ? Json(seconds(*time)) : Json(nullptr);
}

/// Sets object[key]. Bytes that are not UTF-8 become U+FFFD there, and object[key + "_bytes"] has
/// all bytes in hexadecimal digits.
void put_bytes(Json& object, const std::string& key, const std::string& bytes) {
    object[key] = bytes;
    if (!is_utf8(bytes)) {
        const auto replace = Json::error_handler_t::replace;
        object[key] = Json::parse(Json(bytes).dump(-1, ' ', false, replace));
        object[key + "_bytes"] = hex(bytes);
    }
}

const char* state_name(FilesystemStatus::State state) {
    switch (state) {
    case FilesystemStatus::State::unfrozen:
        return "unfrozen";
    case FilesystemStatus::State::freezing:
        return "freezing";
    case FilesystemStatus::State::frozen:
        return "frozen";
    case FilesystemStatus::State::unknown:
        break;
    }
    return "unknown";
}

template <typename Item>
Json to_array(const std::vector<Item>& items) {
    Json result = Json::array();
    for (const Item& item : items) {
        result.push_back(to_json(item));
    }
    return result;
}

Json to_array(const std::vector<std::filesystem::path>& paths) {
    Json result = Json::array();
    for (const auto& path : paths) {
        Json entry = Json::object();
        put_bytes(entry, "mountpoint", path);
        result.push_back(entry);
    }
    return result;
}

} // namespace

Json to_json(const libfreeze::Filesystem& filesystem) {
    Json result = Json::object();
    put_bytes(result, "path", filesystem.path);
    if (filesystem.mountpoint.empty()) {
        result["mountpoint"] = nullptr;
    } else {
        put_bytes(result, "mountpoint", filesystem.mountpoint);
    }
    put_bytes(result, "type", filesystem.type);
    put_bytes(result, "source", filesystem.source);
    result["device"] = device_number(filesystem.device);
    return result;
}

Json to_json(const libfreeze::HoldInfo& hold) {
    Json result = Json::object();
    result["id"] = hold.id.empty() ? Json(nullptr) : Json(hold.id);
    put_bytes(result, "command", hold.command);
    put_bytes(result, "comment", hold.comment);
    result["pid"] = hold.pid == 0 ? Json(nullptr) : Json(hold.pid);
    result["kept"] = hold.kept;
    result["exited"] = hold.gone;
    result["pending"] = hold.pending;
    result["age_seconds"] = seconds(hold.age);
    result["left_seconds"] = seconds_or_null(hold.left);
    if (!hold.ended.empty()) {
        result["ended"] = hold.ended;
    }
    return result;
}

Json to_json(const FilesystemStatus& status) {
    Json result = to_json(status.filesystem);
    result["other_mountpoints"] = to_array(status.other_mountpoints);
    result["freezable"] = status.freezable ? Json(*status.freezable) : Json(nullptr);
    result["state"] = state_name(status.state);
    result["reason"] = status.reason;
    result["frozen_seconds"] = seconds_or_null(status.frozen_for);
    result["holds"] = to_array(status.holds);
    result["block_freezes"] = status.block_freezes;
    result["kernel_freezes"] = status.kernel_freezes;
    result["suspended"] = status.suspended;
    result["dirty_bytes"] = status.dirty_bytes ? Json(*status.dirty_bytes) : Json(nullptr);
    result["dirty_source"] = status.dirty_source;
    result["stacked_on"] = to_array(status.stacked_on);
    result["stack_complete"] = status.stack_complete;
    return result;
}

} // namespace freezectl
