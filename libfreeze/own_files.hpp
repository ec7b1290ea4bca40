// SPDX-License-Identifier: LGPL-2.1-or-later
/// What a process could block on that freezes a filesystem.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace libfreeze {

/// A regular file that this process has open for writing, or that the system swaps to.
struct OwnFile {
    dev_t superblock = 0;
    std::string name;
    bool is_likely = false; ///< to be written to while its filesystem is frozen
};

/// All that are known of.
std::vector<OwnFile> own_files();

/// Why this process would block on what it freezes: its standard output, standard error or a log
/// (a file opened to append) is there, or a swap file. With the names of all files that it has open
/// for writing there. Empty if nothing of this is known.
std::string why_it_would_deadlock(const std::vector<OwnFile>& files, dev_t superblock);

} // namespace libfreeze
