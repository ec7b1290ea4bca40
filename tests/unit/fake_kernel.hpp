// SPDX-License-Identifier: LGPL-2.1-or-later
/// A small kernel for the unit tests: the holds of a patched kernel and the plain freeze of a stock
/// one, a mount table, file descriptors, and a clock that only moves on request. Any call can fail,
/// and any call or reading of the clock can be late.
#pragma once

#include "system.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace testing {

/// A system call of the library; for an ioctl, its name is that of the request.
struct Call {
    std::string name;
    int fd = -1;
    std::int64_t argument = 0;
    bool failed = false;
    dev_t superblock = 0;
};

struct FakeHold {
    pid_t owner = 0;
    bool live = true;
    std::optional<libfreeze::Clock::time_point> deadline;
};

/// A mounted filesystem.
struct FakeFilesystem {
    bool freezable = true;
    bool frozen = false;         ///< stock: by any process; patched: derived from the holds
    std::vector<FakeHold> holds; ///< patched; the newest last
    std::set<pid_t> entries;     ///< patched: processes that have frozen it
    std::uint64_t thaws = 0;     ///< times it became writable
};

/// A guardian, see guardian_main.c.
struct FakeGuardian {
    pid_t process = 0;
    dev_t superblock = 0;
    bool has_client = true;
    bool held = false;
    bool ended = false;
    std::optional<libfreeze::Clock::time_point> deadline; ///< stock
};

/// The file at a path.
struct FakeFile {
    mode_t mode = 0;
    dev_t superblock = 0;
    dev_t st_dev = 0; ///< differs from the superblock's on btrfs
    dev_t rdev = 0;
    std::uint64_t mount_id = 0;
};

class FakeKernel final : public libfreeze::System {
public:
    FakeKernel();
    FakeKernel(const FakeKernel&) = delete;
    FakeKernel& operator=(const FakeKernel&) = delete;
    FakeKernel(FakeKernel&&) = delete;
    FakeKernel& operator=(FakeKernel&&) = delete;
    ~FakeKernel() override;

    bool patched = true; ///< or stock
    /// All paths that exist.
    std::map<std::string, FakeFile> files;
    std::vector<libfreeze::Mount> table;
    /// Filesystems that are mounted when a directory is opened.
    std::map<std::string, FakeFile> automounts;
    std::map<dev_t, FakeFilesystem> filesystems;
    pid_t process = 100;

    /// The files of sysfs.
    std::map<std::string, std::string> sysfs;
    /// The superblocks below each superblock, and the number of requests that a real kernel would
    /// not have returned from: a freeze or thaw above a frozen filesystem.
    std::map<dev_t, std::set<dev_t>> stacked;
    std::size_t stuck = 0;
    /// Guardians that are alive, by channel. Freezes of blocking superblocks do not complete, nor
    /// do thaws of filesystems above them: requests with a deadline get no answer.
    std::map<int, FakeGuardian> guardians;
    std::set<dev_t> blocking;
    void kill_guardians();

    /// Called before each ioctl and syncfs, outside of all locks.
    std::function<void(const std::string& name, dev_t superblock)> on_request;

    /// The number of the call (from 0) that fails, and its errno. With `sticky`, all later calls of
    /// that name fail, too.
    std::optional<std::size_t> failing_call;
    int failing_errno = 0;
    bool sticky = false;
    /// Whether a request for a superblock fails, with failing_errno.
    std::function<bool(const std::string& name, dev_t superblock)> failing_request;
    std::vector<Call> calls;
    std::set<int> open_files;
    /// The call, and the reading of the clock (from 0), before which a long time passes.
    std::optional<std::size_t> late_call, late_reading;
    std::size_t readings = 0;

    /// A filesystem on a block device, at a path; the device is in /dev and sysfs.
    void mount(const std::string& path, dev_t device, const std::string& name);
    /// An inherited descriptor, such as standard error.
    void open_as(int fd, const std::string& path);
    void advance(std::chrono::nanoseconds time);
    bool is_frozen(dev_t superblock);
    /// Requests by another process; 0 or the errno.
    int foreign_freeze(pid_t who, dev_t superblock, std::int64_t seconds = 0);
    int foreign_thaw(pid_t who, dev_t superblock);
    /// Live holds of a process.
    std::size_t holds_of(pid_t who, dev_t superblock);
    [[nodiscard]] std::size_t count(const std::string& name) const;
    /// The superblocks that got a request, in order.
    [[nodiscard]] std::vector<dev_t> requested(const std::string& name) const;

    int openat(int directory, const char* path, int flags) override;
    int close(int fd) noexcept override;
    int fstat(int fd, struct stat* status) override;
    int ioctl(int fd, unsigned long request, std::int64_t* argument) override;
    int syncfs(int fd) override;
    pid_t getpid() noexcept override { return process; }
    libfreeze::Clock::time_point now() noexcept override;
    int mount_id(int fd, std::uint64_t* id) override;
    int mounts(std::vector<libfreeze::Mount>* result) override;
    int read_file(const std::string& path, std::string* text) override;
    int list_directory(const std::string& path, std::vector<std::string>* names) override;
    int mlockall(int flags) override;
    int start_guardian(int fd, const char* name) override;
    int ask_guardian(int channel, const guardian_request& request, guardian_reply* reply,
                     const libfreeze::Deadline& until) override;

    static constexpr dev_t ext4 = 0x801;
    static constexpr dev_t btrfs = 0x2a;
    static constexpr dev_t proc = 0x15;
    static constexpr dev_t devtmpfs = 0x06;

private:
    void announce(const std::string& name, int fd);
    bool fails(const std::string& name, int fd, std::int64_t argument);
    [[nodiscard]] dev_t superblock_of(int fd) const;
    int request(pid_t who, dev_t superblock, unsigned long code, const std::int64_t* argument);
    int stock_request(FakeFilesystem& filesystem, unsigned long code);
    int freeze(pid_t who, FakeFilesystem& filesystem, std::int64_t seconds);
    FakeHold* chosen(pid_t who, FakeFilesystem& filesystem);
    void expire();
    static bool has_ended(const FakeGuardian& guardian, const guardian_request& request);
    void end(std::map<int, FakeGuardian>::iterator guardian);
    bool blocks(const FakeGuardian& guardian, const guardian_request& request);
    int serve(FakeGuardian& guardian, const guardian_request& request);
    int freeze_for(FakeGuardian& guardian, std::int64_t seconds);
    int reset(FakeGuardian& guardian, std::int64_t seconds);
    int thaw(FakeGuardian& guardian);
    int rescue(FakeGuardian& guardian);
    void thaw_and_end(FakeGuardian& guardian);
    void settle(FakeFilesystem& filesystem);
    [[nodiscard]] std::optional<libfreeze::Clock::time_point>
    deadline_in(std::int64_t seconds) const;

    std::recursive_mutex mutex_; ///< the calls may come from several threads
    libfreeze::Clock::time_point now_{std::chrono::hours(1)};
    std::map<int, std::pair<std::string, int>> descriptors_; ///< path and flags
    std::set<pid_t> gone_;                                   ///< dead guardians
    int next_fd_ = 10;
};

} // namespace testing
