// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "syscalls.hpp"

#include <utility>

namespace libfreeze::internal {

/// Owns a file descriptor.
class FileDescriptor final {
public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    ~FileDescriptor() {
        if (fd_ >= 0) {
            syscalls().close(fd_);
        }
    }

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    explicit operator bool() const noexcept { return fd_ >= 0; }

private:
    int fd_ = -1;
};

/// Owns a file descriptor whose number may come to mean another file, because the program closes
/// descriptors that are not its own. Never uses or closes another file.
class WatchedDescriptor final {
public:
    WatchedDescriptor() = default;
    /// Takes a descriptor that can be polled. Empty, and errno, if it cannot be watched; it is
    /// closed then.
    explicit WatchedDescriptor(FileDescriptor fd);
    WatchedDescriptor(WatchedDescriptor&& other) noexcept = default;
    WatchedDescriptor& operator=(WatchedDescriptor&& other) noexcept = default;
    WatchedDescriptor(const WatchedDescriptor&) = delete;
    WatchedDescriptor& operator=(const WatchedDescriptor&) = delete;
    ~WatchedDescriptor();

    [[nodiscard]] int get() const noexcept { return fd_.get(); }
    /// Whether the number still means this file.
    [[nodiscard]] bool is_open() const noexcept;
    explicit operator bool() const noexcept { return static_cast<bool>(fd_); }

private:
    FileDescriptor fd_;
    FileDescriptor epoll_; ///< watches fd_, which tells the two from all other files
};

/// openat(2), close-on-exec, again if a signal interrupts it. Errors: an empty descriptor and
/// errno.
FileDescriptor open_at(int directory, const char* path, int flags);

/// ioctl(2), again if a signal interrupts it.
int retry_ioctl(int fd, unsigned long request, void* argument);

} // namespace libfreeze::internal
