/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounting, unmounting and remounting a frozen filesystem. */
#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

/* A freezer that keeps no file open, so that the filesystem can be unmounted. */
static struct actor* freezer_without_descriptor(void) {
    struct actor* who = actor();

    WANT(0, freeze(who));
    SETUP(call(who, op_close, 0, 0, 0));
    return who;
}

static int reopen_and_thaw(struct actor* who) {
    SETUP(call(who, op_reopen, 0, 0, 0));
    int result = thaw(who);
    SETUP(call(who, op_close, 0, 0, 0));
    return result;
}

static void check_still_frozen(void) {
    struct actor* writer = FROZEN();

    WANT(0, admin_thaw());
    RELEASED(writer);
}

/* ---- unmount --------------------------------------------------------------------------------- */

static void mounted_again(void) {
    struct actor* owner = freezer_without_descriptor();

    WANT(0, unmount_now(0));
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, reopen_and_thaw(owner));
    RELEASED(writer);
}

static void mounted_again_by_others(void) {
    struct actor* owner = freezer_without_descriptor();

    actor_exit(owner);
    WANT(0, unmount_now(0));
    WANT(0, mount_again(0));
    check_still_frozen();
}

static void mounted_again_nested(void) {
    struct actor *a = freezer_without_descriptor(), *b = freezer_without_descriptor();

    WANT(0, unmount_now(0));
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, reopen_and_thaw(a));
    WANT(-EINVAL, reopen_and_thaw(a));
    CHECK(blocks(writer), "thawed by the first of two thaws");
    WANT(0, reopen_and_thaw(b));
    RELEASED(writer);
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

/* ---- when only the deadline can thaw --------------------------------------------------------- */

/* The superblock goes away some time after the thaw. */
static void want_device_free(struct actor* opener) {
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
    want_device_free(opener);
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

/* Closed after the deadline: a detached filesystem goes away with its last descriptor. */
static void deadline_before_the_last_close(void) {
    struct actor *owner = actor(), *opener = actor_outside();

    WANT(0, freeze_for(owner, SHORT));
    WANT(0, unmount_now(MNT_DETACH));
    sleep_past(SHORT);
    WANT(-EINVAL, thaw(owner));
    WANT(-EBUSY, call(opener, op_open_exclusively, 0, 0, 0));
    SETUP(call(owner, op_close, 0, 0, 0));
    want_device_free(opener);
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
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, reopen_and_thaw(owner));
}

/* ---- read-only ------------------------------------------------------------------------------- */

static void remount_read_only(void) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    WANT(-EBUSY, mount_again(MS_REMOUNT | MS_RDONLY));
    struct actor* writer = FROZEN();
    WANT(0, thaw(owner));
    RELEASED(writer);
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

/* On another directory, and unmounted from it at once. */
static int op_mount_elsewhere(long flags, long b, long c) {
    char second[sizeof(volume.dir) + 8];

    snprintf(second, sizeof(second), "%s.second", volume.dir);
    if (mkdir(second, 0700))
        return -errno;
    int result = result_of(mount(volume.device, second, volume.type, (unsigned long)flags, NULL));
    if (result == 0)
        result = result_of(umount2(second, 0));
    rmdir(second);
    return result;
}

static int mount_elsewhere(unsigned long flags) {
    return elsewhere(actor_outside, op_mount_elsewhere, (long)flags, block_timeout_ms());
}

/* On btrfs this is a remount, of a filesystem whose writers are not blocked. */
static void mounted_writable_while_read_only(void) {
    struct actor* owner = actor();
    const int freezes = kernel_parts == 1 ? 1 : 2;

    WANT(0, mount_again(MS_REMOUNT | MS_RDONLY));
    /* A stock kernel would later unlock what it has never locked, and fails here before that. */
    for (int i = 0; i < freezes; i++)
        WANT(0, freeze(owner));
    WANT(-EBUSY, mount_elsewhere(0));
    for (int i = 0; i < freezes; i++)
        WANT(0, thaw(owner));
    WANT(0, mount_elsewhere(0));
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
    sleep_past(SHORT);
    WANT(0, mount_again(MS_REMOUNT));
    WANT(-EINVAL, thaw(owner));
    THAWED();
}

/* ---- suspended ------------------------------------------------------------------------------- */

/* Before 6.6 a filesystem cannot be mounted, not even again, while its device is suspended. */
static bool mounts_suspended(void) {
    return kernel_version() >= 606;
}

static void mount_needs_resume(void) {
    WANT(-EBUSY, mount_again(0));
    WANT(0, resume());
    WANT(0, mount_again(0));
    THAWED();
}

