// SPDX-License-Identifier: LGPL-2.1-or-later
#include "freezable.hpp"

#include "kernel_features.hpp"
#include "sysfs.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <sstream>
#include <string_view>

namespace libfreeze::internal {

namespace {

/// Those of mainline Linux that can be frozen.
constexpr std::array<std::string_view, 11> freezable_types{"ext2",   "ext3",     "ext4",    "xfs",
                                                           "btrfs",  "f2fs",     "gfs2",    "jfs",
                                                           "nilfs2", "reiserfs", "bcachefs"};

/// Those on a block device that cannot.
constexpr std::array<std::string_view, 18> unfreezable_types{
    "vfat",  "msdos", "exfat", "ntfs", "ntfs3",   "fuseblk", "iso9660", "udf",  "squashfs",
    "erofs", "minix", "ufs",   "hfs",  "hfsplus", "ocfs2",   "zonefs",  "omfs", "cramfs"};

template <typename List>
bool contains(const List& list, std::string_view value) {
    return std::find(list.begin(), list.end(), value) != list.end();
}

/// Whether the kernel marks the type as one without a block device. None of these can be frozen.
bool has_no_device(const std::string& type) {
    std::istringstream lines(read_text("/proc/filesystems").value_or(""));
    for (std::string line; std::getline(lines, line);) {
        if (line == "nodev\t" + type) {
            return true;
        }
    }
    return false;
}

} // namespace

Freezable freezable_by_type(const std::string& type) {
    if (contains(freezable_types, type)) {
        return {1};
    }
    if (contains(unfreezable_types, type)) {
        return {0, "filesystems of this type cannot be frozen"};
    }
    if (has_no_device(type.substr(0, type.find('.')))) { // "fuse.sshfs"
        return {0, "filesystems without a block device cannot be frozen"};
    }
    return {-1, "it is not known whether filesystems of this type can be frozen"};
}

Freezable freezable_by_kernel(int fd, const Freezable& by_type) {
    const int answer = ask_if_freezable(fd);
    if (answer == EOPNOTSUPP) {
        return {0, "the kernel reports that it cannot be frozen"};
    }
    return answer == 0 ? Freezable{1} : by_type;
}

} // namespace libfreeze::internal
