// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stack.hpp"

#include "file_descriptor.hpp"
#include "sysfs.hpp"
#include "target.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/sysmacros.h>

namespace libfreeze::internal {

namespace {

/// A file by the numbers that stat(2) reports.
struct FileId {
    dev_t device = 0; ///< st_dev
    std::uint64_t inode = 0;
};

struct FileStatus {
    FileId id;
    mode_t mode = 0;
    dev_t rdev = 0;
};

std::optional<FileStatus> status_of(int fd) {
    struct statx status {};
    if (fd < 0 || syscalls().statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                                   STATX_TYPE | STATX_INO, &status) != 0) {
        return std::nullopt;
    }
    return FileStatus{{makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino},
                      status.stx_mode,
                      makedev(status.stx_rdev_major, status.stx_rdev_minor)};
}

/// LOOP_GET_STATUS64 has device numbers in the kernel's encoding.
dev_t decoded(std::uint64_t number) {
    const auto value = static_cast<std::uint32_t>(number);
    return makedev((value & 0xfff00U) >> 8U, (value & 0xffU) | ((value >> 12U) & 0xfff00U));
}

/// The file that a loop device stores its data in. Its own node answers, so that no name is
/// trusted. None if it cannot be asked.
std::optional<FileId> backing_file(dev_t loop) {
    const std::string node = "/dev/" + device_name(loop);
    const FileDescriptor path = open_at(AT_FDCWD, node.c_str(), O_PATH | O_NOFOLLOW);
    const std::optional<FileStatus> status = status_of(path.get());
    if (!status || !S_ISBLK(status->mode) || status->rdev != loop) {
        return std::nullopt;
    }
    const FileDescriptor fd = open_at(AT_FDCWD, node.c_str(), O_RDONLY | O_NONBLOCK);
    const std::optional<FileStatus> opened = status_of(fd.get());
    loop_info64 info{};
    if (!opened || opened->rdev != loop ||
        syscalls().ioctl(fd.get(), LOOP_GET_STATUS64, &info) != 0) {
        return std::nullopt;
    }
    return FileId{decoded(info.lo_device), info.lo_inode};
}

class Walk final {
public:
    explicit Walk(const MountTable& table) : table_(table) {}

    Stack under(dev_t superblock) {
        visit_superblock(superblock);
        const Mount* const mount = find_mount_by_device(table_, superblock);
        found_.place =
            mount == nullptr ? table_.size() : static_cast<std::size_t>(mount - table_.data());
        return std::move(found_);
    }

private:
    std::optional<std::string> read(const std::string& path);
    std::vector<std::string> list(const std::string& path);

    void visit_superblock(dev_t number);
    void add_superblock(dev_t number);
    void visit_named(const std::string& path);
    void visit_file(int fd);
    void visit_btrfs(const Mount& mount);
    void visit_journal(dev_t device);
    void visit_device(dev_t number);
    void visit_device_in(const std::string& file);
    void visit_loop(dev_t number, const std::string& directory);
    std::optional<dev_t> superblock_of_file(const FileId& file, const std::string& name);
    std::optional<dev_t> btrfs_with(dev_t subvolume);

