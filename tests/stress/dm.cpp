/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dm.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace {

struct Command {
    dm_ioctl header;
    dm_target_spec target;
    char parameters[256];
};

int run(unsigned long code, const std::string& name, Command& command) {
    int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno;
    command.header.version[0] = DM_VERSION_MAJOR;
    command.header.data_size = sizeof(command);
    command.header.data_start = offsetof(Command, target);
    snprintf(command.header.name, sizeof(command.header.name), "%s", name.c_str());
    int result = ioctl(fd, code, &command) < 0 ? errno : 0;
    close(fd);
    return result;
}

} // namespace

int dm_create(const std::string& name, unsigned* minor_number) {
    Command command{};
    int result = run(DM_DEV_CREATE, name, command);
    *minor_number = minor(command.header.dev);
    return result;
}

int dm_load(const std::string& name, uint64_t sectors, const char* target,
            const std::string& parameters) {
    Command command{};
    command.header.target_count = 1;
    command.target.length = sectors;
    snprintf(command.target.target_type, sizeof(command.target.target_type), "%s", target);
    snprintf(command.parameters, sizeof(command.parameters), "%s", parameters.c_str());
    return run(DM_TABLE_LOAD, name, command);
}

int dm_suspend(const std::string& name, bool freeze) {
    Command command{};
    command.header.flags = DM_SUSPEND_FLAG | (freeze ? 0 : DM_SKIP_LOCKFS_FLAG);
    return run(DM_DEV_SUSPEND, name, command);
}

int dm_resume(const std::string& name) {
    Command command{};
    return run(DM_DEV_SUSPEND, name, command);
}

int dm_remove(const std::string& name) {
    Command command{};
    return run(DM_DEV_REMOVE, name, command);
}
