// SPDX-License-Identifier: LGPL-2.1-or-later
#include "acquisition.hpp"
#include "c_result.hpp"
#include "guard.hpp"
#include "inspect.hpp"
#include "probe.hpp"
#include "report.hpp"
#include "thaw_others.hpp"

#include <libfreeze/freeze.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using libfreeze::internal::Filesystem;
using libfreeze::internal::fill;
using libfreeze::internal::HoldEntry;
using libfreeze::internal::Limits;
using libfreeze::internal::Operation;
using libfreeze::internal::ReportEntry;
using libfreeze::internal::required;
using libfreeze::internal::result_of;

namespace {

/// 0: no limit.
Limits limits_of(std::int64_t timeout_ms, Operation operation, const char* path) {
    if (timeout_ms < 0 || timeout_ms > LIBFREEZE_MAX_TIMEOUT_MS) {
        throw failure(operation, Filesystem{path}, ERANGE,
                      "the time must be from 0 to LIBFREEZE_MAX_TIMEOUT_MS");
    }
    Limits limits;
    if (timeout_ms > 0) {
        limits.until =
            libfreeze::internal::syscalls().now() + std::chrono::milliseconds(timeout_ms);
    }
    return limits;
}

/// In the time that there is. `find` may go on in another thread, and then owns all it uses.
template <typename Find>
std::vector<ReportEntry> find_bounded(const Limits& limits, Operation operation, const char* path,
                                      Find find) {
    const auto entries = std::make_shared<std::vector<ReportEntry>>();
    libfreeze::internal::run_bounded(limits, operation, path, {},
                                     [entries, find](const auto&) { *entries = find(); });
    return std::move(*entries);
}

std::vector<std::string> paths_of(const char* const* paths, std::size_t count) {
    std::vector<std::string> result;
    for (std::size_t number = 0; number < count; ++number) {
        const char* const path = required(paths, "libfreeze_inspect", "paths")[number];
        result.emplace_back(required(path, "libfreeze_inspect", "a path"));
    }
    return result;
}

const ReportEntry* entry_of(const libfreeze_report* report, std::size_t number) {
    return number < libfreeze_report_count(report) ? &report->entries[number] : nullptr;
}

/// A report has it under that number.
template <typename Item>
const Item& found(const Item* item, const char* function) {
    if (item == nullptr) {
        libfreeze::internal::refuse(function, "there is no such number");
    }
    return *item;
}

libfreeze_status status_of(const ReportEntry& entry) {
    libfreeze_status status{};
    status.filesystem = libfreeze::internal::describe(entry.filesystem);
    status.freezable = entry.freezable;
    status.state = entry.state;
    status.reason = entry.reason.c_str();
    status.frozen_ms = entry.frozen_ms;
    status.block_freezes = entry.block_freezes;
    status.kernel_freezes = entry.kernel_freezes;
    status.suspended = entry.suspended ? 1 : 0;
    status.stack_complete = entry.stack_complete ? 1 : 0;
    status.dirty_bytes = entry.dirty_bytes;
    status.dirty_source = entry.dirty_source.c_str();
    status.rank = entry.rank;
    status.hold_count = entry.holds.size();
    status.below_count = entry.below.size();
    status.other_mountpoint_count = entry.other_mountpoints.size();
    return status;
}

libfreeze_hold hold_of(const HoldEntry& entry) {
    return {entry.id.c_str(),
            entry.command.c_str(),
            entry.comment.c_str(),
            entry.ended.c_str(),
            entry.age_ms,
            entry.left_ms,
            entry.pid,
            entry.flags};
}

} // namespace

int libfreeze_inspect(const char* const* paths, size_t count, int64_t timeout_ms,
                      libfreeze_report** report) {
    return result_of([&] {
        *required(report, "libfreeze_inspect", "report") = nullptr;
        std::vector<std::string> names = paths_of(paths, count);
        const std::string first = names.empty() ? "/" : names.front();
        const Limits limits = limits_of(timeout_ms, Operation::inspect, first.c_str());
        auto entries = find_bounded(limits, Operation::inspect, first.c_str(), [names, limits] {
            return libfreeze::internal::inspect(names, limits);
        });
        *report = libfreeze::internal::make_report(std::move(entries)).release();
        return 0;
    });
}

int libfreeze_thaw_others(const char* path, int64_t timeout_ms, libfreeze_report** report) {
    return result_of([&] {
        if (report != nullptr) {
            *report = nullptr;
        }
        const std::string name = required(path, "libfreeze_thaw_others", "path");
        const Limits limits = limits_of(timeout_ms, Operation::thaw, path);
        auto entries = find_bounded(limits, Operation::thaw, path, [name, limits] {
            return std::vector<ReportEntry>{libfreeze::internal::thaw_others(name, limits)};
        });
        auto made = libfreeze::internal::make_report(std::move(entries));
        if (report != nullptr) {
            *report = made.release();
        }
        return 0;
    });
}

int libfreeze_probe(const char* path, libfreeze_features* features, size_t size) {
    return result_of([&] {
        fill(required(features, "libfreeze_probe", "features"), size,
             libfreeze::internal::probe(path == nullptr ? "/" : path));
        return 0;
    });
}

size_t libfreeze_report_count(const libfreeze_report* report) {
    return report == nullptr ? 0 : report->entries.size();
}

int libfreeze_report_status(const libfreeze_report* report, size_t number, libfreeze_status* status,
                            size_t size) {
    return result_of([&] {
        constexpr const char* function = "libfreeze_report_status";
        fill(required(status, function, "status"), size,
             status_of(found(entry_of(report, number), function)));
        return 0;
    });
}

int libfreeze_report_hold(const libfreeze_report* report, size_t number, size_t hold,
                          libfreeze_hold* result, size_t size) {
    return result_of([&] {
        constexpr const char* function = "libfreeze_report_hold";
        const auto& holds = found(entry_of(report, number), function).holds;
        fill(required(result, function, "result"), size,
             hold_of(found(hold < holds.size() ? &holds[hold] : nullptr, function)));
        return 0;
    });
}

const libfreeze_filesystem* libfreeze_report_below(const libfreeze_report* report, size_t number,
                                                   size_t below) {
    const bool is_there =
        number < libfreeze_report_count(report) && below < report->below[number].size();
    return is_there ? &report->below[number][below] : nullptr;
}

const char* libfreeze_report_mountpoint(const libfreeze_report* report, size_t number,
                                        size_t mountpoint) {
    const ReportEntry* const entry = entry_of(report, number);
    return entry != nullptr && mountpoint < entry->other_mountpoints.size()
               ? entry->other_mountpoints[mountpoint].c_str()
               : nullptr;
}

void libfreeze_report_free(libfreeze_report* report) {
    delete report; // NOLINT(cppcoreguidelines-owning-memory): make_report() made it
}
