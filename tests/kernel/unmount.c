/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounting, unmounting and remounting what is frozen. */
#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

/* A freezer that keeps nothing open, so that the filesystem can be unmounted. */
static struct actor* freezer_at_a_distance(void) {
    struct actor* who = actor();

    WANT(0, freeze(who));
    SETUP(call(who, op_close, 0, 0, 0));
    return who;
}

static int thaw_at_a_distance(struct actor* who) {
    SETUP(call(who, op_reopen, 0, 0, 0));
    int result = thaw(who);
    SETUP(call(who, op_close, 0, 0, 0));
    return result;
}

static void frozen_here(void) {
    struct actor* writer = FROZEN();

    WANT(0, admin_thaw());
    LET_GO(writer);
}

/* ---- unmount ----------------------------------------------------------------------------------
 */

static void mounted_again(void) {
    struct actor* owner = freezer_at_a_distance();

    WANT(0, unmount_now(0));
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, thaw_at_a_distance(owner));
    LET_GO(writer);
}

static void mounted_again_by_others(void) {
    struct actor* owner = freezer_at_a_distance();

    actor_exit(owner);
    WANT(0, unmount_now(0));
    WANT(0, mount_again(0));
    frozen_here();
}

static void mounted_again_nested(void) {
    struct actor *a = freezer_at_a_distance(), *b = freezer_at_a_distance();

    WANT(0, unmount_now(0));
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, thaw_at_a_distance(a));
    WANT(-EINVAL, thaw_at_a_distance(a));
    CHECK(blocks(writer), "thawed by the first of two thaws");
    WANT(0, thaw_at_a_distance(b));
    LET_GO(writer);
}

static void lazily(void) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    WANT(0, unmount_now(MNT_DETACH));
    WANT(0, thaw(owner));
    WANT(-EINVAL, thaw(owner));
    SETUP(call(owner, op_close, 0, 0, 0));
    WANT(0, mount_again(0));
    THAWED();
}

/* ---- the deadline is the only one who can thaw now --------------------------------------------
 */

/* The superblock goes some time after the thaw. */
static void want_free(struct actor* opener) {
    for (int waited = 0; waited < 1500 * slowness(); waited += 20) {
        if (call(opener, op_open_exclusively, 0, 0, 0) != -EBUSY)
            break;
        sleep_ms(20);
    }
    WANT(0, opener->last.result);
}

static void device_is_free(const struct report* start) {
    struct actor* opener = actor_outside();

    WANT(-EBUSY, call(opener, op_open_exclusively, 0, 0, 0));
    sleep_until(start->ended + SHORT * 1000000000ll);
    want_free(opener);
    WANT(0, mount_again(0));
    THAWED();
}

static void deadline_after_unmount(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    SETUP(call(owner, op_close, 0, 0, 0));
    WANT(0, unmount_now(0));
    device_is_free(&start);
}

/* The descriptor that is still open is closed before the deadline. */
static void deadline_after_lazy_unmount(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    WANT(0, unmount_now(MNT_DETACH));
    SETUP(call(owner, op_close, 0, 0, 0));
    device_is_free(&start);
}

static void deadline_after_owner_and_unmount(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    kill_actor(owner);
    reap(owner);
    WANT(0, unmount_now(MNT_DETACH));
    device_is_free(&start);
}

/* ... or after it: a detached filesystem goes with its last descriptor. */
static void deadline_before_the_last_close(void) {
    struct actor *owner = actor(), *opener = actor_outside();

    WANT(0, freeze_for(owner, SHORT));
    WANT(0, unmount_now(MNT_DETACH));
    outlast(SHORT);
    WANT(-EINVAL, thaw(owner));
    WANT(-EBUSY, call(opener, op_open_exclusively, 0, 0, 0));
    SETUP(call(owner, op_close, 0, 0, 0));
    want_free(opener);
    WANT(0, mount_again(0));
    THAWED();
}

static void deadline_after_remount(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    SETUP(call(owner, op_close, 0, 0, 0));
    WANT(0, unmount_now(0));
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    LET_GO_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, thaw_at_a_distance(owner));
}

