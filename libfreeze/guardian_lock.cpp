// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guardian_lock.hpp"

#include "file_descriptor.hpp"
#include "guardian_client.hpp"
#include "sysfs.hpp"

#include <fcntl.h>
#include <sys/file.h>

namespace libfreeze::internal {

namespace {

FileDescriptor open_lock(dev_t superblock, int flags) {
    return open_at(AT_FDCWD, guardian_path(superblock, ".lock").c_str(),
                   flags | O_NOFOLLOW | O_NONBLOCK);
}

} // namespace

GuardianLock look_at_lock(dev_t superblock) {
    const FileDescriptor lock = open_lock(superblock, O_RDONLY);
    if (!lock) {
        return GuardianLock::none;
    }
    if (syscalls().flock(lock.get(), LOCK_SH | LOCK_NB) != 0) {
        return GuardianLock::locked;
    }
    const std::string text = read_text(guardian_path(superblock, ".lock")).value_or("");
    return text.compare(0, 6, "frozen") == 0 ? GuardianLock::abandoned : GuardianLock::none;
}

void clear_abandoned_lock(dev_t superblock) {
    const FileDescriptor lock = open_lock(superblock, O_RDWR);
    if (lock && syscalls().flock(lock.get(), LOCK_EX | LOCK_NB) == 0) {
        syscalls().ftruncate(lock.get(), 0);
    }
}

} // namespace libfreeze::internal
