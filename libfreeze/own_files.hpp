// SPDX-License-Identifier: LGPL-2.1-or-later
/// What a process that freezes a filesystem could block on.
#pragma once

#include "mount_table.hpp"
#include "stack.hpp"

#include <string>
#include <vector>

#include <sys/types.h>

namespace libfreeze::internal {

/// A file that this process has open for writing, or that the system swaps to.
struct OwnFile {
    dev_t superblock = 0;
    std::string name;
    bool is_likely = false; ///< to be written to while its filesystem is frozen
};

/// Those that are known; of very many that are unlikely, not all. Opens nothing on the filesystems
/// in question and never blocks on them.
std::vector<OwnFile> own_files(const MountTable& table);

/// Why this process would block on its freeze of `superblock`: its standard output, standard error
/// or a log (a file opened to append) is there, or on a filesystem stacked on it, or a swap file.
/// Lists some of the files that it has open for writing there. Empty if nothing of this is known.
std::string why_it_would_deadlock(const std::vector<OwnFile>& files, dev_t superblock,
                                  const MountTable& table);

/// Whether writing to an open file could wait for the thaw of one of these. Unknown counts as yes.
bool writes_to(int fd, const std::vector<dev_t>& superblocks);

} // namespace libfreeze::internal
