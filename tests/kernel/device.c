/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device-mapper device of the filesystem under test. */
#include <linux/dm-ioctl.h>

#include "harness.h"

static int op_suspend(long flags, long b, long c) {
    return dm_suspend(volume.name, (unsigned)flags);
}

static int op_resume(long a, long b, long c) {
    return dm_resume(volume.name);
}

int suspend(void) {
    return call_helper(op_suspend, 0);
}

int suspend_without_freezing(void) {
    return call_helper(op_suspend, DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG);
}

int resume(void) {
    return call_helper(op_resume, 0);
}

int load_table(const char* target, const char* parameters) {
    int result = dm_load(volume.name, slice_sectors(), target, parameters);

    if (result == 0)
        result = suspend_without_freezing();
    return result == 0 ? resume() : result;
}

void check_suspend_freezes(void) {
    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, resume());
    RELEASED(writer);
}
