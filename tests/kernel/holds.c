/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holds: the filesystem is frozen while there is at least one. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

static int op_make_directory(long a, long b, long c) {
    if (mkdirat(here, "made", 0700) < 0 && errno != EEXIST)
        return -errno;
    return 0;
}

static char* mapping; /* in the actor */

static int op_map(long a, long b, long c) {
    int fd = openat(here, "written", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    mapping = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return mapping == MAP_FAILED ? -errno : 0;
}

static int op_write_mapping(long a, long b, long c) {
    *(volatile char*)mapping = 'm';
    return 0;
}

static void freeze_and_thaw(void) {
    struct actor *freezer = actor(), *maker = actor(), *mapper = actor();

    SETUP(call(mapper, op_map, 0, 0, 0));
    WANT(0, freeze(freezer));
    struct actor* writer = FROZEN();
    begin(maker, op_make_directory, 0, 0, 0);
    begin(mapper, op_write_mapping, 0, 0, 0);
    WAITS(maker);
    WAITS(mapper);
    WANT(0, thaw(freezer));
    RELEASED(writer);
    WANT(0, finish(maker, block_timeout_ms()));
    WANT(0, finish(mapper, block_timeout_ms()));
}

static void nothing_to_thaw(void) {
    struct actor* who = actor();

    WANT(-EINVAL, thaw(who));
    WANT(0, freeze(who));
    WANT(0, thaw(who));
    WANT(-EINVAL, thaw(who));
    WANT(-EINVAL, admin_thaw());
}

static void one_process(void) {
    struct actor* who = actor();

    WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    WANT(0, freeze(who));
    WANT(0, thaw(who));
    CHECK(blocks(writer), "thawed by the first of two thaws");
    WANT(0, thaw(who));
    RELEASED(writer);
    WANT(-EINVAL, thaw(who));
}

static void overlap(struct actor* first_out, struct actor* last_out) {
    WANT(0, freeze(first_out));
    struct actor* writer = FROZEN();
    WANT(0, freeze(last_out));
    WANT(0, thaw(first_out));
    CHECK(blocks(writer), "thawed by the first of two processes");
    WANT(-EINVAL, thaw(first_out));
    STILL_FROZEN(writer);
    WANT(0, thaw(last_out));
    RELEASED(writer);
}

static void two_processes(void) {
    struct actor *a = actor(), *b = actor();

    overlap(a, b);
    overlap(b, a);
    WANT(-EINVAL, thaw(a));
    WANT(-EINVAL, thaw(b));
}

static void timed_and_plain(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze_for(a, 600));
    struct actor* writer = FROZEN();
    WANT(0, freeze(a));
    WANT(0, freeze_for(b, 600));
    WANT(0, freeze(b));
    WANT(0, thaw(a));
    WANT(0, thaw(a));
    WANT(0, thaw(b));
    CHECK(blocks(writer), "thawed before the last of four thaws");
    WANT(0, thaw(b));
    RELEASED(writer);
}

/* qemu-ga and others thaw until that fails. This must not end anybody else's hold. */
static void thaw_until_it_fails(void) {
    struct actor *other = actor(), *looping = actor();
    int thaws = 0;

    WANT(0, freeze(other));
    struct actor* writer = FROZEN();
    WANT(0, freeze(looping));
    WANT(0, freeze(looping));
    while (thaw(looping) == 0)
        CHECK(++thaws <= 2, "three thaws for two freezes");
    CHECK(thaws == 2, "%d thaws for two freezes", thaws);
    CHECK(blocks(writer), "thawed while another process has a hold");
    WANT(0, thaw(other));
    RELEASED(writer);
}

static void many_times(void) {
    struct actor *a = actor(), *b = actor();

    for (int i = 0; i < 8; i++) {
        WANT(0, freeze(a));
        WANT(0, freeze(b));
        WANT(0, thaw(a));
        WANT(0, thaw(b));
        THAWED();
    }
}

static void argument_is_ignored(void) {
    static const struct { int low, high; } small = {2, 0x7fffffff};
    static const int one = 1;
    static const long one_long = 1, thirty = 30, two = 2, negative = -5;
    const unsigned long arguments[] = {0,
                                       1,
                                       30,
                                       (unsigned long)-1,
                                       0xdead0000,
                                       0xffff888000000000,
                                       (unsigned long)&one,
                                       (unsigned long)&one_long,
                                       (unsigned long)&thirty,
                                       (unsigned long)&negative,
                                       (unsigned long)&small,
                                       (unsigned long)&two};
    const size_t count = sizeof(arguments) / sizeof(arguments[0]);
    struct actor* who = actor();

    for (size_t i = 0; i < count; i++) {
        CHECK(request(who, FIFREEZE, arguments[i]) == 0, "FIFREEZE(%#lx): %s", arguments[i],
              result_name(who->last.result));
        if (i < count - 1)
            CHECK(request(who, FITHAW, arguments[i]) == 0, "FITHAW(%#lx): %s", arguments[i],
                  result_name(who->last.result));
    }
    /* Taken as a timeout, the last argument would be two seconds. */
    struct actor* writer = FROZEN();
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    WANT(0, request(who, FITHAW, arguments[count - 1]));
    RELEASED(writer);
}

