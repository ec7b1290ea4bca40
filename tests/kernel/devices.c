/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Filesystems of several devices: btrfs on two, ext4 with its journal and XFS with its log and a
 * realtime section elsewhere; and filesystems that are shut down.
 * S: dmsetup suspend, R: resume, F: FIFREEZE, T: FITHAW.
 */
#include <errno.h>
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
    const char *type, *make; /* $0 is the first device, which the others belong to */
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

/* Whether suspending the device freezes the filesystem. 6.1 knows of main devices only. */
static bool freezes(unsigned part) {
    return dm_freezes_volume() && (part == 0 || kernel_version() > 601);
}

static int attach(struct part* part, uint64_t start, uint64_t sectors) {
    char linear[200];
    int minor_number;

    snprintf(part->name, sizeof(part->name), "freeze-abi-%d-part%u", getpid(), part_count);
    snprintf(linear, sizeof(linear), "%s %llu", disk_path(), (unsigned long long)start);
    int result = dm_create(part->name, &minor_number);
    if (result < 0)
        return result;
    part_count++;
    snprintf(part->device, sizeof(part->device), "/dev/dm-%d", minor_number);
    result = dm_load(part->name, sectors, "linear", linear);
    return result < 0 ? result : dm_resume(part->name);
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

/* Busy for a moment after the unmount. */
static bool detached(const struct part* part) {
    for (int i = 0; i < 80; i++) {
        int result = dm_remove(part->name);
        if (result != -EBUSY)
            return result == 0;
        sleep_ms(25);
    }
    return false;
}

/* ---- the filesystem on them, in place of the usual one --------------------------------------- */

static int op_make(long a, long b, long c) {
    char command[512];

    (void)a, (void)b, (void)c;
    snprintf(command, sizeof(command), "sh -c '%s' %s %s %s >/dev/null 2>&1", layout()->make,
             parts[0].device, parts[1].device, parts[2].device);
    return system(command) == 0 ? 0 : -EIO;
}

static int op_mount_all(long a, long b, long c) {
    char options[128] = "";

    (void)a, (void)b, (void)c;
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
    SETUP(elsewhere(actor_outside, op_make, 0, 6 * patience_ms()));
    SETUP(elsewhere(actor_outside, op_mount_all, 0, patience_ms()));
}

/* ---- and nothing of it afterwards ------------------------------------------------------------ */

static int op_resume(long part, long b, long c) {
    (void)b, (void)c;
    return dm_resume(parts[part].name);
}

static bool left_suspended(void) {
    bool left = false;

    for (unsigned i = 0; i < part_count; i++)
        if (dm_suspended(parts[i].name)) {
            left = true;
            elsewhere(actor_outside, op_resume, i, patience_ms());
        }
    return left;
}

static bool left_frozen(void) {
    bool left = false;

    while (admin_thaw() == 0)
        left = true;
    return left;
}

static bool taken_down(void) {
    int result = 0;

    for (int i = 0; i < 40 && (result == 0 || result == -EBUSY); i++) {
        result = unmount_now(0);
        if (result == -EBUSY)
            sleep_ms(50); /* a process that was let go is on its way out */
    }
    bool down = result == -EINVAL;
    for (unsigned i = 0; i < part_count; i++)
        down = detached(&parts[i]) && down;
    return down && rmdir(volume.dir) == 0;
}

static enum outcome clear_up(enum outcome outcome, unsigned slice) {
    bool suspended = left_suspended(), frozen = left_frozen(), down = taken_down();

    if (down)
        give_slice_back(slice);
    if (outcome != PASSED)
        return outcome;
    if (suspended)
        printf("#   a device was left suspended\n");
    if (frozen)
        printf("#   the filesystem was left frozen\n");
    if (!down)
        printf("#   the filesystem cannot be taken down\n");
    return suspended || frozen || !down ? FAILED : PASSED;
}

static enum outcome outcome_of(pid_t pid) {
    int status;

    for (int waited = 0; waited < 20 * patience_ms(); waited += 20) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? (enum outcome)WEXITSTATUS(status) : BROKEN;
        sleep_ms(20);
    }
    printf("#   does not come to an end\n");
    return FAILED;
}

/*
 * The test itself, in a process of its own: whatever becomes of it, this one is left to thaw the
 * filesystem and to take the devices away.
 */
static void on_several_devices(void (*body)(void)) {
    unsigned slice = take_slice();

    make_filesystem(slice);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        body();
        _exit(PASSED);
    }
    enum outcome outcome = outcome_of(pid);
    kill(-pid, SIGKILL);
    outcome = clear_up(outcome, slice);
    if (outcome != PASSED)
        _exit(outcome);
}

/* ---- suspend and resume ---------------------------------------------------------------------- */

static int op_suspend(long part, long b, long c) {
    (void)b, (void)c;
    return dm_suspend(parts[part].name, 0);
}

