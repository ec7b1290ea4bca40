/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Filesystems on several devices: btrfs on two, ext4 with an external journal, XFS with an external
 * log and a realtime section; and filesystems that are shut down.
 * S: dmsetup suspend, R: resume, F: FIFREEZE, T: FITHAW.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"

/* ---- the devices, all on one slice ----------------------------------------------------------- */

enum { MOST = 3 };

static const struct layout {
    const char *type, *make; /* $0 is the main device */
    unsigned mib[MOST];
} layouts[] = {
    {"ext4",
     "mke2fs -q -F -b 4096 -O journal_dev $1 && mke2fs -q -F -b 4096 -t ext4 -N 4096 -J device=$1 "
     "-E lazy_itable_init=0 $0",
     {64, 16}},
    {"xfs", "mkfs.xfs --unsupported -q -f -l logdev=$1 -r rtdev=$2 $0", {128, 16, 64}},
    {"btrfs", "mkfs.btrfs -q -f -m raid1 -d single $0 $1", {160, 160}},
};

static struct part { char name[64], device[32]; } parts[MOST];
static unsigned part_count;

static const struct layout* layout(void) {
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
        if (is_type(layouts[i].type))
            return &layouts[i];
    return NULL;
}

/* Whether suspending the device freezes the filesystem. 6.1 considers main devices only. */
static bool freezes(unsigned part) {
    return dm_freezes_volume() && (part == 0 || kernel_version() > 601);
}

static int attach(struct part* part, uint64_t start, uint64_t sectors) {
    int minor_number;

    snprintf(part->name, sizeof(part->name), "freeze-abi-%d-part%u", getpid(), part_count);
    int result = dm_create_linear(part->name, disk_path(), start, sectors, &minor_number);
    part_count++;
    snprintf(part->device, sizeof(part->device), "/dev/dm-%d", minor_number);
    return result;
}

static void attach_all(unsigned slice) {
    uint64_t start = slice * slice_sectors();

    if (start >= spare_start())
        broken_at(__FILE__, __LINE__, "no slice is left");
    for (unsigned i = 0; i < MOST && layout()->mib[i]; i++) {
        uint64_t sectors = (uint64_t)layout()->mib[i] << 11;
        SETUP(attach(&parts[i], start, sectors));
        start += sectors;
    }
}

/* ---- the filesystem on them, instead of the usual one ---------------------------------------- */

static int op_make(long a, long b, long c) {
    char command[512];

    snprintf(command, sizeof(command), "sh -c '%s' %s %s %s >/dev/null 2>&1", layout()->make,
             parts[0].device, parts[1].device, parts[2].device);
    return system(command) == 0 ? 0 : -EIO;
}

static int op_mount_all(long a, long b, long c) {
    char options[128] = "";

    if (is_type("xfs"))
        snprintf(options, sizeof(options), "logdev=%s,rtdev=%s", parts[1].device, parts[2].device);
    if (is_type("btrfs"))
        snprintf(options, sizeof(options), "device=%s,device=%s", parts[0].device, parts[1].device);
    return result_of(mount(volume.device, volume.dir, volume.type, 0, options));
}

static void make_filesystem(unsigned slice) {
    attach_all(slice);
    volume.slice = slice;
    snprintf(volume.name, sizeof(volume.name), "%s", parts[0].name);
    snprintf(volume.device, sizeof(volume.device), "%s", parts[0].device);
    snprintf(volume.dir, sizeof(volume.dir), "/tmp/freeze-abi-parts.XXXXXX");
    if (!mkdtemp(volume.dir))
        broken_at(__FILE__, __LINE__, "%s: %s", volume.dir, strerror(errno));
    SETUP(elsewhere(actor_outside, op_make, 0, 6 * block_timeout_ms()));
    SETUP(elsewhere(actor_outside, op_mount_all, 0, block_timeout_ms()));
}

/* ---- clean-up -------------------------------------------------------------------------------- */

static int op_resume(long part, long b, long c) {
    return dm_resume(parts[part].name);
}

static bool left_suspended(void) {
    bool left = false;

    for (unsigned i = 0; i < part_count; i++)
        if (dm_suspended(parts[i].name)) {
            left = true;
            elsewhere(actor_outside, op_resume, i, block_timeout_ms());
        }
    return left;
}

