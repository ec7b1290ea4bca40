// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <filesystem>
#include <string>

namespace libfreeze {

/// The filesystem that a path names, as the mount table of the calling thread shows it.
struct Filesystem {
    /// The path that the caller gave.
    std::filesystem::path path;
    /// Where it is mounted. Empty if it is mounted only in another mount namespace, or detached.
    std::filesystem::path mountpoint;
    /// Its type ("ext4"). Empty where the mountpoint is.
    std::string type;
    /// What is mounted there, mostly a device. Empty where the mountpoint is.
    std::string source;
};

} // namespace libfreeze
