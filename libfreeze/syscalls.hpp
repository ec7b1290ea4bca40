// SPDX-License-Identifier: LGPL-2.1-or-later
/// The seam between the library and the operating system: every call that can fail goes through it,
/// so that the unit tests can make each one fail.
#pragma once

#include "mount_table.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <poll.h>
#include <sys/stat.h>
#include <sys/types.h>

namespace libfreeze::internal {

/// CLOCK_MONOTONIC: like the kernel's deadlines it stops while the machine is suspended.
using Clock = std::chrono::steady_clock;

/// No value: never.
using Deadline = std::optional<Clock::time_point>;

/// The operating system. The calls return what the system calls of their name return, with errno.
class Syscalls {
public:
    Syscalls() = default;
    Syscalls(const Syscalls&) = delete;
    Syscalls& operator=(const Syscalls&) = delete;
    Syscalls(Syscalls&&) = delete;
    Syscalls& operator=(Syscalls&&) = delete;
    virtual ~Syscalls() = default;

    virtual Clock::time_point now() noexcept;
    virtual void sleep(std::chrono::milliseconds time) noexcept;
    virtual int random(std::uint64_t* number);

    virtual int openat(int directory, const char* path, int flags);
    virtual int close(int fd) noexcept;
    virtual int statx(int fd, const char* path, int flags, unsigned int mask,
                      struct ::statx* status);
    virtual int ioctl(int fd, unsigned long request, void* argument);
    /// The flags of an open file (F_GETFL).
    virtual int get_flags(int fd);
    /// The inode of the UNIX socket that is connected to one of this process.
    virtual int socket_peer(int fd, std::uint64_t* inode);
    /// A directory of the filesystem on a block device that is mounted nowhere but still in use; -1
    /// with ENXIO if it is not in use. Never writes to the device.
    virtual int open_unmounted(const std::string& device, const std::string& type);
    /// A new, empty file in memory, with a name for /proc.
    virtual int memfd(const std::string& name);
    /// A copy of another process's descriptor.
    virtual int get_descriptor(pid_t process, int fd);
    virtual int syncfs(int fd);
    virtual int flock(int fd, int operation);
    virtual int ftruncate(int fd, off_t length);
    virtual int unlink(const std::string& path);
    /// A new descriptor that is readable when any of these is readable or hung up.
    virtual int epoll(const std::vector<int>& descriptors);
    /// Whether `epoll` is an epoll descriptor that was made for this open file under this number.
    virtual bool is_watched(int epoll, int fd) noexcept;
    virtual int poll(pollfd* entries, nfds_t count, int timeout_ms);
    virtual int mlockall(int flags);
    virtual int munlockall();
    /// An anonymous mapping that is zero in forked children (MADV_WIPEONFORK); null on failure.
    virtual void* map_wiped_on_fork(std::size_t size);

    /// The mount table of this thread; -1 if it cannot be read (no /proc).
    virtual int mounts(MountTable* table);
    /// A whole file of /proc, /sys or /run.
    virtual int read_file(const std::string& path, std::string* text);
    /// The names in a directory, without . and ..
    virtual int list_directory(const std::string& path, std::vector<std::string>* names);
    virtual int read_link(const std::string& path, std::string* target);

    /// A connected stream socket, not blocking; -1 at once if nobody listens there.
    virtual int connect(const std::string& path);
    /// sendmsg(2) with a descriptor (SCM_RIGHTS), unless it is -1.
    virtual ssize_t send(int fd, const void* data, std::size_t size, int passed);
    virtual ssize_t recv(int fd, void* data, std::size_t size);
    virtual int shutdown(int fd) noexcept;
    /// A channel to a guardian that this process has executed; -1 if it cannot.
    virtual int start_guardian();
};

/// The one in use.
Syscalls& syscalls() noexcept;

/// For tests: puts another in its place; nullptr brings the real one back.
void set_syscalls(Syscalls* replacement) noexcept;

} // namespace libfreeze::internal