static bool left_frozen(void) {
    bool left = false;

    while (admin_thaw() == 0)
        left = true;
    return left;
}

static bool removed(void) {
    bool gone = unmount_all();

    for (unsigned i = 0; i < part_count; i++)
        gone = dm_remove_when_unused(parts[i].name, 2000) == 0 && gone;
    return gone && rmdir(volume.dir) == 0;
}

static enum outcome clean_up(enum outcome outcome, unsigned slice) {
    bool suspended = left_suspended(), frozen = left_frozen(), gone = removed();

    if (gone)
        free_slice(slice);
    if (outcome != PASSED)
        return outcome;
    if (suspended)
        printf("#   a device was left suspended\n");
    if (frozen)
        printf("#   the filesystem was left frozen\n");
    if (!gone)
        printf("#   the filesystem cannot be removed\n");
    return suspended || frozen || !gone ? FAILED : PASSED;
}

/* Runs the test in a child; whatever happens there, this process thaws and removes the devices. */
static void on_several_devices(void (*body)(void)) {
    unsigned slice = allocate_slice();
    int status;

    make_filesystem(slice);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        body();
        _exit(PASSED);
    }
    enum outcome outcome = FAILED;
    if (exits_within(pid, 20 * block_timeout_ms(), &status))
        outcome = WIFEXITED(status) ? (enum outcome)WEXITSTATUS(status) : BROKEN;
    else
        printf("#   the test does not end\n");
    kill(-pid, SIGKILL);
    outcome = clean_up(outcome, slice);
    if (outcome != PASSED)
        _exit(outcome);
}

/* ---- suspend and resume ---------------------------------------------------------------------- */

static int op_suspend(long part, long b, long c) {
    return dm_suspend(parts[part].name, 0);
}

static int suspend_part(unsigned part) {
    return call_helper(op_suspend, part);
}

static int resume_part(unsigned part) {
    return call_helper(op_resume, part);
}

static void freeze_by(unsigned part) {
    WANT(0, suspend_part(part));
    struct actor* writer = FROZEN();
    WANT(0, resume_part(part));
    RELEASED(writer);
}

/* A freeze writes to the device, and therefore waits for it. */
static void wait_for(unsigned part) {
    struct actor *writer = actor(), *who = actor();

    WANT(0, suspend_part(part));
    begin(writer, op_write, 0, 0, 0);
    sleep_ms(100);
    begin(who, op_freeze, 0, 0, 0);
    WAITS(who);
    WANT(0, resume_part(part));
    WANT(0, finish(who, block_timeout_ms()));
    WANT(0, finish(writer, block_timeout_ms()));
    writer = FROZEN();
    WANT(0, thaw(who));
    RELEASED(writer);
}

static void suspend_each(void) {
    for (unsigned i = 0; i < part_count; i++) {
        printf("#   device %u\n", i);
        if (freezes(i))
            freeze_by(i);
        else if (i < 2) /* a freeze does not write to a realtime section */
            wait_for(i);
    }
}

/* ---- all orders of a freezer and two suspends ------------------------------------------------ */

enum { FREEZE = MOST, STEPS = 6 };

static struct { struct actor *freezer, *writer; } actors;

static int step(int what, bool first) {
    if (what == FREEZE)
        return first ? freeze(actors.freezer) : thaw(actors.freezer);
    return first ? suspend_part((unsigned)what) : resume_part((unsigned)what);
}

/*
 * The filesystem is frozen from the first step until the last. Before the last step, the writer
 * gets a moment in which it would notice a thaw.
 */
static void play(const int what[STEPS]) {
    static const char letters[][3] = {"SR", "SR", "SR", "FT"};
    bool taken[MOST + 1] = {false};
    char order[3 * STEPS + 1] = "";

    for (int i = 0; i < STEPS; i++) {
        bool first = !taken[what[i]];
        taken[what[i]] = true;
        snprintf(order + strlen(order), sizeof(order) - strlen(order),
                 what[i] == FREEZE ? "%c " : "%c%d ", letters[what[i]][!first], what[i]);
        if (i == STEPS - 1) {
            sleep_ms(20);
            CHECK(!finished(actors.writer), "%s: thawed before the last step", order);
        }
        int result = step(what[i], first);
        CHECK(result == 0, "%s: %s", order, result_name(result));
        if (i == 0) {
            begin(actors.writer, op_write, 0, 0, 0);
            CHECK(blocks(actors.writer), "%s: not frozen", order);
        }
    }
    CHECK(finish(actors.writer, block_timeout_ms()) == 0, "%s: not thawed", order);
}