/* ---- read-only --------------------------------------------------------------------------------
 */

static void remount_read_only(void) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    WANT(-EBUSY, mount_again(MS_REMOUNT | MS_RDONLY));
    struct actor* writer = FROZEN();
    WANT(0, thaw(owner));
    LET_GO(writer);
    WANT(0, mount_again(MS_REMOUNT | MS_RDONLY));
    WANT(0, mount_again(MS_REMOUNT));
}

static void remount_read_only_nested(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    WANT(0, freeze_for(b, 600));
    WANT(0, thaw(a));
    WANT(-EBUSY, mount_again(MS_REMOUNT | MS_RDONLY));
    WANT(0, thaw(b));
    WANT(0, mount_again(MS_REMOUNT | MS_RDONLY));
    WANT(0, mount_again(MS_REMOUNT));
}

static void frozen_while_read_only(void) {
    struct actor* owner = actor();

    WANT(0, mount_again(MS_REMOUNT | MS_RDONLY));
    WANT(0, freeze(owner));
    WANT(-EBUSY, mount_again(MS_REMOUNT));
    WANT(0, thaw(owner));
    WANT(-EINVAL, thaw(owner));
    WANT(0, mount_again(MS_REMOUNT));
    THAWED();
}

/* At another place, and unmounted there at once. */
static int op_mount_beside(long flags, long b, long c) {
    char beside[sizeof(volume.dir) + 8];

    (void)b, (void)c;
    snprintf(beside, sizeof(beside), "%s.beside", volume.dir);
    if (mkdir(beside, 0700))
        return -errno;
    int result = result_of(mount(volume.device, beside, volume.type, (unsigned long)flags, NULL));
    if (result == 0)
        result = result_of(umount2(beside, 0));
    rmdir(beside);
    return result;
}

static int mount_beside(unsigned long flags) {
    return elsewhere(actor_outside, op_mount_beside, (long)flags, patience_ms());
}

/* To btrfs that is a remount: of what nobody holds writers back from. */
static void mounted_writable_while_read_only(void) {
    struct actor* owner = actor();

    WANT(0, mount_again(MS_REMOUNT | MS_RDONLY));
    WANT(0, freeze(owner));
    /* A stock kernel, which would then unlock what it has never locked, goes no farther. */
    WANT(0, freeze(owner));
    WANT(-EBUSY, mount_beside(0));
    WANT(0, thaw(owner));
    WANT(0, thaw(owner));
    WANT(0, mount_beside(0));
    WANT(0, mount_again(MS_REMOUNT));
    THAWED();
}

static void nested_while_read_only(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, mount_again(MS_REMOUNT | MS_RDONLY));
    WANT(0, freeze(a));
    WANT(0, freeze(b));
    WANT(0, thaw(a));
    WANT(-EBUSY, mount_again(MS_REMOUNT));
    WANT(0, thaw(b));
    WANT(0, mount_again(MS_REMOUNT));
    THAWED();
}

static void deadline_while_read_only(void) {
    struct actor* owner = actor();

    WANT(0, mount_again(MS_REMOUNT | MS_RDONLY));
    WANT(0, freeze_for(owner, SHORT));
    WANT(-EBUSY, mount_again(MS_REMOUNT));
    outlast(SHORT);
    WANT(0, mount_again(MS_REMOUNT));
    WANT(-EINVAL, thaw(owner));
    THAWED();
}

/* ---- suspended --------------------------------------------------------------------------------
 */

/* Before 6.6 nothing is mounted, not even again, while its device is suspended. */
static bool mounts_suspended(void) {
    return kernel_version() >= 606;
}

static void only_mounts_resumed(void) {
    WANT(-EBUSY, mount_again(0));
    WANT(0, resume());
    WANT(0, mount_again(0));
    THAWED();
}

static void suspended(void) {
    WANT(0, suspend());
    WANT(0, unmount_now(0));
    if (!mounts_suspended())
        return only_mounts_resumed();
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, resume());
    LET_GO(writer);
}

