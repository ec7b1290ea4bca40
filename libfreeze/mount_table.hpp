// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

namespace libfreeze::internal {

/// One line of the mount table.
struct Mount {
    std::uint64_t id = 0;
    dev_t device = 0; ///< of the superblock; on btrfs not what stat(2) says
    std::string target;
    std::string type;
    std::string source;
    std::string root; ///< the directory of the filesystem that is mounted
    /// Devices and directories next to the source that it writes to: overlay's upper directory, the
    /// external journal of ext4, XFS's log and realtime device.
    std::vector<std::string> stores = {};
    bool read_only = false; ///< the superblock is
};

using MountTable = std::vector<Mount>;

/// The mount table of the calling thread, in the order of mounting. Empty if it cannot be read.
MountTable read_mount_table();

/// Null if there is no such line.
const Mount* find_mount_by_id(const MountTable& table, std::uint64_t id);
const Mount* find_mount_by_device(const MountTable& table, dev_t device);

/// The mount that a path without symbolic links is on, by the names in the table alone. Another
/// mount may hide it. Null if there is none.
const Mount* find_mount_by_name(const MountTable& table, const std::string& path);

/// Whether looking up a name there could wait for a server, a daemon or another machine.
bool may_be_remote(const Mount& mount);

} // namespace libfreeze::internal