static int count_of(int what, const int* steps, int length) {
    int count = 0;

    for (int i = 0; i < length; i++)
        count += steps[i] == what;
    return count;
}

static bool any_taken(const int things[3], const int* steps, int length) {
    for (int i = 0; i < 3; i++)
        if (count_of(things[i], steps, length) == 1)
            return true;
    return false;
}

/* Each of the three occurs twice: the first time as freeze, the second time as thaw. */
static int play_all(const int things[3], int steps[STEPS], int length, int end) {
    int played = 0;

    if (length == end) {
        play(steps);
        return 1;
    }
    if (length && !any_taken(things, steps, length))
        return 0;
    for (int i = 0; i < 3; i++) {
        if (count_of(things[i], steps, STEPS) == 2)
            continue;
        steps[length] = things[i];
        played += play_all(things, steps, length + 1, end);
        steps[length] = -1;
    }
    return played;
}

static void assemble(void) {
    actors.freezer = actor();
    actors.writer = actor();
}

/* On two neighbouring devices. */
static void nest_on(int first) {
    const int things[3] = {FREEZE, first, first + 1};
    int steps[STEPS] = {-1, -1, -1, -1, -1, -1};
    int played = play_all(things, steps, 0, STEPS);

    CHECK(played == 60, "%d orders, not 60", played);
}

static void nest(void) {
    assemble();
    nest_on((int)part_count - 2);
    for (unsigned i = 0; i < part_count; i++)
        freeze_by(i);
}

/* All orders of the suspends while there is a hold. */
static void hold(void) {
    const int things[3] = {FREEZE, 0, 1};
    int steps[STEPS] = {FREEZE, -1, -1, -1, -1, FREEZE};

    assemble();
    int played = play_all(things, steps, 1, STEPS - 1);
    CHECK(played == 6, "%d orders, not 6", played);
    suspend_each();
}

/* ---- a deadline while all devices are suspended ---------------------------------------------- */

static void expire(void) {
    struct actor* owner = actor();
    bool suspend_freezes = false;

    WANT(0, freeze_for(owner, 600));
    struct actor* writer = FROZEN();
    for (unsigned i = 0; i < part_count; i++) {
        WANT(0, suspend_part(i));
        suspend_freezes = suspend_freezes || freezes(i);
    }
    WANT(0, reset(owner, SHORT));
    sleep_past(SHORT);
    if (suspend_freezes) {
        STILL_FROZEN(writer);
        WANT(-EINVAL, thaw(owner));
    }
    for (unsigned i = 0; i < part_count; i++)
        WANT(0, resume_part(i));
    RELEASED(writer);
    WANT(-EINVAL, thaw(owner));
    suspend_each();
}

/* ---- the write-out of a device fails when the filesystem is already frozen -------------------- */

enum { BAD_SECTORS = 2048 };

static uint64_t part_start(unsigned part) {
    uint64_t start = slice_start();

    for (unsigned i = 0; i < part; i++)
        start += (uint64_t)layout()->mib[i] << 11;
    return start;
}

static void give_bad_end(unsigned part) {
    const uint64_t sectors = (uint64_t)layout()->mib[part] << 11;

    SETUP(dm_load_linear_and_bad(parts[part].name, disk_path(), part_start(part), sectors,
                                 BAD_SECTORS));
    SETUP(dm_suspend(parts[part].name, DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG));
    SETUP(resume_part(part));
}

