// SPDX-License-Identifier: LGPL-2.1-or-later
/// The lock file of a guardian (guardian/PROTOCOL.md).
#pragma once

#include <sys/types.h>

namespace libfreeze::internal {

enum class GuardianLock {
    none,
    locked,    ///< a guardian lives
    abandoned, ///< a guardian was killed while its filesystem was frozen
};

GuardianLock look_at_lock(dev_t superblock);

/// After the thaw of a filesystem whose guardian was killed.
void clear_abandoned_lock(dev_t superblock);

} // namespace libfreeze::internal
