// SPDX-License-Identifier: LGPL-2.1-or-later
/// A small kernel for the unit tests: the plain freeze of a stock kernel and the holds of a patched
/// one, files, a mount table, /proc and /sys, and a clock that moves only on request. Any call can
/// fail, and any call or reading of the clock can be late.
#pragma once

#include "syscalls.hpp"

#include <libfreeze/ioctl.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace testing {

/// How much of the patches a kernel has.
enum class Patches {
    none,     ///< stock
    timeouts, ///< parts 1 and 2: holds with owners and deadlines
    all,      ///< part 3: descriptors and status
};

/// A system call of the library; for an ioctl, its name is that of the request.
struct Call {
    std::string name;
    int fd = -1;
    std::int64_t argument = 0; ///< openat, statx: the flags
    bool failed = false;
    dev_t superblock = 0;
    std::string path = {};
};

struct FakeHold {
    pid_t owner = 0;
    bool live = true;
    std::optional<libfreeze::internal::Clock::time_point> deadline;
    int descriptor = -1; ///< part 3; an eventfd that is readable once the hold has ended
    std::set<int> copies = {};
    std::string comment = {};
    libfreeze::internal::Clock::time_point since = {};
};

/// A filesystem in use.
struct FakeFilesystem {
    bool freezable = true;
    bool frozen = false;         ///< stock: by any process; patched: derived from the holds
    std::vector<FakeHold> holds; ///< patched; the newest last
    std::set<pid_t> entries;     ///< patched: processes that have frozen it
    std::uint64_t thaws = 0;     ///< times it became writable
};

/// The file at a path.
struct FakeFile {
    mode_t mode = 0;
    dev_t superblock = 0;
    dev_t st_dev = 0; ///< differs from the superblock's on btrfs
    dev_t rdev = 0;
    std::uint64_t mount_id = 0;
    std::uint64_t inode = 0;
};

/// An open file. It stays what it is when another gets its name.
struct FakeDescriptor {
    std::string path;
    int flags = 0;
    FakeFile file;
};

class FakeKernel : public libfreeze::internal::Syscalls {
public:
    FakeKernel();
    FakeKernel(const FakeKernel&) = delete;
    FakeKernel& operator=(const FakeKernel&) = delete;
    FakeKernel(FakeKernel&&) = delete;
    FakeKernel& operator=(FakeKernel&&) = delete;
    ~FakeKernel() override;

    Patches patches = Patches::timeouts;
    pid_t process = 100;
    /// The names of processes; others are "holder".
    std::map<pid_t, std::string> commands;
    /// All paths that exist, but those of `texts`.
    std::map<std::string, FakeFile> files;
    libfreeze::internal::MountTable table;
    /// Filesystems that are mounted when a directory is opened.
    std::map<std::string, FakeFile> automounts;
    std::map<dev_t, FakeFilesystem> filesystems;
    /// The files and symbolic links of /proc, /sys and /run.
    std::map<std::string, std::string> texts;
    std::map<std::string, std::string> links;
    /// Files that somebody else has locked.
    std::set<std::string> locked;
    /// What loop devices store their data in: st_dev and inode, by the path of the node.
    std::map<std::string, std::pair<dev_t, std::uint64_t>> loops;
    /// The inodes of the sockets at the other end, by descriptor.
    std::map<int, std::uint64_t> peers;
    /// Superblocks that are in use but not mounted, by the path of their device.
    std::map<std::string, dev_t> unmounted;
    bool has_mount_ids = true;
    /// A copy of another process's descriptor is of a file that it has put in the place.
    bool replaced_on_copy = false;

    /// Below these directories a server does not answer. The number of calls that a real kernel
    /// would not have returned from for that reason.
    std::set<std::string> dead;
    std::size_t hung = 0;
    /// FIFOs, sockets and devices that were opened, except loop devices.
    std::size_t opened_specials = 0;
    /// The superblocks below each superblock, and the number of requests that a real kernel would
    /// not have returned from: a freeze or thaw above a frozen filesystem.
    std::map<dev_t, std::set<dev_t>> stacked;
    std::size_t stuck = 0;

    /// Called before each ioctl and syncfs, and after each openat; outside of all locks.
    std::function<void(const std::string& name, dev_t superblock)> on_request;
    std::function<void(const std::string& path)> on_open;

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
    void mount(const std::string& path, dev_t device, const std::string& name,
               const std::string& type = "ext4");
    /// A block device in /dev and sysfs.
    void add_device(dev_t device, const std::string& name);
    /// A loop device over a file.
    void add_loop(dev_t device, const std::string& name, const std::string& file);
    /// An inherited descriptor, such as standard error.
    void open_as(int fd, const std::string& path, int flags);
    /// Another process, and its descriptors: what /proc/PID/fd shows, and the flags and mount id in
    /// fdinfo.
    void add_process(pid_t pid, const std::string& command);
    void add_descriptor(pid_t pid, int fd, const std::string& link, int flags,
                        std::uint64_t mount_id);

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