    const MountTable& table_;
    Stack found_;
};

std::optional<std::string> Walk::read(const std::string& path) {
    std::optional<std::string> text = read_text(path);
    found_.complete = found_.complete && (text || errno == ENOENT);
    return text;
}

std::vector<std::string> Walk::list(const std::string& path) {
    errno = 0;
    std::vector<std::string> names = list_names(path);
    found_.complete = found_.complete && (!names.empty() || errno == 0 || errno == ENOENT);
    return names;
}

void Walk::visit_superblock(dev_t number) {
    const bool has_device = major(number) != 0;
    if (has_device) {
        visit_device(number);
    }
    const Mount* const mount = find_mount_by_device(table_, number);
    if (mount == nullptr) {
        found_.complete = found_.complete && has_device;
        return;
    }
    if (mount->type == "ext4" || mount->type == "ext3") {
        visit_journal(number);
    }
    if (mount->type == "btrfs") {
        visit_btrfs(*mount);
    } else if (!has_device && !mount->source.empty() && mount->source.front() == '/') {
        visit_named(mount->source);
    }
    for (const std::string& store : mount->stores) {
        visit_named(store);
    }
}

void Walk::add_superblock(dev_t number) {
    if (found_.superblocks.insert(number).second) {
        visit_superblock(number);
    }
}

/// A file, directory or device that the mount table names. A server that does not answer is not
/// waited for.
void Walk::visit_named(const std::string& path) {
    const Mount* const mount = find_mount_by_name(table_, path);
    if (mount != nullptr && may_be_remote(*mount)) {
        add_superblock(mount->device);
        return;
    }
    visit_file(open_at(AT_FDCWD, path.c_str(), O_PATH).get());
}

void Walk::visit_file(int fd) {
    const std::optional<FileStatus> status = status_of(fd);
    if (!status) {
        found_.complete = false;
    } else if (S_ISBLK(status->mode)) {
        visit_device(status->rdev);
    } else if (const std::optional<dev_t> superblock = superblock_of(fd, table_)) {
        add_superblock(*superblock);
    } else {
        found_.complete = false;
    }
}

/// The mount table names only one of its devices.
void Walk::visit_btrfs(const Mount& mount) {
    const FileDescriptor fd = open_at(AT_FDCWD, mount.source.c_str(), O_PATH);
    const std::optional<FileStatus> source = status_of(fd.get());
    const std::string all = "/sys/fs/btrfs";
    for (const std::string& uuid : source ? list(all) : std::vector<std::string>()) {
        const std::string directory = all + "/" + uuid + "/devices";
        std::vector<dev_t> devices;
        for (const std::string& name : list(directory)) {
            devices.push_back(read_device_number(directory + "/" + name + "/dev").value_or(0));
        }
        if (std::find(devices.begin(), devices.end(), source->rdev) != devices.end()) {
            std::for_each(devices.begin(), devices.end(), [this](dev_t d) { visit_device(d); });
            return;
        }
    }
    found_.complete = false;
}

/// ext4 writes to its external journal too. Its journal thread is named after that device.
void Walk::visit_journal(dev_t device) {
    std::string name = device_name(device);
    std::replace(name.begin(), name.end(), '/', '!'); // as sysfs and the thread have it
    const std::string task = read("/sys/fs/ext4/" + name + "/journal_task").value_or("");
    if (task.empty() || task.front() == '<') { // older kernel; no journal
        return;
    }
    const std::string thread = read("/proc/" + first_line(task) + "/comm").value_or("");
    const std::string prefix = "jbd2/";
    if (thread.compare(0, prefix.size(), prefix) != 0) { // not visible in this PID namespace
        const auto journals = list("/proc/fs/jbd2");
        const bool is_internal =
            std::any_of(journals.begin(), journals.end(), [&](const std::string& journal) {
                return journal.compare(0, name.size() + 1, name + "-") == 0;
            });
        found_.complete = found_.complete && is_internal;
        return;
    }
    const std::string journal = first_line(thread).substr(prefix.size());
    if (journal.compare(0, name.size() + 1, name + "-") != 0) { // inside: "sda1-8"
        visit_device_in("/sys/class/block/" + journal + "/dev");
    }
}

/// The device whose number is in a file of sysfs that must be there.
void Walk::visit_device_in(const std::string& file) {
    if (const std::optional<dev_t> number = read_device_number(file)) {
        visit_device(*number);
    } else {
        found_.complete = false;
    }
}

/// Served by a program, which may store the data anywhere.
bool is_served_by_program(const std::string& name) {
    return name.compare(0, 3, "nbd") == 0 || name.compare(0, 5, "ublkb") == 0;
}

void Walk::visit_device(dev_t number) {
    if (!found_.devices.insert(number).second) {
        return;
    }
    const std::string directory = device_directory(number);
    if (!read_device_number(directory + "/dev") || is_served_by_program(device_name(number))) {
        found_.complete = false;
    }
    for (const std::string& name : list(directory + "/slaves")) {
        visit_device_in(directory + "/slaves/" + name + "/dev");
    }
    if (read(directory + "/partition")) {
        visit_device_in(directory + "/../dev");
    }
    if (read(directory + "/dm/suspended").value_or("") == "1\n") {
        found_.suspended = true;
    }
    if (const auto name = read(directory + "/loop/backing_file")) {
        visit_loop(number, name->substr(0, name->size() - 1)); // the newline at its end
    }
}

void Walk::visit_loop(dev_t number, const std::string& name) {
    const std::optional<FileId> file = backing_file(number);
    const std::optional<dev_t> superblock =
        file ? superblock_of_file(*file, name) : std::optional<dev_t>();
    if (superblock) {
        add_superblock(*superblock);
    } else {
        found_.complete = false;
    }
}

/// From st_dev to the superblock, which has another number on btrfs. `name` is only a hint: it may
/// be of another mount namespace, or another mount may hide the file.
std::optional<dev_t> Walk::superblock_of_file(const FileId& file, const std::string& name) {
    if (major(file.device) != 0 || find_mount_by_device(table_, file.device) != nullptr) {
        return file.device;
    }
    if (const std::optional<dev_t> superblock = btrfs_with(file.device)) {
        return superblock;
    }
    const Mount* const mount = find_mount_by_name(table_, name);
    if (mount == nullptr || may_be_remote(*mount)) {
        return std::nullopt;
    }
    const FileDescriptor fd = open_at(AT_FDCWD, name.c_str(), O_PATH);
    const std::optional<FileStatus> status = status_of(fd.get());
    const bool is_it = status && status->id.device == file.device && status->id.inode == file.inode;
    return is_it ? superblock_of(fd.get(), table_) : std::nullopt;
}

/// The btrfs of which a subvolume with this st_dev is mounted.
std::optional<dev_t> Walk::btrfs_with(dev_t subvolume) {
    for (const Mount& mount : table_) {
        if (mount.type != "btrfs") {
            continue;
        }
        const FileDescriptor fd = open_at(AT_FDCWD, mount.target.c_str(), O_PATH);
        const std::optional<FileStatus> status = status_of(fd.get());
        if (status && status->id.device == subvolume) {
            return superblock_of(fd.get(), table_);
        }
    }
    return std::nullopt;
}

} // namespace

Stack stack_under(dev_t superblock, const MountTable& table) {
    return Walk(table).under(superblock);
}

} // namespace libfreeze::internal
