// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <filesystem>

namespace bench {

/// Writes out all that is dirty in a filesystem.
void write_out(const std::filesystem::path& mountpoint);

/// A new file of so many MiB that is in memory only, in a filesystem that was clean before. What it
/// had of the last time is removed, and the removal written out.
void make_dirty(const std::filesystem::path& mountpoint, unsigned int mebibytes);

/// Throws CannotMeasure if this machine has not about so many MiB to write out: the kernel has
/// begun already.
void require_dirty(unsigned int mebibytes);

} // namespace bench