    /// For a guardian that runs in a thread of the test. Its descriptors are copies of those that
    /// openat() returned. A freeze of a blocking superblock waits for unblock(), or fails with
    /// EINTR if the kernel goes away.
    int guardian_ioctl(int fd, unsigned long request, void* argument, pid_t who);
    void block(dev_t superblock);
    void unblock(dev_t superblock);
    /// The process has exited: what it holds is there for an administrator first.
    void exit_process(pid_t who);

    libfreeze::internal::Clock::time_point now() noexcept override;
    void sleep(std::chrono::milliseconds time) noexcept override;
    int random(std::uint64_t* number) override;
    int openat(int directory, const char* path, int flags) override;
    int close(int fd) noexcept override;
    int statx(int fd, const char* path, int flags, unsigned int mask,
              struct ::statx* status) override;
    int ioctl(int fd, unsigned long request, void* argument) override;
    int get_flags(int fd) override;
    int socket_peer(int fd, std::uint64_t* inode) override;
    int open_unmounted(const std::string& device, const std::string& type) override;
    int memfd(const std::string& name) override;
    int get_descriptor(pid_t who, int fd) override;
    int syncfs(int fd) override;
    int flock(int fd, int operation) override;
    int ftruncate(int fd, off_t length) override;
    int unlink(const std::string& path) override;
    int epoll(const std::vector<int>& descriptors) override;
    int poll(pollfd* entries, nfds_t count, int timeout_ms) override;
    int mlockall(int flags) override;
    int munlockall() override;
    void* map_wiped_on_fork(std::size_t size) override;
    int mounts(libfreeze::internal::MountTable* result) override;
    int read_file(const std::string& path, std::string* text) override;
    int list_directory(const std::string& path, std::vector<std::string>* names) override;
    int read_link(const std::string& path, std::string* target) override;
    int connect(const std::string& path) override;
    ssize_t send(int fd, const void* data, std::size_t size, int passed) override;
    ssize_t recv(int fd, void* data, std::size_t size) override;
    int start_guardian() override;

    static constexpr dev_t ext4 = 0x801;
    static constexpr dev_t btrfs = 0x2a;
    static constexpr dev_t proc = 0x15;
    static constexpr dev_t devtmpfs = 0x06;

protected:
    /// Records a call. True, with errno, if it is to fail.
    bool fails(const std::string& name, int fd = -1, std::int64_t argument = 0,
               const std::string& path = {});
    /// The deadlines that have passed by now take effect.
    virtual void expire();

    std::recursive_mutex mutex_; ///< the calls may come from several threads

private:
    void announce(const std::string& name, int fd);
    [[nodiscard]] const FakeDescriptor* find(int fd) const;
    [[nodiscard]] dev_t superblock_of(int fd) const;
    [[nodiscard]] std::optional<FakeFile> file_at(const std::string& path) const;
    [[nodiscard]] std::string target_of(int directory, const std::string& path) const;
    std::optional<FakeDescriptor> look_up(int directory, const std::string& path, int flags);
    int open_new(FakeDescriptor descriptor);
    [[nodiscard]] bool is_dead(const std::string& path) const;

    int request(pid_t who, dev_t superblock, unsigned long code, void* argument);
    int patched_request(pid_t who, FakeFilesystem& filesystem, unsigned long code,
                        std::int64_t seconds);
    static int stock_request(FakeFilesystem& filesystem, unsigned long code);
    int freeze(pid_t who, FakeFilesystem& filesystem, std::int64_t seconds);
    int thaw(pid_t who, FakeFilesystem& filesystem);
    FakeHold* chosen(pid_t who, FakeFilesystem& filesystem);
    int part_three(dev_t superblock, unsigned long code, void* argument);
    int freeze_fd(dev_t superblock, const fsfreeze_args& arguments);
    int report_status(FakeFilesystem& filesystem, fsfreeze_status* status);
    int hold_request(int fd, unsigned long code, const void* argument);
    FakeHold* hold_with(int fd, FakeFilesystem** filesystem);
    int loop_status(const FakeDescriptor& descriptor, void* argument);
    static void end(FakeHold& hold);
    void settle(FakeFilesystem& filesystem);
    [[nodiscard]] std::optional<libfreeze::internal::Clock::time_point>
    deadline_in(std::int64_t seconds) const;

    std::condition_variable_any unblocked_;
    std::set<dev_t> blocking_;
    bool is_ending_ = false;
    libfreeze::internal::Clock::time_point now_{std::chrono::hours(1)};
    std::map<int, FakeDescriptor> descriptors_;
    std::map<std::uint64_t, FakeDescriptor> copies_; ///< by the inode of the real file
    std::set<pid_t> gone_;
    std::uint64_t next_random_ = 0x1000;
};

} // namespace testing
