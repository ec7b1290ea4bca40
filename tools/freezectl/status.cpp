// SPDX-License-Identifier: LGPL-2.1-or-later
#include "arguments.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "exit_status.hpp"
#include "inventory.hpp"
#include "report.hpp"
#include "text.hpp"

#include <exception>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <sys/sysmacros.h>

namespace freezectl {

namespace {

std::string number_of(dev_t device) {
    return fmt::format("{}:{}", major(device), minor(device));
}

Json mountpoint_or_null(const std::filesystem::path& mountpoint) {
    Json result = Json::object();
    if (mountpoint.empty()) {
        result["mountpoint"] = nullptr;
    } else {
        put_bytes(result, "mountpoint", mountpoint);
    }
    return result;
}

Json to_json(const Facts& facts) {
    Json result = mountpoint_or_null(facts.mountpoint);
    put_bytes(result, "path", facts.path);
    result["other_mountpoints"] = Json::array();
    for (const auto& mountpoint : facts.other_mountpoints) {
        result["other_mountpoints"].push_back(mountpoint_or_null(mountpoint));
    }
    put_bytes(result, "source", facts.source);
    put_bytes(result, "type", facts.type);
    result["device"] = number_of(facts.device);
    result["freezable"] = to_text(facts.freezable.answer);
    result["freezable_because"] = facts.freezable.reason;
    result["frozen"] = to_text(facts.frozen.answer);
    result["frozen_by"] = nullptr;
    result["frozen_because"] = facts.frozen.reason;
    result["suspended"] = facts.suspended;
    result["dirty_bytes"] = facts.dirty.bytes ? Json(*facts.dirty.bytes) : Json(nullptr);
    result["dirty_because"] = facts.dirty.source;
    result["stacked_on"] = Json::array();
    for (const Below& below : facts.stacked_on) {
        Json entry = mountpoint_or_null(below.mountpoint);
        entry["device"] = number_of(below.device);
        result["stacked_on"].push_back(entry);
    }
    result["stack_complete"] = facts.stack_complete;
    return result;
}

std::string place(const std::filesystem::path& mountpoint) {
    return mountpoint.empty() ? "not mounted here" : in_quotes(mountpoint);
}

std::string stack_line(const Facts& facts) {
    std::string result;
    for (const Below& below : facts.stacked_on) {
        result += fmt::format("{}{} ({})", result.empty() ? "" : ", ", place(below.mountpoint),
                              number_of(below.device));
    }
    if (!facts.stack_complete) {
        return result.empty() ? "unknown" : result + ", and maybe others";
    }
    return result.empty() ? "no other filesystem" : result;
}

std::string dirty_line(const Dirty& dirty) {
    return dirty.bytes ? fmt::format("{} KiB on its device ({})", *dirty.bytes / 1024, dirty.source)
                       : fmt::format("unknown ({})", dirty.source);
}

std::string to_lines(const Facts& facts) {
    std::string result = place(facts.mountpoint) + "\n";
    const auto add = [&result](const char* name, const std::string& value) {
        result += fmt::format("    {:<12}{}\n", name, value);
    };
    for (const auto& mountpoint : facts.other_mountpoints) {
        add("also at", in_quotes(mountpoint));
    }
    add("device", fmt::format("{} ({})", in_quotes(facts.source), number_of(facts.device)));
    add("type", printable(facts.type));
    add("freezable",
        fmt::format("{} ({})", to_text(facts.freezable.answer), facts.freezable.reason));
    add("frozen", fmt::format("{} ({})", to_text(facts.frozen.answer), facts.frozen.reason));
    add("dirty", dirty_line(facts.dirty));
    add("stacked on", stack_line(facts));
    return result;
}

} // namespace

int status(const Arguments& arguments, Console& console, Report& report) {
    int result = exit_status::ok;
    std::vector<Facts> all;
    if (arguments.paths.empty()) {
        all = all_facts();
    }
    for (const auto& path : arguments.paths) {
        try {
            all.push_back(facts_of(path));
        } catch (const std::exception& problem) {
            console.complain(problem.what());
            result = exit_status::failed;
        }
    }
    const std::optional<std::uint64_t> dirty = dirty_bytes_of_machine();
    report.details = {{"filesystems", Json::array()},
                      {"dirty_bytes_of_machine", dirty ? Json(*dirty) : Json(nullptr)}};
    std::string text;
    for (const Facts& facts : all) {
        report.details["filesystems"].push_back(to_json(facts));
        text += to_lines(facts);
    }
    if (!arguments.json) {
        console.report(text);
    }
    return result;
}

} // namespace freezectl
