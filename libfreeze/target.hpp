// SPDX-License-Identifier: LGPL-2.1-or-later
/// From a path or a descriptor to the filesystem that it is on.
#pragma once

#include "error.hpp"
#include "file_descriptor.hpp"
#include "filesystem.hpp"
#include "mount_table.hpp"

#include <optional>
#include <string>

namespace libfreeze::internal {

/// A filesystem, with a descriptor on it that takes the freeze ioctls.
struct Target {
    FileDescriptor fd;
    Filesystem filesystem;
};

/// Finds and opens the filesystem that `path` is on. Looks the name up once. Never opens a FIFO, a
/// socket or a device, and what it opens is proven to be on the same filesystem. Throws Error.
Target resolve(const std::string& path, const MountTable& table, Operation operation);

/// The same for an open file, which may be O_PATH.
Target resolve(int fd, const MountTable& table, Operation operation);

/// A superblock's filesystem, as the mount table shows it. Its path is the mountpoint.
Filesystem filesystem_of(dev_t device, const MountTable& table);

/// The superblock that an open file is on. None if it cannot be found out. Never blocks.
std::optional<dev_t> superblock_of(int fd, const MountTable& table);

} // namespace libfreeze::internal