/* ---- any descriptor of the filesystem is accepted -------------------------------------------- */

static int op_on_file(long code, long flags, long c) {
    int fd = openat(here, "written", (int)flags | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = result_of(ioctl(fd, (unsigned long)code, 0));
    close(fd);
    return result;
}

static int op_on_bind_mount(long code, long b, long c) {
    char path[] = "/tmp/freeze-abi-bind.XXXXXX";
    if (!mkdtemp(path) || mount(volume.dir, path, NULL, MS_BIND, NULL))
        return -errno;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int result = result_of(ioctl(fd, (unsigned long)code, 0));
    close(fd);
    umount2(path, MNT_DETACH);
    rmdir(path);
    return result;
}

static void any_descriptor(void) {
    struct actor *on_root = actor(), *on_file = actor();

    WANT(0, freeze(on_root));
    struct actor* writer = FROZEN();
    WANT(0, call(on_root, op_on_file, FITHAW, O_RDONLY, 0));
    RELEASED(writer);
    WANT(0, call(on_file, op_on_file, FIFREEZE, O_WRONLY, 0));
    writer = FROZEN();
    WANT(0, call(on_file, op_on_bind_mount, FITHAW, 0, 0));
    RELEASED(writer);
    WANT(-EBADF, call(on_file, op_on_file, FIFREEZE, O_PATH, 0));
}

/* ---- somebody else's freeze in progress ------------------------------------------------------ */

static void waits_for_freeze_in_progress(void) {
    struct actor *first = actor(), *second = actor();
    struct stuck stuck = hold_up_freeze(first, op_freeze, 0);

    begin(second, op_freeze, 0, 0, 0);
    WAITS(second);
    release_stuck_writer(&stuck);
    WANT(0, finish(first, block_timeout_ms()));
    WANT(0, finish(second, block_timeout_ms()));
    struct actor* writer = FROZEN();
    WANT(0, thaw(first));
    CHECK(blocks(writer), "thawed by the first of two thaws");
    WANT(0, thaw(second));
    RELEASED(writer);
}

/* Until the freeze is complete there is no hold. */
static void nothing_to_thaw_yet(void) {
    struct actor* first = actor();
    struct stuck stuck = hold_up_freeze(first, op_freeze, 0);

    WANT(-EINVAL, admin_thaw());
    CHECK(!finished(first), "the thaw ended the freeze in progress");
    finish_and_thaw(first, &stuck);
}

static void nothing_to_reset_yet(void) {
    struct actor* first = actor();
    struct stuck stuck = hold_up_freeze(first, op_freeze, 0);

    WANT(-EINVAL, admin_reset(600));
    finish_and_thaw(first, &stuck);
}

static const struct test holds_tests[] = {
    {"holds.freeze_and_thaw", "writes, mkdir and page faults block from the freeze to the thaw",
     freeze_and_thaw, SAME_ON_STOCK, 0},
    {"holds.nothing_to_thaw", "thawing a filesystem that is not frozen returns EINVAL",
     nothing_to_thaw, SAME_ON_STOCK, 0},
    {"holds.one_process", "F F T T by one process: frozen until the last thaw (case D)",
     one_process, FAILS_ON_STOCK, 0},
    {"holds.two_processes", "F F T T by two processes, in both orders: frozen until the last thaw",
     two_processes, FAILS_ON_STOCK, 0},
    {"holds.timed_and_plain", "freezes with and without a timeout nest", timed_and_plain,
     FAILS_ON_STOCK, 0},
    {"holds.thaw_until_it_fails", "a process that thaws until it fails ends only its own holds",
     thaw_until_it_fails, FAILS_ON_STOCK, 0},
    {"holds.many_times", "repeated freezing and thawing leaves no hold behind", many_times,
     FAILS_ON_STOCK, 0},
    {"holds.argument_is_ignored", "FIFREEZE and FITHAW ignore their argument", argument_is_ignored,
     SAME_ON_STOCK, 0},
    {"holds.any_descriptor", "files and bind mounts can be used instead of the root",
     any_descriptor, SAME_ON_STOCK, 0},
    {"holds.nothing_to_thaw_yet", "a thaw during the first freeze returns EINVAL at once",
     nothing_to_thaw_yet, SAME_ON_STOCK, 0},
    {"holds.nothing_to_reset_yet", "a reset during the first freeze returns EINVAL at once",
     nothing_to_reset_yet, FAILS_ON_STOCK, 0},
    {"holds.waits_for_freeze_in_progress", "a freeze waits for another one in progress, then nests",
     waits_for_freeze_in_progress, FAILS_ON_STOCK, 0},
};
TOPIC(holds);
