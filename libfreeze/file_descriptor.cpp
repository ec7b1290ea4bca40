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

int retry_ioctl(int fd, unsigned long request, void* argument) {
    int result = -1;
    do {
        result = syscalls().ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    return result;
}

} // namespace libfreeze::internal
