// SPDX-License-Identifier: LGPL-2.1-or-later
/// What a process could block on that freezes a filesystem.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace libfreeze {

/// Why this process would block on what it freezes: its standard output, standard error or a log
/// (a file opened to append) is there, or a swap file. With the names of all files that it has open
/// for writing there. Empty if nothing of this is known.
std::string why_it_would_deadlock(const std::vector<dev_t>& superblocks);

} // namespace libfreeze
