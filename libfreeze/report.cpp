// SPDX-License-Identifier: LGPL-2.1-or-later
#include "report.hpp"

#include "freezable.hpp"
#include "guard.hpp"

#include <utility>

namespace libfreeze::internal {

ReportEntry describe(const Filesystem& filesystem, const Stack& stack, const MountTable& table) {
    ReportEntry entry;
    entry.filesystem = filesystem;
    Freezable freezable = freezable_by_type(filesystem.type);
    entry.freezable = freezable.answer;
    entry.reason = std::move(freezable.reason);
    entry.suspended = stack.suspended;
    entry.stack_complete = stack.complete;
    for (const dev_t device : stack.superblocks) {
        entry.below.push_back(filesystem_of(device, table));
    }
    for (const Mount& mount : table) {
        if (mount.device == filesystem.device && mount.target != filesystem.mountpoint) {
            entry.other_mountpoints.push_back(mount.target);
        }
    }
    return entry;
}

ReportEntry describe(const Target& target, const Stack& stack, const MountTable& table) {
    return describe(target.filesystem, stack, table);
}

std::unique_ptr<libfreeze_report> make_report(std::vector<ReportEntry> entries) {
    auto report = std::make_unique<libfreeze_report>();
    report->entries = std::move(entries);
    for (const ReportEntry& entry : report->entries) {
        std::vector<libfreeze_filesystem>& below = report->below.emplace_back();
        for (const Filesystem& filesystem : entry.below) {
            below.push_back(describe(filesystem));
        }
    }
    return report;
}

} // namespace libfreeze::internal