/* One process does it all, until it blocks: then another takes its place. */
static int by_hand(operation* op, unsigned part) {
    static struct actor* hand;

    if (!hand || hand->busy)
        hand = actor_outside();
    return call(hand, op, part, 0, 0);
}

static int suspend_part(unsigned part) {
    return by_hand(op_suspend, part);
}

static int resume_part(unsigned part) {
    return by_hand(op_resume, part);
}

static void freeze_by(unsigned part) {
    WANT(0, suspend_part(part));
    struct actor* writer = FROZEN();
    WANT(0, resume_part(part));
    LET_GO(writer);
}

/* F writes to the device, and so waits for it. */
static void wait_for(unsigned part) {
    struct actor *writer = actor(), *who = actor();

    WANT(0, suspend_part(part));
    begin(writer, op_write, 0, 0, 0);
    sleep_ms(100);
    begin(who, op_freeze, 0, 0, 0);
    WAITS(who);
    WANT(0, resume_part(part));
    WANT(0, finish(who, patience_ms()));
    WANT(0, finish(writer, patience_ms()));
    writer = FROZEN();
    WANT(0, thaw(who));
    LET_GO(writer);
}

static void suspend_each(void) {
    for (unsigned i = 0; i < part_count; i++) {
        printf("#   device %u\n", i);
        if (freezes(i))
            freeze_by(i);
        else if (i < 2) /* but a realtime section is not written to */
            wait_for(i);
    }
}

/* ---- all orders of a freezer and two suspends ------------------------------------------------ */

enum { FREEZE = MOST, STEPS = 6 };

static struct { struct actor *freezer, *writer; } cast;

static int step(int what, bool first) {
    if (what == FREEZE)
        return first ? freeze(cast.freezer) : thaw(cast.freezer);
    return first ? suspend_part((unsigned)what) : resume_part((unsigned)what);
}

/*
 * From the first step to the last but one the filesystem is frozen, as the writer finds out; and
 * would find out too late if not given a moment.
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
            CHECK(!finished(cast.writer), "%s: thawed before the last step", order);
        }
        int result = step(what[i], first);
        CHECK(result == 0, "%s: %s", order, result_name(result));
        if (i == 0) {
            begin(cast.writer, op_write, 0, 0, 0);
            CHECK(blocks(cast.writer), "%s: not frozen", order);
        }
    }
    CHECK(finish(cast.writer, patience_ms()) == 0, "%s: not thawed", order);
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

/* Each of the three is there twice: to be taken, and to be given back. */
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
    cast.freezer = actor();
    cast.writer = actor();
}

/* On two neighbours of all devices. */
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

/* All that happens while somebody holds it. */
static void hold(void) {
    const int things[3] = {FREEZE, 0, 1};
    int steps[STEPS] = {FREEZE, -1, -1, -1, -1, FREEZE};

    assemble();
    int played = play_all(things, steps, 1, STEPS - 1);
    CHECK(played == 6, "%d orders, not 6", played);
    suspend_each();
}

/* ---- a deadline while all of them are suspended ---------------------------------------------- */

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
    outlast(SHORT);
    if (suspend_freezes) {
        STILL_FROZEN(writer);
        WANT(-EINVAL, thaw(owner));
    }
    for (unsigned i = 0; i < part_count; i++)
        WANT(0, resume_part(i));
    LET_GO(writer);
    WANT(-EINVAL, thaw(owner));
    suspend_each();
}

/* ---- sysrq-j --------------------------------------------------------------------------------- */

static int op_resume_later(long part, long ms, long c) {
    sleep_ms((int)ms);
    return op_resume(part, 0, c);
}

/*
 * A thaw may wait for a suspended device, and another device's resume for the thaw: each is
 * resumed by itself.
 */
static void thaw_by_j(unsigned from, unsigned to, int nested) {
    struct actor *owner = actor(), *hand[MOST];

    for (int i = 0; i < nested; i++)
        WANT(0, freeze(owner));
    for (unsigned i = from; i < to; i++) {
        WANT(0, suspend_part(i));
        hand[i] = actor_outside();
    }
    struct actor* writer = FROZEN();
    for (unsigned i = from; i < to; i++)
        begin(hand[i], op_resume_later, i, 300, 0);
    press_sysrq_j();
    for (unsigned i = from; i < to; i++)
        WANT(0, finish(hand[i], patience_ms()));
    LET_GO(writer);
    WANT(-EINVAL, thaw(owner));
}

/* Nor is there a reference for a hold to be mistaken for. */
static void hold_over_a_suspend(unsigned part) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    struct actor* writer = FROZEN();
    WANT(0, suspend_part(part));
    WANT(0, resume_part(part));
    CHECK(blocks(writer), "the resume of device %u has undone the ioctl's freeze", part);
    WANT(0, thaw(owner));
    LET_GO(writer);
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

    (void)b, (void)c;
    return result_of(ioctl(here, SHUT_DOWN, &argument));
}

