// SPDX-License-Identifier: LGPL-2.1-or-later
#include "unmounted.hpp"

#include "file_descriptor.hpp"
#include "syscalls.hpp"
#include "sysfs.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace libfreeze::internal {

namespace {

/// How a filesystem is mounted without replaying its journal. If it is not in use, a writable mount
/// with this option fails.
struct NoReplay {
    const char* type;
    const char* key;
    const char* value; ///< null: a flag
};

constexpr std::array<NoReplay, 7> no_replay{{{"ext2", nullptr, nullptr},
                                             {"ext3", "noload", nullptr},
                                             {"ext4", "noload", nullptr},
                                             {"xfs", "norecovery", nullptr},
                                             {"f2fs", "norecovery", nullptr},
                                             {"nilfs2", "norecovery", nullptr},
                                             {"btrfs", "rescue", "nologreplay"}}};

const NoReplay* find_no_replay(const char* type) {
    const auto* const found =
        std::find_if(no_replay.begin(), no_replay.end(),
                     [type](const NoReplay& entry) { return std::strcmp(entry.type, type) == 0; });
    return found == no_replay.end() ? nullptr : found;
}

bool configure(int context, unsigned int command, const char* key, const char* value) {
    return ::syscall(SYS_fsconfig, context, command, key, value, 0) == 0;
}

/// A mount that no namespace has; -1 and errno on failure.
int mount_detached(const char* device, const NoReplay& how, bool read_only) {
    const FileDescriptor context(static_cast<int>(::syscall(SYS_fsopen, how.type, FSOPEN_CLOEXEC)));
    const bool is_ready =
        context && configure(context.get(), FSCONFIG_SET_STRING, "source", device) &&
        (!read_only || configure(context.get(), FSCONFIG_SET_FLAG, "ro", nullptr)) &&
        (how.key == nullptr ||
         configure(context.get(), how.value == nullptr ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING,
                   how.key, how.value)) &&
        configure(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr);
    return is_ready ? static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0))
                    : -1;
}

/// The name under /sys/fs of a filesystem on a device.
std::string name_in_sysfs(dev_t device) {
    std::string name = device_name(device);
    std::replace(name.begin(), name.end(), '/', '!');
    return name;
}

bool has(const std::string& directory, const std::string& name) {
    const std::vector<std::string> names = list_names(directory);
    return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_in_btrfs(const std::string& name) {
    const std::vector<std::string> filesystems = list_names("/sys/fs/btrfs");
    return std::any_of(filesystems.begin(), filesystems.end(), [&](const std::string& uuid) {
        return has("/sys/fs/btrfs/" + uuid + "/devices", name);
    });
}

} // namespace

std::string type_in_use(dev_t device) {
    const std::string name = name_in_sysfs(device);
    for (const char* const type : {"ext4", "xfs", "f2fs", "nilfs2"}) {
        if (!name.empty() && has(std::string("/sys/fs/") + type, name)) {
            return type;
        }
    }
    return !name.empty() && is_in_btrfs(name) ? "btrfs" : "";
}

/// A read-only mount of a filesystem that is in use writable fails with EBUSY. Then a writable one
/// shares it.
int open_unmounted_filesystem(const char* device, const char* type) {
    const NoReplay* const how = find_no_replay(type);
    if (how == nullptr) {
        errno = EOPNOTSUPP;
        return -1;
    }
    FileDescriptor mount(mount_detached(device, *how, true));
    if (!mount && errno == EBUSY) {
        mount = FileDescriptor(mount_detached(device, *how, false));
    }
    return mount ? ::openat(mount.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

int Syscalls::open_unmounted(const std::string& device, const std::string& type) {
    return open_unmounted_filesystem(device.c_str(), type.c_str());
}

} // namespace libfreeze::internal
