// SPDX-License-Identifier: LGPL-2.1-or-later
/// Filesystems that are in use but mounted nowhere, as after umount(8) of a frozen one.
#pragma once

#include <string>

#include <sys/types.h>

namespace libfreeze::internal {

/// The type of the filesystem on a block device, if it is in use, mounted or not. Empty if none is.
std::string type_in_use(dev_t device);

/// Syscalls::open_unmounted().
int open_unmounted_filesystem(const char* device, const char* type);

} // namespace libfreeze::internal
