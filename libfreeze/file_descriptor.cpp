// SPDX-License-Identifier: LGPL-2.1-or-later
#include "file_descriptor.hpp"

#include <cerrno>

#include <fcntl.h>

namespace libfreeze::internal {

FileDescriptor open_at(int directory, const char* path, int flags) {
    int fd = -1;
    do {
        fd = syscalls().openat(directory, path, flags | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    return FileDescriptor(fd);
}

} // namespace libfreeze::internal
