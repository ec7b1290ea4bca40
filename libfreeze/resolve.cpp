// SPDX-License-Identifier: LGPL-2.1-or-later
#include "resolve.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

namespace libfreeze {

namespace {

using MountTable = std::vector<Mount>;

/// Where an open file is. Mount ids tell filesystems apart safely: unlike st_dev they are right on
/// btrfs, whose subvolumes each have an st_dev of their own, and unlike names they are not fooled
/// by mounts over mounts.
struct Place {
    struct stat status {};
    std::optional<std::uint64_t> mount_id;
    const Mount* mount =
        nullptr; // none if it is in another mount namespace, detached, or there is no /proc
};

const Mount* find_mount(const MountTable& table, std::uint64_t id) {
    const auto found = std::find_if(table.begin(), table.end(),
                                    [id](const Mount& mount) { return mount.id == id; });
    return found == table.end() ? nullptr : &*found;
}

/// False, with errno, if fstat fails. That the mount is not known is no failure.
bool locate(int fd, const MountTable& table, Place* place) {
    if (the_system().fstat(fd, &place->status) != 0) {
        return false;
    }
    std::uint64_t id = 0;
    if (the_system().mount_id(fd, &id) == 0) {
        place->mount_id = id;
        place->mount = find_mount(table, id);
    }
    return true;
}

dev_t superblock_at(const Place& place) {
    return place.mount != nullptr ? place.mount->device : place.status.st_dev;
}

bool same_superblock(const Place& a, const Place& b) {
    if (a.mount_id && b.mount_id && *a.mount_id == *b.mount_id) {
        return true;
    }
    if (a.mount != nullptr && b.mount != nullptr) {
        return a.mount->device == b.mount->device;
    }
    return a.status.st_dev == b.status.st_dev;
}

/// Whether `mount` is of the filesystem on block device `device`, of one with several devices too
/// (btrfs): there the superblock's number is no device's, and only the first device is named.
bool is_mounted_from(const Mount& mount, dev_t device) {
    if (mount.device == device) {
        return true;
    }
    if (major(mount.device) != 0 || mount.source.empty() || mount.source.front() != '/') {
        return false;
    }
    const FileDescriptor source = open_at(AT_FDCWD, mount.source.c_str(), O_PATH);
    struct stat status {};
    return source && the_system().fstat(source.get(), &status) == 0 && S_ISBLK(status.st_mode) &&
           status.st_rdev == device;
}

/// A device node is on devtmpfs, which is never what the caller wants frozen.
[[noreturn]] void refuse_device(const Filesystem& filesystem, dev_t device, const MountTable& table,
                                Operation operation) {
    const auto found = std::find_if(table.begin(), table.end(), [device](const Mount& mount) {
        return is_mounted_from(mount, device);
    });
    Filesystem bare;
    bare.path = filesystem.path;
    throw failure(operation, bare, make_error_code(errc::not_supported),
                  found == table.end()
                      ? "it is a block device, and no filesystem on it is mounted: mount it and "
                        "name the mountpoint"
                      : fmt::format("it is a block device: name the place where it is mounted, {}",
                                    quoted(found->target)));
}

/// Directories (or, last, the file itself) through which the filesystem of a path that is no
/// directory may be opened, the likeliest first: bind mounts of single files have no directory of
/// their own.
std::vector<std::pair<std::filesystem::path, int>>
candidates(const std::filesystem::path& path, const Place& place, const MountTable& table) {
    std::vector<std::pair<std::filesystem::path, int>> result;
    const auto parent = path.parent_path();
    result.emplace_back(parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY);
    if (place.mount != nullptr) {
        result.emplace_back(place.mount->target, O_RDONLY | O_DIRECTORY);
        for (const Mount& mount : table) {
            if (mount.device == place.mount->device && &mount != place.mount) {
                result.emplace_back(mount.target, O_RDONLY | O_DIRECTORY);
            }
        }
    }
    if (S_ISREG(place.status.st_mode)) {
        result.emplace_back(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    }
    return result;
}

FileDescriptor open_beside(const std::filesystem::path& path, const Place& place,
                           const MountTable& table) {
    for (const auto& [candidate, flags] : candidates(path, place, table)) {
        FileDescriptor fd = open_at(AT_FDCWD, candidate.c_str(), flags);
        Place found;
        if (fd && locate(fd.get(), table, &found) && same_superblock(place, found)) {
            return fd;
        }
    }
    return {};
}

/// A path, and where it is.
struct Named {
    FileDescriptor fd;
    MountTable table;
    Place place;
};

/// O_PATH opens nothing: no device wakes up, no FIFO waits, and the filesystem stays mounted
/// meanwhile.
Named look_at(const Filesystem& filesystem, int flags, Operation operation) {
    Named named;
    named.fd = open_at(AT_FDCWD, filesystem.path.c_str(), O_PATH | flags);
    if (!named.fd && errno == ENOENT) {
        throw failure(operation, filesystem, last_error());
    }
    if (!named.fd) {
        throw failure(operation, filesystem, last_error(), "the path cannot be opened");
    }
    named.table = read_mount_table();
    if (!locate(named.fd.get(), named.table, &named.place)) {
        throw failure(operation, filesystem, last_error());
    }
    return named;
}

} // namespace

Target resolve(const std::filesystem::path& path, Operation operation) {
    Target target;
    target.filesystem.path = path;
    if (path.native().find('\0') != std::string::npos) {
        throw failure(operation, target.filesystem, system_error_code(ENOENT),
                      "no path has a NUL byte in it");
    }
    Named named = look_at(target.filesystem, 0, operation);
    if (named.place.mount != nullptr && named.place.mount->type == "autofs") {
        named = look_at(target.filesystem, O_DIRECTORY, operation); // mounts what belongs there
    }
    const auto& [fd, table, place] = named;
    target.superblock = superblock_at(place);
    if (place.mount != nullptr) {
        target.filesystem.mountpoint = place.mount->target;
        target.filesystem.type = place.mount->type;
        target.filesystem.source = place.mount->source;
    }
    if (S_ISBLK(place.status.st_mode)) {
        refuse_device(target.filesystem, place.status.st_rdev, table, operation);
    }
    if (S_ISDIR(place.status.st_mode)) {
        target.fd = open_at(fd.get(), ".", O_RDONLY | O_DIRECTORY);
        if (!target.fd) {
            throw failure(operation, target.filesystem, last_error(),
                          "its directory cannot be opened");
        }
    } else {
        target.fd = open_beside(path, place, table);
        if (!target.fd) {
            throw failure(operation, target.filesystem, system_error_code(ENOTDIR),
                          "no directory of its filesystem can be opened: name one");
        }
    }
    return target;
}

bool superblock_of(int fd, dev_t* superblock) {
    return superblock_of(fd, read_mount_table(), superblock);
}

bool superblock_of(int fd, const std::vector<Mount>& table, dev_t* superblock) {
    Place place;
    if (!locate(fd, table, &place)) {
        return false;
    }
    *superblock = superblock_at(place);
    return true;
}

std::vector<Mount> read_mount_table() {
    std::vector<Mount> table;
    if (the_system().mounts(&table) != 0) {
        table.clear();
    }
    return table;
}

} // namespace libfreeze
