// SPDX-License-Identifier: LGPL-2.1-or-later
/// From a path to the filesystem it is on.
#pragma once

#include "failure.hpp"
#include "file_descriptor.hpp"

#include <vector>

#include <sys/types.h>

namespace libfreeze {

/// A filesystem, with a descriptor on it that takes the freeze ioctls.
struct Target {
    FileDescriptor fd;
    Filesystem filesystem;
    dev_t superblock = 0;
};

/// Finds and opens the filesystem that `path` is on. Never opens a FIFO, a socket or a device, and
/// what it opens is proven to be on the same filesystem. Throws the std::system_error of
/// `operation`.
Target resolve(const std::filesystem::path& path, Operation operation);

/// The superblock an open file is on, by the number that `Target::superblock` has; false if it
/// cannot be found out.
bool superblock_of(int fd, dev_t* superblock);
/// With a mount table that was read before.
bool superblock_of(int fd, const std::vector<Mount>& table, dev_t* superblock);

/// Empty if it cannot be read.
std::vector<Mount> read_mount_table();

} // namespace libfreeze
