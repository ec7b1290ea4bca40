// SPDX-License-Identifier: LGPL-2.1-or-later
#include "target.hpp"

#include "stack.hpp"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/sysmacros.h>

namespace libfreeze::internal {

namespace {

/// Where an open file is. Mount ids tell filesystems apart safely: unlike st_dev they are right on
/// btrfs, whose subvolumes have separate st_devs, and unlike names they are not fooled
/// by mounts over mounts.
struct Place {
    mode_t mode = 0;
    dev_t device = 0; ///< st_dev
    dev_t rdev = 0;
    std::optional<std::uint64_t> mount_id;
    const Mount* mount = nullptr; ///< none if it is in another mount namespace, or detached
};

/// Does not ask a server or a FUSE daemon, so it never blocks. None, with errno, if it fails.
std::optional<Place> locate(int fd, const MountTable& table) {
    struct statx status {};
    if (syscalls().statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MNT_ID,
                         &status) != 0) {
        return std::nullopt;
    }
    Place place;
    place.mode = status.stx_mode;
    place.device = makedev(status.stx_dev_major, status.stx_dev_minor);
    place.rdev = makedev(status.stx_rdev_major, status.stx_rdev_minor);
    if ((status.stx_mask & STATX_MNT_ID) != 0) {
        place.mount_id = status.stx_mnt_id;
        place.mount = find_mount_by_id(table, status.stx_mnt_id);
    }
    if (place.mount == nullptr) {
        place.mount = find_mount_by_device(table, place.device);
    }
    return place;
}

dev_t superblock_at(const Place& place) {
    return place.mount != nullptr ? place.mount->device : place.device;
}

bool is_same_superblock(const Place& a, const Place& b) {
    return (a.mount_id && a.mount_id == b.mount_id) || superblock_at(a) == superblock_at(b);
}

std::string link_of(int fd) {
    return "/proc/thread-self/fd/" + std::to_string(fd);
}

/// ESTALE from a server is not the ESTALE that means "expired".
int look_up_error() noexcept {
    return errno == ESTALE ? EIO : errno;
}

/// A file, and where it is.
struct Named {
    FileDescriptor fd;
    Place place;
};

/// O_PATH opens nothing: no device wakes up, no FIFO waits, and the filesystem stays mounted in the
/// meantime.
Named look_up(const Filesystem& filesystem, int flags, const MountTable& table,
              Operation operation) {
    Named named;
    named.fd = open_at(AT_FDCWD, filesystem.path.c_str(), O_PATH | flags);
    if (!named.fd) {
        const int error = look_up_error();
        throw error == ENOENT ? failure(operation, filesystem, error)
                              : failure(operation, filesystem, error, "the path cannot be opened");
    }
    const std::optional<Place> place = locate(named.fd.get(), table);
    if (!place) {
        throw failure(operation, filesystem, look_up_error());
    }
    named.place = *place;
    return named;
}

/// Whether `mount` is of a filesystem with several devices (btrfs) that is on `device`. The number
/// of its superblock is no device's.
bool is_made_of(const Mount& mount, dev_t device, const MountTable& table) {
    return major(mount.device) == 0 && mount.source.compare(0, 5, "/dev/") == 0 &&
           stack_under(mount.device, table).devices.count(device) != 0;
}

const Mount* find_mount_of(dev_t device, const MountTable& table) {
    if (const Mount* const mount = find_mount_by_device(table, device)) {
        return mount;
    }
    std::set<dev_t> seen;
    for (const Mount& mount : table) {
        if (seen.insert(mount.device).second && is_made_of(mount, device, table)) {
            return &mount;
        }
    }
    return nullptr;
}

/// A device node is on devtmpfs, which is never what the caller wants frozen.
Error block_device_refused(const std::string& path, dev_t device, const MountTable& table,
                           Operation operation) {
    Filesystem bare;
    bare.path = path;
    const Mount* const mount = find_mount_of(device, table);
    return failure(operation, bare, EOPNOTSUPP,
                   mount == nullptr
                       ? "it is a block device, and no filesystem on it is mounted: mount it and "
                         "name the mountpoint"
                       : "it is a block device: name its mountpoint, " + quoted(mount->target));
}

/// The directory's own descriptor, if it is on the same filesystem.
FileDescriptor open_directory(const std::string& name, const Place& place,
                              const MountTable& table) {
    const FileDescriptor found = open_at(AT_FDCWD, name.c_str(), O_PATH | O_DIRECTORY);
    const std::optional<Place> where = found ? locate(found.get(), table) : std::nullopt;
    return where && is_same_superblock(place, *where)
               ? open_at(found.get(), ".", O_RDONLY | O_DIRECTORY)
               : FileDescriptor();
}

/// Directories through which the filesystem of a file that is no directory may be opened, the
/// likeliest first.
std::vector<std::string> directories_beside(int fd, const Place& place, const MountTable& table) {
    std::vector<std::string> result;
    if (place.mount != nullptr) {
        result.push_back(place.mount->target);
    }
    std::string name;
    if (syscalls().read_link(link_of(fd), &name) == 0 && name.find('/') == 0) {
        result.push_back(name.substr(0, std::max<std::size_t>(1, name.rfind('/'))));
    }
    for (const Mount& mount : table) {
        if (mount.device == superblock_at(place) && &mount != place.mount) {
            result.push_back(mount.target);
        }
    }
    return result;
}

/// Works from the descriptor: the name may lead elsewhere by now.
FileDescriptor reopen(int fd, const Place& place, const MountTable& table) {
    if (S_ISDIR(place.mode)) {
        return open_at(fd, ".", O_RDONLY | O_DIRECTORY);
    }
    if (S_ISREG(place.mode)) {
        FileDescriptor file =
            open_at(AT_FDCWD, link_of(fd).c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
        const std::optional<Place> where = file ? locate(file.get(), table) : std::nullopt;
        if (where && is_same_superblock(place, *where)) {
            return file;
        }
    }
    for (const std::string& name : directories_beside(fd, place, table)) {
        if (FileDescriptor directory = open_directory(name, place, table)) {
            return directory;
        }
    }
    errno = ENOTDIR;
    return {};
}

Filesystem describe(const std::string& path, const Place& place) {
    Filesystem filesystem;
    filesystem.path = path;
    filesystem.device = superblock_at(place);
    if (place.mount != nullptr) {
        filesystem.mountpoint = place.mount->target;
        filesystem.type = place.mount->type;
        filesystem.source = place.mount->source;
    }
    return filesystem;
}

Target open_target(int fd, const std::string& path, const Place& place, const MountTable& table,
                   Operation operation) {
    if (S_ISBLK(place.mode)) {
        throw block_device_refused(path, place.rdev, table, operation);
    }
    Target target;
    target.filesystem = describe(path, place);
    target.fd = reopen(fd, place, table);
    if (!target.fd) {
        throw failure(operation, target.filesystem, look_up_error(),
                      S_ISDIR(place.mode)
                          ? "its directory cannot be opened"
                          : "no directory of its filesystem can be opened: name one");
    }
    return target;
}

} // namespace

Target resolve(const std::string& path, const MountTable& table, Operation operation) {
    Filesystem bare;
    bare.path = path;
    if (path.find('\0') != std::string::npos) {
        throw failure(operation, bare, ENOENT, "a path cannot contain a NUL byte");
    }
    Named named = look_up(bare, 0, table, operation);
    if (named.place.mount == nullptr || named.place.mount->type != "autofs") {
        return open_target(named.fd.get(), path, named.place, table, operation);
    }
    named = look_up(bare, O_DIRECTORY, table, operation); // mounts what belongs there
    const MountTable now = read_mount_table();
    named.place = locate(named.fd.get(), now).value_or(named.place);
    return open_target(named.fd.get(), path, named.place, now, operation);
}

Target resolve(int fd, const MountTable& table, Operation operation) {
    Filesystem bare;
    if (syscalls().read_link(link_of(fd), &bare.path) != 0 || bare.path.empty()) {
        bare.path = "descriptor " + std::to_string(fd);
    }
    const std::optional<Place> place = locate(fd, table);
    if (!place) {
        throw failure(operation, bare, look_up_error(), "not an open descriptor");
    }
    return open_target(fd, bare.path, *place, table, operation);
}

Filesystem filesystem_of(dev_t device, const MountTable& table) {
    Filesystem filesystem;
    filesystem.device = device;
    if (const Mount* const mount = find_mount_by_device(table, device)) {
        filesystem.path = mount->target;
        filesystem.mountpoint = mount->target;
        filesystem.type = mount->type;
        filesystem.source = mount->source;
    }
    return filesystem;
}

std::optional<dev_t> superblock_of(int fd, const MountTable& table) {
    const std::optional<Place> place = locate(fd, table);
    return place ? std::optional(superblock_at(*place)) : std::nullopt;
}

} // namespace libfreeze::internal