static void suspended(void) {
    WANT(0, suspend());
    WANT(0, unmount_now(0));
    if (!mounts_suspended())
        return mount_needs_resume();
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, resume());
    RELEASED(writer);
}

static void suspended_and_frozen(void) {
    WANT(0, suspend());
    struct actor* owner = freezer_without_descriptor();
    WANT(0, unmount_now(0));
    WANT(0, resume());
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, reopen_and_thaw(owner));
    RELEASED(writer);
    WANT(0, suspend());
    writer = FROZEN();
    WANT(0, resume());
    RELEASED(writer);
}

/* The suspend finds a superblock that is not mounted. */
static void suspended_after_unmount(void) {
    struct actor* owner = freezer_without_descriptor();

    WANT(0, unmount_now(0));
    WANT(0, suspend());
    WANT(0, resume());
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, reopen_and_thaw(owner));
    RELEASED(writer);
}

static void deadline_under_a_suspend_after_unmount(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    SETUP(call(owner, op_close, 0, 0, 0));
    WANT(0, suspend());
    WANT(0, unmount_now(0));
    sleep_past(SHORT);
    if (!mounts_suspended())
        return mount_needs_resume();
    WANT(0, mount_again(0));
    struct actor* writer = FROZEN();
    WANT(0, resume());
    RELEASED(writer);
    WANT(-EINVAL, reopen_and_thaw(owner));
}

static const struct test unmount_tests[] = {
    {"unmount.mounted_again", "F umount mount: still frozen, and the owner can thaw", mounted_again,
     SAME_ON_STOCK, 0},
    {"unmount.mounted_again_by_others",
     "F umount mount: still frozen, and an administrator can thaw", mounted_again_by_others,
     SAME_ON_STOCK, 0},
    {"unmount.mounted_again_nested", "F F umount mount: still frozen until the last thaw",
     mounted_again_nested, FAILS_ON_STOCK, 0},
    {"unmount.lazily", "F umount -l: a thaw by an open descriptor works", lazily, SAME_ON_STOCK, 0},
    {"unmount.deadline", "the deadline thaws after umount, and releases the device",
     deadline_after_unmount, FAILS_ON_STOCK, 0},
    {"unmount.deadline_lazy", "the deadline releases the device after umount -l",
     deadline_after_lazy_unmount, FAILS_ON_STOCK, 0},
    {"unmount.deadline_owner_gone", "the deadline releases the device when the owner is gone",
     deadline_after_owner_and_unmount, FAILS_ON_STOCK, 0},
    {"unmount.deadline_before_last_close",
     "the deadline thaws, and the last close releases the device", deadline_before_the_last_close,
     FAILS_ON_STOCK, 0},
    {"unmount.deadline_mounted_again", "the deadline is on time after umount and mount",
     deadline_after_remount, FAILS_ON_STOCK, 0},
    {"unmount.remount_read_only", "remount,ro of a frozen filesystem returns EBUSY",
     remount_read_only, SAME_ON_STOCK, 0},
    {"unmount.remount_read_only_nested", "remount,ro returns EBUSY until the last thaw",
     remount_read_only_nested, FAILS_ON_STOCK, 0},
    {"unmount.frozen_while_read_only", "frozen while read-only, thawed, then made writable",
     frozen_while_read_only, SAME_ON_STOCK, 0},
    {"unmount.mounted_writable_while_read_only",
     "a second, writable mount of a frozen read-only filesystem returns EBUSY",
     mounted_writable_while_read_only, FIXED_BY_PART_1, NEEDS_BTRFS},
    {"unmount.nested_while_read_only", "remount,rw returns EBUSY until the last of two holds ends",
     nested_while_read_only, FAILS_ON_STOCK, 0},
    {"unmount.deadline_while_read_only", "remount,rw returns EBUSY until the deadline",
     deadline_while_read_only, FAILS_ON_STOCK, 0},
    {"unmount.suspended", "S umount mount: still frozen, and the resume thaws", suspended,
     SAME_ON_STOCK, NEEDS_DM_FREEZE},
    {"unmount.suspended_and_frozen", "S F umount R mount: still frozen until the thaw",
     suspended_and_frozen, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"unmount.suspended_after_unmount", "F umount S R mount: still frozen until the thaw",
     suspended_after_unmount, FAILS_UNTIL_6_1, NEEDS_DM_FREEZE},
    {"unmount.deadline_under_a_suspend", "S umount: the deadline ends only the hold",
     deadline_under_a_suspend_after_unmount, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
};
TOPIC(unmount);
