/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dm.h"

#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct target {
    struct dm_target_spec spec;
    char parameters[256];
};

struct command {
    struct dm_ioctl header;
    struct target targets[2];
};

static int control(void) {
    return open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
}

bool dm_present(void) {
    int fd = control();
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static int run(unsigned long code, const char* name, struct command* command) {
    int fd = control();
    if (fd < 0)
        return -errno;
    command->header.version[0] = DM_VERSION_MAJOR;
    command->header.data_size = sizeof(*command);
    command->header.data_start = offsetof(struct command, targets);
    snprintf(command->header.name, sizeof(command->header.name), "%s", name);
    int result = result_of(ioctl(fd, code, command));
    close(fd);
    return result;
}

int dm_create(const char* name, int* minor_number) {
    struct command command = {0};
    int result = run(DM_DEV_CREATE, name, &command);

    *minor_number = (int)minor(command.header.dev);
    return result;
}

static void add_target(struct command* command, uint64_t sectors, const char* type,
                       const char* parameters) {
    struct target* target = &command->targets[command->header.target_count++];

    if (target != command->targets)
        target->spec.sector_start = command->targets[0].spec.length;
    target->spec.length = sectors;
    target->spec.next = sizeof(*target);
    snprintf(target->spec.target_type, sizeof(target->spec.target_type), "%s", type);
    snprintf(target->parameters, sizeof(target->parameters), "%s", parameters);
}

int dm_load(const char* name, uint64_t sectors, const char* target, const char* parameters) {
    struct command command = {0};

    add_target(&command, sectors, target, parameters);
    return run(DM_TABLE_LOAD, name, &command);
}

int dm_load_linear_and_bad(const char* name, const char* disk, uint64_t start, uint64_t sectors,
                           uint64_t bad_sectors) {
    struct command command = {0};
    char linear[256];

    snprintf(linear, sizeof(linear), "%s %llu", disk, (unsigned long long)start);
    add_target(&command, sectors, "linear", linear);
    add_target(&command, bad_sectors, "error", "");
    return run(DM_TABLE_LOAD, name, &command);
}

int dm_suspend(const char* name, unsigned flags) {
    struct command command = {.header.flags = DM_SUSPEND_FLAG | flags};

    return run(DM_DEV_SUSPEND, name, &command);
}

int dm_resume(const char* name) {
    struct command command = {0};

    return run(DM_DEV_SUSPEND, name, &command);
}

int dm_remove(const char* name) {
    struct command command = {0};

    return run(DM_DEV_REMOVE, name, &command);
}

bool dm_suspended(const char* name) {
    struct command command = {0};

    return run(DM_DEV_STATUS, name, &command) == 0 && (command.header.flags & DM_SUSPEND_FLAG);
}

int dm_create_linear(const char* name, const char* disk, uint64_t start, uint64_t sectors,
                     int* minor_number) {
    char linear[200];
    int result = dm_create(name, minor_number);

    snprintf(linear, sizeof(linear), "%s %llu", disk, (unsigned long long)start);
    if (result == 0)
        result = dm_load(name, sectors, "linear", linear);
    return result == 0 ? dm_resume(name) : result;
}

int dm_remove_when_unused(const char* name, int ms) {
    int result = dm_remove(name);

    for (int waited = 0; result == -EBUSY && waited < ms; waited += 25) {
        sleep_ms(25);
        result = dm_remove(name);
    }
    return result;
}
