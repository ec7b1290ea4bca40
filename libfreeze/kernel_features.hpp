// SPDX-License-Identifier: LGPL-2.1-or-later
/// What the running kernel's freeze ioctls can do. All are asked by requests that change nothing.
#pragma once

#include <libfreeze/ioctl.h>

#include <vector>

namespace libfreeze::internal {

/// 0: the kernel has timeouts (part 2 of the patches). ENOTTY: it has not. EPERM: the caller lacks
/// CAP_SYS_ADMIN.
int ask_for_timeouts(int fd);

/// The same for freeze descriptors (part 3).
int ask_for_descriptors(int fd);

/// 0: the filesystem can be frozen. EOPNOTSUPP: it cannot. Others: the kernel does not tell.
int ask_if_freezable(int fd);

/// The kernel's status of a filesystem, with its holders if the caller may see them. 0 or an errno;
/// ENOTTY: the kernel has no status.
int read_kernel_status(int fd, fsfreeze_status* status, std::vector<fsfreeze_holder>* holders);

} // namespace libfreeze::internal
