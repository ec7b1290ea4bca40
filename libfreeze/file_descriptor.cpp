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

WatchedDescriptor::WatchedDescriptor(FileDescriptor fd) {
    FileDescriptor epoll(syscalls().epoll({fd.get()}));
    if (epoll) {
        fd_ = std::move(fd);
        epoll_ = std::move(epoll);
    }
}

WatchedDescriptor::~WatchedDescriptor() {
    if (fd_ && !is_open()) {
        static_cast<void>(fd_.release());
        static_cast<void>(epoll_.release());
    }
}

bool WatchedDescriptor::is_open() const noexcept {
    return fd_ && syscalls().is_watched(epoll_.get(), fd_.get());
}

int retry_ioctl(int fd, unsigned long request, void* argument) {
    int result = -1;
    do {
        result = syscalls().ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    return result;
}

} // namespace libfreeze::internal