static void suspended_and_frozen(void) {
    WANT(0, suspend());
    struct actor* owner = freezer_at_a_distance();
    WANT(0, unmount_now(0));
    WANT(0, resume());
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, thaw_at_a_distance(owner));
    LET_GO(writer);
    WANT(0, suspend());
    writer = FROZEN();
    WANT(0, resume());
    LET_GO(writer);
}

/* The suspend finds a superblock that is mounted nowhere. */
static void suspended_after_unmount(void) {
    struct actor* owner = freezer_at_a_distance();

    WANT(0, unmount_now(0));
    WANT(0, suspend());
    WANT(0, resume());
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, thaw_at_a_distance(owner));
    LET_GO(writer);
}

static void deadline_under_a_suspend_after_unmount(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    SETUP(call(owner, op_close, 0, 0, 0));
    WANT(0, suspend());
    WANT(0, unmount_now(0));
    outlast(SHORT);
    if (!mounts_suspended())
        return only_mounts_resumed();
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, resume());
    LET_GO(writer);
    WANT(-EINVAL, thaw_at_a_distance(owner));
}

static const struct test unmount_tests[] = {
    {"unmount.mounted_again", "F umount mount: still frozen, T thaws", mounted_again, SAME_ON_STOCK,
     0},
    {"unmount.mounted_again_by_others", "... by an administrator too", mounted_again_by_others,
     SAME_ON_STOCK, 0},
    {"unmount.mounted_again_nested", "... with every hold", mounted_again_nested, FAILS_ON_STOCK,
     0},
    {"unmount.lazily", "F umount -l: T works on what is open", lazily, SAME_ON_STOCK, 0},
    {"unmount.deadline", "the deadline thaws after umount, and the device is free",
     deadline_after_unmount, FAILS_ON_STOCK, 0},
    {"unmount.deadline_lazy", "... after umount -l", deadline_after_lazy_unmount, FAILS_ON_STOCK,
     0},
    {"unmount.deadline_owner_gone", "... with the owner gone", deadline_after_owner_and_unmount,
     FAILS_ON_STOCK, 0},
    {"unmount.deadline_before_last_close", "... with a descriptor open past the deadline",
     deadline_before_the_last_close, FAILS_ON_STOCK, 0},
    {"unmount.deadline_mounted_again", "... on time when mounted again", deadline_after_remount,
     FAILS_ON_STOCK, 0},
    {"unmount.remount_read_only", "remount,ro while frozen is EBUSY", remount_read_only,
     SAME_ON_STOCK, 0},
    {"unmount.remount_read_only_nested", "... until the last thaw", remount_read_only_nested,
     FAILS_ON_STOCK, 0},
    {"unmount.frozen_while_read_only", "frozen read-only, thawed, writable again",
     frozen_while_read_only, SAME_ON_STOCK, 0},
    {"unmount.mounted_writable_while_read_only", "... not by a mount that wants it writable",
     mounted_writable_while_read_only, FAILS_ON_STOCK, NEEDS_BTRFS},
    {"unmount.nested_while_read_only", "... with two holds", nested_while_read_only, FAILS_ON_STOCK,
     0},
    {"unmount.deadline_while_read_only", "... by a deadline", deadline_while_read_only,
     FAILS_ON_STOCK, 0},
    {"unmount.suspended", "S umount mount: still frozen, R thaws", suspended, SAME_ON_STOCK,
     NEEDS_DM_FREEZE},
    {"unmount.suspended_and_frozen", "S F umount R mount: still frozen, T thaws",
     suspended_and_frozen, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"unmount.suspended_after_unmount", "F umount S R mount: still frozen, T thaws",
     suspended_after_unmount, FAILS_UNTIL_6_1, NEEDS_DM_FREEZE},
    {"unmount.deadline_under_a_suspend", "S and umount: the deadline takes the hold only",
     deadline_under_a_suspend_after_unmount, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
};
TOPIC(unmount);
