// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include <sys/types.h>

namespace libfreeze::internal {

/// A filesystem as the mount table of the calling thread shows it. Empty where it does not.
struct Filesystem {
    std::string path; ///< the one that the caller gave
    std::string mountpoint = {};
    std::string type = {};
    std::string source = {};
    dev_t device = 0; ///< of the superblock; on btrfs not what stat(2) says
};

} // namespace libfreeze::internal
