// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <filesystem>

namespace bench {

/// Writes out all dirty data of a filesystem.
void write_out(const std::filesystem::path& mountpoint);

/// Makes a file of this size that is only in memory, in an otherwise clean filesystem. Removes the
/// file of the previous call before, and writes the removal out.
void make_dirty(const std::filesystem::path& mountpoint, unsigned int mebibytes);

/// Throws CannotMeasure if there is much less dirty data: the kernel has already begun to write it
/// out.
void require_dirty(unsigned int mebibytes);

} // namespace bench