/* One page behind the filesystem's part of the device; it stays in memory. */
static int op_dirty_bad_end(long part, long b, long c) {
    static const char page[4096];
    int fd = open(parts[part].device, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    int result = result_of(pwrite(fd, page, sizeof(page), (off_t)layout()->mib[part] << 20));
    close(fd);
    return result < 0 ? result : 0;
}

/* Not the main device, whose cache the freeze itself writes out. */
static void fail_to_write_out(void) {
    for (unsigned i = 1; i < part_count; i++) {
        printf("#   device %u\n", i);
        give_bad_end(i);
        SETUP(elsewhere(actor, op_dirty_bad_end, i, block_timeout_ms()));
        int result = suspend_part(i);
        CHECK(result == -EIO, "the suspend returned %s", result_name(result));
        THAWED();
        WANT(-EINVAL, admin_thaw());
        freeze_by(i);
    }
}

/* ---- sysrq-j --------------------------------------------------------------------------------- */

static int op_resume_later(long part, long ms, long c) {
    sleep_ms((int)ms);
    return op_resume(part, 0, c);
}

/*
 * A thaw may wait for a suspended device, and the resume of another device may wait for the thaw:
 * each device is resumed by its own process.
 */
static void thaw_by_j(unsigned from, unsigned to, int nested) {
    struct actor *owner = actor(), *resumer[MOST];

    for (int i = 0; i < nested; i++)
        WANT(0, freeze(owner));
    for (unsigned i = from; i < to; i++) {
        WANT(0, suspend_part(i));
        resumer[i] = actor_outside();
    }
    struct actor* writer = FROZEN();
    for (unsigned i = from; i < to; i++)
        begin(resumer[i], op_resume_later, i, 300, 0);
    press_sysrq_j();
    for (unsigned i = from; i < to; i++)
        WANT(0, finish(resumer[i], block_timeout_ms()));
    RELEASED(writer);
    WANT(-EINVAL, thaw(owner));
}

/* No reference is left that could be mistaken for a hold. */
static void hold_over_a_suspend(unsigned part) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    struct actor* writer = FROZEN();
    WANT(0, suspend_part(part));
    WANT(0, resume_part(part));
    CHECK(blocks(writer), "the resume of device %u undid the freeze of the ioctl", part);
    WANT(0, thaw(owner));
    RELEASED(writer);
}

static void press_under_each_suspend(void) {
    for (unsigned i = 1; i < part_count; i++) {
        printf("#   device %u\n", i);
        thaw_by_j(i, i + 1, 0);
        freeze_by(i);
        hold_over_a_suspend(i);
    }
}

static void press_under_all_suspends(void) {
    for (int nested = 0; nested <= 2; nested += 2) {
        thaw_by_j(0, part_count, nested);
        for (unsigned i = 0; i < part_count; i++) {
            freeze_by(i);
            hold_over_a_suspend(i);
        }
    }
}

/* ---- shut down while frozen ------------------------------------------------------------------ */

#define SHUT_DOWN _IOR('X', 125, __u32)
enum { FLUSH_ALL = 0, FLUSH_LOG = 1, FLUSH_NOTHING = 2 };

static int op_shut_down(long how, long b, long c) {
    __u32 argument = (__u32)how;

    return result_of(ioctl(here, SHUT_DOWN, &argument));
}

static int op_write_that_fails(long a, long b, long c) {
    int result = op_write(a, b, c);

    return result == -EIO ? 0 : result == 0 ? -EEXIST : result;
}

static void close_root(struct actor* who) {
    SETUP(call(who, op_close, 0, 0, 0));
}

/* This also repairs it. */
static void unmount_and_mount(void) {
    WANT(0, unmount_now(0));
    WANT(0, open_exclusively());
    WANT(0, mount_again(0));
    THAWED();
}

static void shut_down_while_frozen(int how) {
    struct actor *who = actor(), *other = actor();

    WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    WANT(0, call(other, op_shut_down, how, 0, 0));
    STILL_FROZEN(writer);
    WANT(0, thaw(who));
    WANT(-EIO, finish(writer, block_timeout_ms()));
    WANT(-EINVAL, thaw(who));
    close_root(who);
    close_root(other);
    close_root(writer);
    unmount_and_mount();
}

static void shut_down(void) {
    shut_down_while_frozen(FLUSH_NOTHING);
    shut_down_while_frozen(FLUSH_LOG);
}

/* This one freezes the block device during the shutdown. */
static void shut_down_flushing_all(void) {
    shut_down_while_frozen(FLUSH_ALL);
}

static void shut_down_before_the_deadline(void) {
    struct actor *owner = actor(), *writer = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    begin(writer, op_write_that_fails, 0, 0, 0);
    WAITS(writer);
    WANT(0, elsewhere(actor, op_shut_down, FLUSH_NOTHING, block_timeout_ms()));
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, reset(owner, 600));
    WANT(-EINVAL, thaw(owner));
    close_root(owner);
    close_root(writer);
    unmount_and_mount();
}

