// SPDX-License-Identifier: LGPL-2.1-or-later
#include "status_table.hpp"

#include "duration.hpp"
#include "table.hpp"
#include "text.hpp"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

namespace freezectl {

namespace {

using libfreeze::FilesystemStatus;
using libfreeze::HoldInfo;

/// `hold` may be null.
using Cell = std::string (*)(const FilesystemStatus& status, const HoldInfo* hold);

const char* const none = "-";

std::string or_none(const std::string& text) {
    return text.empty() ? none : escaped(text);
}

/// Without spaces, so that programs can split the line.
std::string without_spaces(std::string text) {
    text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
    return text;
}

std::string compact(std::chrono::nanoseconds time) {
    return without_spaces(duration_text(time));
}

std::string place(const libfreeze::Filesystem& filesystem) {
    return filesystem.mountpoint.empty() ? none : escaped(filesystem.mountpoint.native());
}

std::string state(const FilesystemStatus& status, const HoldInfo* /*unused*/) {
    switch (status.state) {
    case FilesystemStatus::State::unfrozen:
        return status.suspended ? "suspended" : "unfrozen";
    case FilesystemStatus::State::freezing:
        return "freezing";
    case FilesystemStatus::State::frozen:
        return "frozen";
    case FilesystemStatus::State::unknown:
        break;
    }
    return status.suspended ? "suspended" : "unknown";
}

std::string freezable(const FilesystemStatus& status, const HoldInfo* /*unused*/) {
    return !status.freezable ? "unknown" : *status.freezable ? "yes" : "no";
}

std::string stacked_on(const FilesystemStatus& status, const HoldInfo* /*unused*/) {
    std::string result;
    for (const libfreeze::Filesystem& below : status.stacked_on) {
        result +=
            fmt::format("{}{}", result.empty() ? "" : ",",
                        below.mountpoint.empty() ? device_number(below.device) : place(below));
    }
    if (!status.stack_complete) {
        result += result.empty() ? "unknown" : ",...";
    }
    return result.empty() ? none : result;
}

std::string other_mountpoints(const FilesystemStatus& status, const HoldInfo* /*unused*/) {
    std::string result;
    for (const auto& mountpoint : status.other_mountpoints) {
        result += (result.empty() ? "" : ",") + escaped(mountpoint.native());
    }
    return result.empty() ? none : result;
}

/// Who has made the hold. Its process may have exited.
std::string holder(const HoldInfo& hold) {
    return hold.pending ? "pending" : hold.kept ? "kept" : hold.gone ? "gone" : "running";
}

struct NamedCell {
    Column column;
    bool is_default;
    Cell cell;
};

const std::vector<NamedCell>& cells() {
    static const std::vector<NamedCell> all{
        {{"MOUNTPOINT"}, true, [](auto& status, auto*) { return place(status.filesystem); }},
        {{"SOURCE"}, false, [](auto& status, auto*) { return or_none(status.filesystem.source); }},
        {{"FSTYPE"}, true, [](auto& status, auto*) { return or_none(status.filesystem.type); }},
        {{"MAJ:MIN"},
         false,
         [](auto& status, auto*) { return device_number(status.filesystem.device); }},
        {{"PATH"},
         false,
         [](auto& status, auto*) { return or_none(status.filesystem.path.native()); }},
        {{"OTHERS"}, false, other_mountpoints},
        {{"FREEZABLE"}, false, freezable},
        {{"STATE"}, true, state},
        {{"SINCE", true},
         false,
         [](auto& status, auto*) {
             return status.frozen_for ? compact(*status.frozen_for) : none;
         }},
        {{"REASON"}, false, [](auto& status, auto*) { return or_none(status.reason); }},
        {{"BLOCK", true},
         false,
         [](auto& status, auto*) { return std::to_string(status.block_freezes); }},
        {{"KERNEL", true},
         false,
         [](auto& status, auto*) { return std::to_string(status.kernel_freezes); }},
        {{"DIRTY", true},
         false,
         [](auto& status, auto*) {
             return status.dirty_bytes ? without_spaces(size_text(*status.dirty_bytes)) : "unknown";
         }},
        {{"STACKED-ON"}, false, stacked_on},
        {{"ID"}, true, [](auto&, auto* hold) { return hold ? or_none(hold->id) : none; }},
        {{"HOLDER"}, true, [](auto&, auto* hold) { return hold ? holder(*hold) : none; }},
        {{"COMMAND"}, true, [](auto&, auto* hold) { return hold ? or_none(hold->command) : none; }},
        {{"PID", true},
         true,
         [](auto&, auto* hold) { return hold && hold->pid ? std::to_string(hold->pid) : none; }},
        {{"AGE", true}, true, [](auto&, auto* hold) { return hold ? compact(hold->age) : none; }},
        {{"LEFT", true},
         true,
         [](auto&, auto* hold) { return hold && hold->left ? compact(*hold->left) : none; }},
        {{"COMMENT"}, true, [](auto&, auto* hold) { return hold ? or_none(hold->comment) : none; }},
    };
    return all;
}

std::vector<const NamedCell*> choose(const std::vector<std::string>& columns) {
    std::vector<const NamedCell*> result;
    for (const NamedCell& cell : cells()) {
        if (columns.empty() && cell.is_default) {
            result.push_back(&cell);
        }
    }
    for (const std::string& name : columns) {
        const auto found = std::find_if(cells().begin(), cells().end(),
                                        [&name](auto& cell) { return cell.column.name == name; });
        result.push_back(&*found);
    }
    return result;
}

} // namespace

std::vector<std::string> status_columns() {
    std::vector<std::string> result;
    for (const NamedCell& cell : cells()) {
        result.push_back(cell.column.name);
    }
    return result;
}

std::string status_column_names() {
    std::string result;
    for (const std::string& name : status_columns()) {
        result += (result.empty() ? "" : ",") + name;
    }
    return result;
}

std::string status_table(const std::vector<FilesystemStatus>& all,
                         const std::vector<std::string>& columns, bool has_headings) {
    const std::vector<const NamedCell*> chosen = choose(columns);
    std::vector<Column> headings;
    headings.reserve(chosen.size());
    for (const NamedCell* cell : chosen) {
        headings.push_back(cell->column);
    }
    std::vector<std::vector<std::string>> rows;
    const auto add_row = [&](const FilesystemStatus& status, const HoldInfo* hold) {
        std::vector<std::string>& row = rows.emplace_back();
        for (const NamedCell* cell : chosen) {
            row.push_back(cell->cell(status, hold));
        }
    };
    for (const FilesystemStatus& status : all) {
        for (const HoldInfo& hold : status.holds) {
            add_row(status, &hold);
        }
        if (status.holds.empty()) {
            add_row(status, nullptr);
        }
    }
    return format_table(headings, rows, has_headings);
}

} // namespace freezectl
