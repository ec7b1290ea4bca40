// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <set>

#include <sys/types.h>

namespace libfreeze {

/// What a mounted filesystem is stacked on.
struct Stack {
    std::set<dev_t> superblocks; ///< that hold what is stored in it, at any depth
    bool complete = true;        ///< false: there may be more, which could not be found out
    bool suspended = false;      ///< device-mapper has suspended one of its devices, and I/O waits
    std::size_t place = 0;       ///< in the mount table, where what was mounted earlier comes first
};

/// Follows loop devices to their files, and device-mapper, LVM, md and partitions to what they are
/// made of, by the mount table and sysfs. Opens nothing but by O_PATH. Not thread-safe against
/// changes of the mounts and devices: what happens meanwhile may be missed.
Stack stack_under(dev_t superblock);

} // namespace libfreeze
