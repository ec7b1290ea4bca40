// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "mount_table.hpp"

#include <cstddef>
#include <set>

#include <sys/types.h>

namespace libfreeze::internal {

/// What a mounted filesystem is stacked on.
struct Stack {
    std::set<dev_t> superblocks; ///< that hold what is stored in it, at any depth
    std::set<dev_t> devices;     ///< block devices that it is made of, at any depth
    bool complete = true;        ///< false: there may be more, which could not be found out
    bool suspended = false;      ///< device-mapper has suspended one of its devices, and I/O waits
    std::size_t place = 0;       ///< in the mount table, where what was mounted earlier comes first
};

/// Follows loop devices to their files (by device and inode, never by name), and device-mapper,
/// LVM, md, partitions and external journals to what they are made of. Changes of the mounts and
/// devices in the meantime may be missed.
Stack stack_under(dev_t superblock, const MountTable& table);

} // namespace libfreeze::internal