static int op_write_in_vain(long a, long b, long c) {
    int result = op_write(a, b, c);

    return result == -EIO ? 0 : result == 0 ? -EEXIST : result;
}

static void leave(struct actor* who) {
    SETUP(call(who, op_close, 0, 0, 0));
}

/* Which is also how it gets well again. */
static void mount_afresh(void) {
    WANT(0, unmount_now(0));
    WANT(0, elsewhere(actor_outside, op_open_exclusively, 0, patience_ms()));
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
    WANT(-EIO, finish(writer, patience_ms()));
    WANT(-EINVAL, thaw(who));
    leave(who);
    leave(other);
    leave(writer);
    mount_afresh();
}

static void shut_down(void) {
    shut_down_while_frozen(FLUSH_NOTHING);
    shut_down_while_frozen(FLUSH_LOG);
}

/* This one freezes by the block device meanwhile. */
static void shut_down_flushing_all(void) {
    shut_down_while_frozen(FLUSH_ALL);
}

static void shut_down_before_the_deadline(void) {
    struct actor *owner = actor(), *writer = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    begin(writer, op_write_in_vain, 0, 0, 0);
    WAITS(writer);
    WANT(0, elsewhere(actor, op_shut_down, FLUSH_NOTHING, patience_ms()));
    LET_GO_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, reset(owner, 600));
    WANT(-EINVAL, thaw(owner));
    leave(owner);
    leave(writer);
    mount_afresh();
}

/* Unmounted while frozen: the deadline lets it go. */
static void shut_down_and_unmounted(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    WANT(0, elsewhere(actor, op_shut_down, FLUSH_NOTHING, patience_ms()));
    leave(owner);
    WANT(0, unmount_now(0));
    WANT(-EBUSY, elsewhere(actor_outside, op_open_exclusively, 0, patience_ms()));
    outlast(SHORT);
    WANT(0, elsewhere(actor_outside, op_open_exclusively, 0, patience_ms()));
    WANT(0, mount_again(0));
    THAWED();
}

/* f2fs writes when it shuts down so. Two holds: until 6.1 one was enough to refuse it. */
static void shut_down_f2fs(void) {
    struct actor *who = actor(), *other = actor();

    WANT(0, freeze(who));
    WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    WANT(-EBUSY, call(other, op_shut_down, FLUSH_ALL, 0, 0));
    WANT(0, thaw(who));
    STILL_FROZEN(writer);
    WANT(0, thaw(who));
    LET_GO(writer);
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

static void sysrq_under_each_suspend(void) {
    on_several_devices(press_under_each_suspend);
}

static void sysrq_under_all_suspends(void) {
    on_several_devices(press_under_all_suspends);
}

static const struct test devices_tests[] = {
    {"devices.suspended", "S of each device freezes, or F waits for it", suspended, SAME_ON_STOCK,
     NEEDS_DEVICES},
    {"devices.nested", "F and S of two devices in all 60 orders; then S still freezes", nested,
     FAILS_ON_STOCK, NEEDS_DEVICES_FREEZE},
    {"devices.held", "F, S and R of two devices in all orders, T", held, FAILS_UNTIL_6_1,
     NEEDS_DEVICES | NEEDS_DM_FREEZE},
    {"devices.held_on_btrfs", "... also where S does not freeze", held, SAME_ON_STOCK,
     NEEDS_DEVICES | NEEDS_BTRFS},
    {"devices.expiry", "expiry while all devices are suspended takes holds only", expiry,
     FAILS_ON_STOCK, NEEDS_DEVICES},
    {"devices.sysrq", "S of another than the main device, j, R: then S freezes again",
     sysrq_under_each_suspend, FAILS_ON_STOCK, NEEDS_VM | NEEDS_DEVICES_FREEZE},
    {"devices.sysrq_all", "... of all devices, with and without holds", sysrq_under_all_suspends,
     FAILS_ON_STOCK, NEEDS_VM | NEEDS_DEVICES_FREEZE},
    {"devices.shutdown", "shut down while frozen: T, EIO for writers, umount", shut_down,
     SAME_ON_STOCK, NEEDS_SHUTDOWN},
    {"devices.shutdown_flushing", "... after flushing all", shut_down_flushing_all, FAILS_UNTIL_6_1,
     NEEDS_SHUTDOWN},
    {"devices.shutdown_expiry", "... the deadline is on time", shut_down_before_the_deadline,
     FAILS_ON_STOCK, NEEDS_SHUTDOWN},
    {"devices.shutdown_unmounted", "... also after umount, and the device is free",
     shut_down_and_unmounted, FAILS_ON_STOCK, NEEDS_SHUTDOWN},
    {"devices.shutdown_of_f2fs", "not while frozen, since it writes", shut_down_f2fs,
     FAILS_ON_STOCK, NEEDS_F2FS},
};
TOPIC(devices);