/* Unmounted while frozen: the deadline releases it. */
static void shut_down_and_unmounted(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    WANT(0, elsewhere(actor, op_shut_down, FLUSH_NOTHING, block_timeout_ms()));
    close_root(owner);
    WANT(0, unmount_now(0));
    WANT(-EBUSY, open_exclusively());
    sleep_past(SHORT);
    WANT(0, open_exclusively());
    WANT(0, mount_again(0));
    THAWED();
}

/* f2fs writes during this shutdown. With two holds, because 6.1 already refuses it with one. */
static void shut_down_f2fs(void) {
    struct actor *who = actor(), *other = actor();

    WANT(0, freeze(who));
    if (kernel_parts != 1)
        WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    WANT(-EBUSY, call(other, op_shut_down, FLUSH_ALL, 0, 0));
    if (kernel_parts != 1) {
        WANT(0, thaw(who));
        STILL_FROZEN(writer);
    }
    WANT(0, thaw(who));
    RELEASED(writer);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void suspended(void) {
    on_several_devices(suspend_each);
}

static void nested(void) {
    on_several_devices(nest);
}

static void held(void) {
    on_several_devices(hold);
}

static void expiry(void) {
    on_several_devices(expire);
}

static void write_out_fails(void) {
    on_several_devices(fail_to_write_out);
}

static void sysrq_under_each_suspend(void) {
    on_several_devices(press_under_each_suspend);
}

static void sysrq_under_all_suspends(void) {
    on_several_devices(press_under_all_suspends);
}

static const struct test devices_tests[] = {
    {"devices.suspended", "suspending each device freezes, or a freeze waits for it", suspended,
     SAME_ON_STOCK, NEEDS_DEVICES},
    {"devices.nested",
     "F and S of two devices in all 60 orders, after which a suspend still freezes", nested,
     FAILS_ON_STOCK, NEEDS_DEVICES_FREEZE},
    {"devices.held", "F, then S and R of two devices in all orders, then T", held, FAILS_UNTIL_6_1,
     NEEDS_DEVICES | NEEDS_DM_FREEZE},
    {"devices.held_on_btrfs",
     "F, then S and R in all orders, then T, where a suspend does not freeze", held, SAME_ON_STOCK,
     NEEDS_DEVICES | NEEDS_BTRFS},
    {"devices.expiry", "expiry while all devices are suspended ends only holds", expiry,
     FAILS_ON_STOCK, NEEDS_DEVICES},
    {"devices.write_out_fails",
     "S of a device whose write-out fails: the suspend fails, and nothing is frozen",
     write_out_fails, FAILS_ON_STOCK, NEEDS_DEVICES_FREEZE},
    {"devices.sysrq", "S of a device other than the main one, j, R: a suspend freezes again",
     sysrq_under_each_suspend, FAILS_ON_STOCK, NEEDS_VM | NEEDS_DEVICES_FREEZE},
    {"devices.sysrq_all", "S of all devices, j, R, with and without holds: a suspend freezes again",
     sysrq_under_all_suspends, FAILS_ON_STOCK, NEEDS_VM | NEEDS_DEVICES_FREEZE},
    {"devices.shutdown", "shut down while frozen: thaw succeeds, writers get EIO, umount works",
     shut_down, SAME_ON_STOCK, NEEDS_SHUTDOWN},
    {"devices.shutdown_flushing",
     "shut down with a flush while frozen: thaw, EIO for writers, umount", shut_down_flushing_all,
     FAILS_UNTIL_6_1, NEEDS_SHUTDOWN},
    {"devices.shutdown_expiry", "shut down while frozen: the deadline is on time",
     shut_down_before_the_deadline, FAILS_ON_STOCK, NEEDS_SHUTDOWN},
    {"devices.shutdown_unmounted",
     "shut down and unmounted while frozen: the deadline releases the device",
     shut_down_and_unmounted, FAILS_ON_STOCK, NEEDS_SHUTDOWN},
    {"devices.shutdown_of_f2fs", "f2fs refuses a shutdown while frozen, because it would write",
     shut_down_f2fs, FIXED_BY_PART_1, NEEDS_F2FS},
};
TOPIC(devices);
