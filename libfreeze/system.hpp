// SPDX-License-Identifier: LGPL-2.1-or-later
/// The seam between the library and the operating system: every call that can fail goes through it,
/// so that the unit tests can make each one fail.
#pragma once

#include "guardian_protocol.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <sys/types.h>

namespace libfreeze {

using Clock =
    std::chrono::steady_clock; // CLOCK_MONOTONIC: like the kernel's deadlines it stops in suspend

/// No value: never.
using Deadline = std::optional<Clock::time_point>;

/// One line of the mount table.
struct Mount {
    std::uint64_t id = 0;
    dev_t device = 0; // of the superblock; on btrfs not what stat(2) says
    std::filesystem::path target;
    std::string type;
    std::string source;
    /// Devices and directories beside the source that it writes to (overlay's upper directory,
    /// XFS's log).
    std::vector<std::string> stores = {};
};

/// The operating system. The calls return what the system calls of their name return, with errno.
class System {
public:
    System() = default;
    System(const System&) = delete;
    System& operator=(const System&) = delete;
    System(System&&) = delete;
    System& operator=(System&&) = delete;
    virtual ~System() = default;

    virtual int openat(int directory, const char* path, int flags);
    virtual int close(int fd) noexcept;
    virtual int fstat(int fd, struct stat* status);
    virtual int ioctl(int fd, unsigned long request, std::int64_t* argument);
    virtual int syncfs(int fd);
    virtual pid_t getpid() noexcept;
    virtual Clock::time_point now() noexcept;
    /// The id of the mount that an open file was reached through; -1 where the kernel does not tell
    /// (before 5.8).
    virtual int mount_id(int fd, std::uint64_t* id);
    /// The mount table of this thread; -1 if it cannot be read (no /proc).
    virtual int mounts(std::vector<Mount>* table);
    /// All of one of sysfs's files.
    virtual int read_file(const std::string& path, std::string* text);
    /// The names in a directory.
    virtual int list_directory(const std::string& path, std::vector<std::string>* names);
    virtual int mlockall(int flags);
    /// A channel to a new guardian of what `fd` is on, mounted at `name`; -1 if it cannot start.
    virtual int start_guardian(int fd, const char* name);
    /// -1 and ETIMEDOUT if there is no reply by then, EPIPE if it was dead before, ECONNRESET if it
    /// has died since.
    virtual int ask_guardian(int channel, const guardian_request& request, guardian_reply* reply,
                             const Deadline& until);
};

/// The one in use.
System& the_system() noexcept;

/// For tests: puts another in its place; nullptr brings the real one back.
void set_system(System* replacement) noexcept;

} // namespace libfreeze
