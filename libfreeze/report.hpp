// SPDX-License-Identifier: LGPL-2.1-or-later
/// What freeze.h's reports are made of.
#pragma once

#include "filesystem.hpp"
#include "mount_table.hpp"
#include "stack.hpp"
#include "target.hpp"

#include <libfreeze/freeze.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace libfreeze::internal {

/// One hold: struct libfreeze_hold.
struct HoldEntry {
    std::string id = {};
    std::string command = {};
    std::string comment = {};
    std::string ended = {};
    std::int64_t age_ms = 0;
    std::int64_t left_ms = -1; ///< -1: no deadline
    std::int32_t pid = 0;
    std::uint32_t flags = 0; ///< libfreeze_hold_flags
};

/// One filesystem: struct libfreeze_status.
struct ReportEntry {
    Filesystem filesystem = {};
    int freezable = -1;
    libfreeze_state state = LIBFREEZE_STATE_UNKNOWN;
    std::string reason = {};
    std::int64_t frozen_ms = -1;
    std::uint32_t block_freezes = 0;
    std::uint32_t kernel_freezes = 0;
    bool suspended = false;
    bool stack_complete = true;
    std::int64_t dirty_bytes = -1;
    std::string dirty_source = {};
    std::size_t rank = 0;
    std::vector<HoldEntry> holds = {};
    std::vector<Filesystem> below = {};
    std::vector<std::string> other_mountpoints = {};
};

/// What the mount table and sysfs show of a filesystem: its mountpoints, what it is stacked on, and
/// whether filesystems of its type can be frozen. Opens nothing.
ReportEntry describe(const Filesystem& filesystem, const Stack& stack, const MountTable& table);
ReportEntry describe(const Target& target, const Stack& stack, const MountTable& table);

/// For a program; libfreeze_report_free() frees it.
std::unique_ptr<libfreeze_report> make_report(std::vector<ReportEntry> entries);

} // namespace libfreeze::internal

struct libfreeze_report {
    std::vector<libfreeze::internal::ReportEntry> entries;
    std::vector<std::vector<libfreeze_filesystem>> below; ///< points into `entries`
};
