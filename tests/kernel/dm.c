/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device-mapper by its own ioctls: exact results, and no udev to wait for. */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "harness.h"

struct command {
    struct dm_ioctl header;
    struct dm_target_spec target;
    char parameters[256];
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
    command->header.data_start = offsetof(struct command, target);
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

int dm_load(const char* name, uint64_t sectors, const char* target, const char* parameters) {
    struct command command = {0};

    command.header.target_count = 1;
    command.target.length = sectors;
    snprintf(command.target.target_type, sizeof(command.target.target_type), "%s", target);
    snprintf(command.parameters, sizeof(command.parameters), "%s", parameters);
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

/* ---- the device under test ------------------------------------------------------------------ */

static int op_suspend(long flags, long b, long c) {
    (void)b, (void)c;
    return dm_suspend(volume.name, (unsigned)flags);
}

static int op_resume(long a, long b, long c) {
    (void)a, (void)b, (void)c;
    return dm_resume(volume.name);
}

/* One process does it all, until it blocks: then it is given up, and another takes its place. */
static int by_hand(operation* op, long flags) {
    static struct actor* hand;

    if (!hand || hand->busy)
        hand = actor_outside();
    return call(hand, op, flags, 0, 0);
}

int suspend(void) {
    return by_hand(op_suspend, 0);
}

int suspend_without_freezing(void) {
    return by_hand(op_suspend, DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG);
}

int resume(void) {
    return by_hand(op_resume, 0);
}

/* Another table in place of the present one; the filesystem is not frozen for it. */
int load_table(const char* target, const char* parameters) {
    int result = dm_load(volume.name, slice_sectors(), target, parameters);

    if (result == 0)
        result = suspend_without_freezing();
    return result == 0 ? resume() : result;
}
