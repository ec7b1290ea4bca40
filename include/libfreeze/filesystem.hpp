// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/freeze.h>

#include <filesystem>
#include <string>

#include <sys/sysmacros.h>
#include <sys/types.h>

namespace libfreeze {

/// A filesystem as the mount table of the calling thread shows it. A member is empty if the
/// table does not have it.
struct Filesystem {
    /// The path that the caller gave.
    std::filesystem::path path;
    /// Where it is mounted. Empty if only in another mount namespace, or if it is detached.
    std::filesystem::path mountpoint;
    /// Its type ("ext4").
    std::string type;
    /// The mounted device, for most types.
    std::string source;
    /// The device number of the superblock.
    dev_t device = 0;
};

namespace detail {

inline Filesystem convert(const libfreeze_filesystem& from) {
    return {from.path, from.mountpoint, from.type, from.source,
            makedev(from.device_major, from.device_minor)};
}

} // namespace detail

} // namespace libfreeze
