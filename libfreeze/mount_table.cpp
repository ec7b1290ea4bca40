// SPDX-License-Identifier: LGPL-2.1-or-later
#include "mount_table.hpp"

#include "syscalls.hpp"

#include <algorithm>

namespace libfreeze::internal {

namespace {

template <typename Matches>
const Mount* find_mount(const MountTable& table, Matches matches) {
    const auto found = std::find_if(table.begin(), table.end(), matches);
    return found == table.end() ? nullptr : &*found;
}

/// Whether `path` is `directory` or below it.
bool is_below(const std::string& path, const std::string& directory) {
    if (directory == "/") {
        return !path.empty() && path.front() == '/';
    }
    return path.compare(0, directory.size(), directory) == 0 &&
           (path.size() == directory.size() || path[directory.size()] == '/');
}

} // namespace

MountTable read_mount_table() {
    MountTable table;
    if (syscalls().mounts(&table) != 0) {
        table.clear();
    }
    return table;
}

const Mount* find_mount_by_id(const MountTable& table, std::uint64_t id) {
    return find_mount(table, [id](const Mount& mount) { return mount.id == id; });
}

const Mount* find_mount_by_device(const MountTable& table, dev_t device) {
    return find_mount(table, [device](const Mount& mount) { return mount.device == device; });
}

const Mount* find_mount_by_name(const MountTable& table, const std::string& path) {
    const Mount* best = nullptr;
    for (const Mount& mount : table) {
        const bool is_longer = best == nullptr || mount.target.size() >= best->target.size();
        if (is_longer && is_below(path, mount.target)) {
            best = &mount;
        }
    }
    return best;
}

bool may_be_remote(const Mount& mount) {
    static const char* const local[] = {"btrfs",   "bcachefs", "devtmpfs", "ext2",   "ext3",
                                        "ext4",    "f2fs",     "gfs2",     "jfs",    "nilfs2",
                                        "overlay", "proc",     "ramfs",    "rootfs", "squashfs",
                                        "sysfs",   "tmpfs",    "xfs",      "zfs",    "vfat",
                                        "erofs",   "reiserfs", "iso9660",  "exfat",  "ntfs3"};
    return std::find(std::begin(local), std::end(local), mount.type) == std::end(local);
}

} // namespace libfreeze::internal
