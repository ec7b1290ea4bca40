// SPDX-License-Identifier: LGPL-2.1-or-later
/// The programs at the other end of a pipe or socket, and what they may write to.
#pragma once

#include "mount_table.hpp"

#include <string>
#include <vector>

#include <sys/types.h>

namespace libfreeze::internal {

/// A file that a reader has open for writing.
struct ReaderFile {
    dev_t superblock = 0;
    std::string path;
    std::string command; ///< of the reader
    pid_t pid = 0;
};

struct ReaderFiles {
    std::vector<ReaderFile> files; ///< the first of each reader on each superblock
    bool complete = true;          ///< false: there was no time to look at all processes
};

/// Finds the other processes that read from the pipe or socket `fd`; none if it is neither. Takes
/// at most 300 ms, or little if the readers are still those of a recent call. Blocks
/// on no filesystem.
ReaderFiles files_of_readers(int fd, const MountTable& table);

/// Makes the next call search anew, for tests.
void forget_readers() noexcept;

} // namespace libfreeze::internal
