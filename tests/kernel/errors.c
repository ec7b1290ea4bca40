/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every error, in the order in which they are checked; a failed call leaves nothing behind. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

static const __s64 thirty = 30, negative = -1;
#define TO(value) ((unsigned long)&(value))

/* Pointers from which eight bytes cannot be read. */
static size_t bad_pointers(unsigned long bad[5]) {
    long page = sysconf(_SC_PAGESIZE);
    char* pages =
        mmap(NULL, 2 * (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED || mprotect(pages + page, (size_t)page, PROT_NONE))
        broken_at(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    bad[0] = 0;
    bad[1] = (unsigned long)-1;
    bad[2] = 1ul << (sizeof(long) * 8 - 1); /* the kernel's half */
    bad[3] = (unsigned long)pages + (unsigned long)page;
    bad[4] = (unsigned long)pages + (unsigned long)page - 4; /* four bytes can be read */
    return 5;
}

static void nothing_is_frozen(void) {
    WANT(-EINVAL, admin_thaw());
    THAWED();
}

/* ---- on other filesystems, and on files without one ------------------------------------------ */

static int op_request_on_path(long code, long path, long argument) {
    int fd = open((const char*)path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -ENOENT;
    int result = result_of(ioctl(fd, (unsigned long)code, argument));
    close(fd);
    return result;
}

static int on_path(const char* path, unsigned int code, unsigned long argument) {
    return call(actor_outside(), op_request_on_path, (long)code, (long)path, (long)argument);
}

static void old_requests_on(const char* path) {
    CHECK(on_path(path, FIFREEZE, 0) == -EOPNOTSUPP, "FIFREEZE on %s is not EOPNOTSUPP", path);
    CHECK(on_path(path, FITHAW, 0) == -EINVAL, "FITHAW on %s is not EINVAL", path);
}

static void new_requests_on(const char* path) {
    CHECK(on_path(path, FIFREEZE_TIMEOUT, TO(thirty)) == -EOPNOTSUPP,
          "FIFREEZE_TIMEOUT on %s is not EOPNOTSUPP", path);
    CHECK(on_path(path, FIFREEZE_TIMEOUT, 0) == -EOPNOTSUPP,
          "on %s, FIFREEZE_TIMEOUT checks its pointer before the filesystem", path);
    CHECK(on_path(path, FIFREEZE_TIMEOUT, TO(negative)) == -EOPNOTSUPP,
          "on %s, FIFREEZE_TIMEOUT checks the timeout before the filesystem", path);
    CHECK(on_path(path, FIFREEZE_RESET_TIMEOUT, TO(thirty)) == -EINVAL,
          "FIFREEZE_RESET_TIMEOUT on %s is not EINVAL", path);
    CHECK(on_path(path, FIFREEZE_RESET_TIMEOUT, 0) == -EFAULT,
          "FIFREEZE_RESET_TIMEOUT on %s is not EFAULT", path);
    CHECK(on_path(path, FIFREEZE_RESET_TIMEOUT, TO(negative)) == -ERANGE,
          "FIFREEZE_RESET_TIMEOUT on %s is not ERANGE", path);
}

static const char* const cannot_freeze[] = {"/proc/self/status", "/proc", "/sys", "/tmp",
                                            "/dev/null"};
enum { CANNOT_FREEZE = sizeof(cannot_freeze) / sizeof(cannot_freeze[0]) };

static void old_requests_elsewhere(void) {
    for (int i = 0; i < CANNOT_FREEZE; i++)
        if (in_our_vm() || strcmp(cannot_freeze[i], "/tmp")) /* a tmpfs there; unknown elsewhere */
            old_requests_on(cannot_freeze[i]);
}

static void new_requests_elsewhere(void) {
    for (int i = 0; i < CANNOT_FREEZE; i++)
        if (in_our_vm() || strcmp(cannot_freeze[i], "/tmp"))
            new_requests_on(cannot_freeze[i]);
}

static int op_mount_overlay(long path, long lower, long c) {
    char options[200];

    if ((mkdirat(here, "over", 0700) && errno != EEXIST) ||
        (mkdirat(here, "under", 0700) && errno != EEXIST))
        return -errno;
    snprintf(options, sizeof(options), "lowerdir=%s/over:%s/under", (const char*)lower,
             (const char*)lower);
    return result_of(mount("overlay", (const char*)path, "overlay", MS_RDONLY, options));
}

static int op_unmount_path(long path, long b, long c) {
    return result_of(umount2((const char*)path, MNT_DETACH));
}

/* Even if the lower filesystem supports freezing. */
static void overlay(void) {
    static char path[] = "/tmp/freeze-abi-overlay.XXXXXX";

    CHECK(mkdtemp(path), "%s: %s", path, strerror(errno));
    struct actor* mounter = actor(); /* has the path, because it is forked later */
    SETUP(call(mounter, op_mount_overlay, (long)path, (long)volume.dir, 0));
    old_requests_on(path);
    SETUP(call(mounter, op_unmount_path, (long)path, 0, 0));
    rmdir(path);
}

static int op_request_on_nothing(long code, long kind, long argument) {
    int fds[2] = {-1, -1};

    if (kind == 0 && pipe(fds))
        return -ENOENT;
    if (kind == 1)
        fds[0] = socket(AF_UNIX, SOCK_STREAM, 0);
    if (kind == 2)
        fds[0] = eventfd(0, 0);
    int result = result_of(ioctl(fds[0], (unsigned long)code, argument));
    close(fds[0]);
    if (fds[1] >= 0)
        close(fds[1]);
    return result;
}

static void old_requests_on_nothing(void) {
    struct actor* who = actor();

    for (long kind = 0; kind < 3; kind++) {
        WANT(-EOPNOTSUPP, call(who, op_request_on_nothing, FIFREEZE, kind, 0));
        WANT(-EINVAL, call(who, op_request_on_nothing, FITHAW, kind, 0));
    }
}

static void new_requests_on_nothing(void) {
    struct actor* who = actor();

    for (long kind = 0; kind < 3; kind++) {
        WANT(-EOPNOTSUPP,
             call(who, op_request_on_nothing, FIFREEZE_TIMEOUT, kind, (long)TO(thirty)));
        WANT(-EINVAL,
             call(who, op_request_on_nothing, FIFREEZE_RESET_TIMEOUT, kind, (long)TO(thirty)));
    }
}

/* The same numbers with another direction or size are other requests. */
static void bare_numbers(void) {
    static const unsigned int near[] = {_IO('X', 119), _IO('X', 120), _IOW('X', 119, int),
                                        _IOR('X', 119, __s64), _IOW('X', 121, __s64)};
    struct actor* who = actor();

    for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++)
        CHECK(request(who, near[i], TO(thirty)) == -ENOTTY, "request %#x: %s", near[i],
              result_name(who->last.result));
    nothing_is_frozen();
}

/* ---- EPERM ----------------------------------------------------------------------------------- */

static int op_drop_privileges(long a, long b, long c) {
    return setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534) ? -errno : 0;
}

static void want_eperm(unsigned int code) {
    unsigned long bad[5];
    size_t count = bad_pointers(bad);
    struct actor *there = actor(), *outside = actor_outside();

    SETUP(call(there, op_drop_privileges, 0, 0, 0));
    SETUP(call(outside, op_drop_privileges, 0, 0, 0));
    WANT(-EPERM, request(there, code, TO(thirty)));
    WANT(-EPERM, request(there, code, TO(negative)));
    for (size_t i = 0; i < count; i++)
        WANT(-EPERM, request(there, code, bad[i]));
    WANT(-EPERM, call(outside, op_request_on_path, (long)code, (long)"/proc", 0));
    WANT(-EPERM, call(outside, op_request_on_path, (long)code, (long)"/dev/null", 0));
}

static void no_privilege_old(void) {
    want_eperm(FIFREEZE);
    want_eperm(FITHAW);
    nothing_is_frozen();
}

static void no_privilege_new(void) {
    want_eperm(FIFREEZE_TIMEOUT);
    want_eperm(FIFREEZE_RESET_TIMEOUT);
    nothing_is_frozen();
}

/* Not even the owner can thaw, once it has dropped its privileges. */
static void privilege_lost(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, 600));
    struct actor* writer = FROZEN();
    SETUP(call(owner, op_drop_privileges, 0, 0, 0));
    WANT(-EPERM, thaw(owner));
    WANT(-EPERM, reset(owner, SHORT));
    CHECK(blocks(writer), "thawed without privilege");
    WANT(0, admin_thaw());
    RELEASED(writer);
}

/* ---- EFAULT, ERANGE -------------------------------------------------------------------------- */

static void bad_pointer(void) {
    unsigned long bad[5];
    size_t count = bad_pointers(bad);
    struct actor *who = actor(), *owner = actor();

    for (size_t i = 0; i < count; i++) {
        WANT(-EFAULT, request(who, FIFREEZE_TIMEOUT, bad[i]));
        WANT(-EFAULT, request(who, FIFREEZE_RESET_TIMEOUT, bad[i]));
        WANT(-EINVAL, thaw(who));
    }
    nothing_is_frozen();
    WANT(0, freeze(owner));
    struct actor* writer = FROZEN();
    for (size_t i = 0; i < count; i++) {
        WANT(-EFAULT, request(owner, FIFREEZE_TIMEOUT, bad[i]));
        WANT(-EFAULT, request(owner, FIFREEZE_RESET_TIMEOUT, bad[i]));
    }
    WANT(0, thaw(owner));
    RELEASED(writer);
}

static void negative_timeout(void) {
    static const int64_t wrong[] = {-1, -2, -(1ll << 32), INT_MIN, LLONG_MIN};
    struct actor *who = actor(), *owner = actor();

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        WANT(-ERANGE, freeze_for(who, wrong[i]));
        WANT(-ERANGE, reset(who, wrong[i]));
        WANT(-EINVAL, thaw(who));
    }
    nothing_is_frozen();
    WANT(0, freeze_for(owner, 600));
    struct actor* writer = FROZEN();
    WANT(-ERANGE, reset(owner, -1));
    WANT(-ERANGE, freeze_for(owner, -1));
    STILL_FROZEN(writer);
    WANT(0, reset(owner, 600));
    WANT(0, thaw(owner));
    RELEASED(writer);
}

/* ---- ENOMEM ---------------------------------------------------------------------------------- */

static int op_freeze_without_memory(long timed, long b, long c) {
    int fail = open("/proc/self/make-it-fail", O_WRONLY | O_CLOEXEC);
    if (fail < 0 || write(fail, "1", 1) != 1)
        return -ENOENT;
    int result =
        result_of(timed ? ioctl(here, FIFREEZE_TIMEOUT, &thirty) : ioctl(here, FIFREEZE, 0));
    if (write(fail, "0", 1) != 1)
        _exit(3);
    close(fail);
    return result;
}

static void no_memory(void) {
    struct actor *who = actor(), *other = actor();

    for (long timed = 0; timed < 2; timed++) {
        arm_failslab("1");
        WANT(-ENOMEM, call(who, op_freeze_without_memory, timed, 0, 0));
        nothing_is_frozen();
        WANT(0, freeze(other));
        struct actor* writer = FROZEN();
        arm_failslab("1");
        WANT(-ENOMEM, call(who, op_freeze_without_memory, timed, 0, 0));
        WANT(0, thaw(other));
        RELEASED(writer);
    }
}

/* ---- EOVERFLOW ------------------------------------------------------------------------------- */

enum { MOST = 65536 };

static void too_many(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, repeat(a, FIFREEZE, MOST));
    struct actor* writer = FROZEN();
    WANT(-EOVERFLOW, freeze(a));
    WANT(-EOVERFLOW, freeze(b));
    WANT(-EOVERFLOW, freeze_for(b, 600));
    WANT(-ERANGE, freeze_for(b, -1));
    WANT(0, thaw(a));
    WANT(0, freeze_for(b, 600));
    WANT(-EOVERFLOW, freeze(b));
    WANT(0, thaw(b));
    WANT(0, repeat(a, FITHAW, MOST - 2));
    CHECK(blocks(writer), "thawed with one hold left");
    WANT(0, thaw(a));
    RELEASED(writer);
}

/*
 * The holds of one owner count, live and ended, until it is told that they have ended. Those of
 * others count only while they are live.
 */
static void too_many_ended(void) {
    struct actor *a = actor(), *b = actor(), *rescuer = actor();

    WANT(0, repeat(a, FIFREEZE, MOST));
    struct actor* writer = FROZEN();
    WANT(0, repeat(rescuer, FITHAW, MOST - 1));
    WANT(-EOVERFLOW, freeze(a));
    WANT(-EOVERFLOW, freeze_for(a, 600));
    WANT(0, freeze(b));
    WANT(-EINVAL, thaw(a)); /* forgets one */
    WANT(0, freeze(a));
    WANT(-EOVERFLOW, freeze(a));
    WANT(0, thaw(a));
    WANT(0, thaw(b));
    WANT(0, thaw(rescuer));
    RELEASED(writer);
    WANT(0, repeat(a, FIFREEZE, MOST)); /* without a live hold, it forgets the ended ones first */
    WANT(-EOVERFLOW, freeze(a));
    WANT(0, repeat(a, FITHAW, MOST));
    WANT(-EINVAL, thaw(a));
}

/* ---- killed while waiting for another process's freeze --------------------------------------- */

static void kill_waiting_freeze(operation* op, long timeout) {
    struct actor* waiting = actor();

    begin(waiting, op, timeout, 0, 0);
    WAITS(waiting);
    kill_actor(waiting);
    CHECK(dies(waiting, block_timeout_ms() / 2),
          "SIGKILL does not end the wait for another process's freeze");
}

static void thaw_or_kill_waiting_thaw(void) {
    struct actor* thawer = actor();

    begin(thawer, op_thaw, 0, 0, 0);
    if (blocks(thawer)) {
        kill_actor(thawer);
        CHECK(dies(thawer, block_timeout_ms() / 2),
              "a thaw waits unkillably for another process's freeze");
    } else {
        WANT(-EINVAL, thawer->last.result);
    }
}

static void killed_while_waiting(void) {
    struct actor* first = actor();
    struct stuck stuck = hold_up_freeze(first, op_freeze, 0);

    kill_waiting_freeze(op_freeze, 0);
    thaw_or_kill_waiting_thaw();
    finish_and_thaw(first, &stuck);
}

static void killed_while_waiting_timed(void) {
    struct actor* first = actor();
    struct stuck stuck = hold_up_freeze(first, op_freeze_for, 600);

    kill_waiting_freeze(op_freeze_for, 600);
    finish_and_thaw(first, &stuck);
}

/* ---- the filesystem cannot freeze ------------------------------------------------------------ */

/* The device fails every request, so the sync or the filesystem's own freeze must fail. */
static void failing_device(operation* op, long argument) {
    struct actor *who = actor(), *admin = actor(),
                 *writer = actor(); /* no file can be opened later */

    SETUP(call(writer, op_write, 0, 0, 0));
    SETUP(load_table("error", ""));
    discard_volume();
    begin(who, op, argument, 0, 0);
    int result = finish(who, 3 * block_timeout_ms()); /* gfs2 takes 5 s to withdraw */
    CHECK(result == -EIO || result == -EROFS, "a freeze on a dead device returned %s",
          result_name(result));
    WANT(-EINVAL, thaw(who));
    WANT(-EINVAL, thaw(admin));
    CHECK(call(writer, op_write, 0, 0, 0) != BLOCKED, "frozen although the freeze failed");
}

static void freeze_fails(void) {
    failing_device(op_freeze, 0);
}

static void timed_freeze_fails(void) {
    failing_device(op_freeze_for, 600);
}

/* ---- f2fs freezes itself while it is resized ------------------------------------------------- */

#define F2FS_RESIZE _IOW(0xf5, 16, __u64)

static int op_shrink_f2fs(long blocks, long b, long c) {
    __u64 argument = (__u64)blocks;
    return result_of(ioctl(here, F2FS_RESIZE, &argument));
}

static struct actor* writer_that_blocks(struct actor* meanwhile) {
    while (!finished(meanwhile)) {
        struct actor* writer = actor();
        begin(writer, op_write, 0, 0, 0);
        if (blocks(writer))
            return writer;
    }
    broken_at(__FILE__, __LINE__, "the resize ended (%s) before it was observed",
              result_name(meanwhile->last.result));
}

/* sysrq-j ends only freezes by users, not that of the resize. */
static void resize_f2fs(bool press_j) {
    struct actor *resizer = actor(), *freezer = actor();
    char slow[200];

    snprintf(slow, sizeof(slow), "%s %llu 150", disk_path(), (unsigned long long)slice_start());
    SETUP(load_table("delay", slow));
    discard_volume(); /* the size and the device change */
    begin(resizer, op_shrink_f2fs, (long)(slice_sectors() / 8 - 8 * 512), 0, 0);
    struct actor* writer = writer_that_blocks(resizer);
    WANT(-EINVAL, admin_thaw());
    if (press_j) {
        press_sysrq_j();
        CHECK(!finished(writer) || finish(resizer, 500) != BLOCKED,
              "sysrq-j thawed it during the resize");
    }
    begin(freezer, op_freeze, 0, 0, 0);
    int result = finish(freezer, 4 * block_timeout_ms());
    CHECK(result == -EBUSY || result == 0, "FIFREEZE during a resize: %s", result_name(result));
    if (result == 0) {
        CHECK(finish(resizer, 500) != BLOCKED, "FIFREEZE succeeded during the resize");
        WANT(0, thaw(freezer));
    }
    WANT(0, resizer->busy ? finish(resizer, 4 * block_timeout_ms()) : resizer->last.result);
    RELEASED(writer);
    nothing_is_frozen();
}

static void f2fs_resize(void) {
    resize_f2fs(false);
}

static void f2fs_resize_and_sysrq(void) {
    resize_f2fs(true);
}

static const struct test errors_tests[] = {
    {"errors.old_requests_elsewhere",
     "proc, sysfs, devtmpfs, tmpfs: FIFREEZE EOPNOTSUPP, FITHAW EINVAL", old_requests_elsewhere,
     SAME_ON_STOCK, 0},
    {"errors.new_requests_elsewhere",
     "proc, sysfs, devtmpfs, tmpfs: EOPNOTSUPP before the argument is checked",
     new_requests_elsewhere, FAILS_ON_STOCK, 0},
    {"errors.overlay", "overlay: EOPNOTSUPP", overlay, SAME_ON_STOCK, 0},
    {"errors.old_requests_on_nothing", "pipe, socket, eventfd: FIFREEZE EOPNOTSUPP, FITHAW EINVAL",
     old_requests_on_nothing, SAME_ON_STOCK, 0},
    {"errors.new_requests_on_nothing",
     "pipe, socket, eventfd: freeze with timeout EOPNOTSUPP, reset EINVAL", new_requests_on_nothing,
     FAILS_ON_STOCK, 0},
    {"errors.bare_numbers", "similar request numbers return ENOTTY", bare_numbers, SAME_ON_STOCK,
     0},
    {"errors.no_privilege_old", "FIFREEZE and FITHAW check EPERM before everything else",
     no_privilege_old, SAME_ON_STOCK, 0},
    {"errors.no_privilege_new", "the new requests check EPERM before everything else",
     no_privilege_new, FAILS_ON_STOCK, 0},
    {"errors.privilege_lost", "an owner without privilege cannot thaw", privilege_lost,
     FAILS_ON_STOCK, 0},
    {"errors.bad_pointer", "EFAULT, and nothing is frozen", bad_pointer, FAILS_ON_STOCK, 0},
    {"errors.negative_timeout", "ERANGE, and nothing is frozen", negative_timeout, FAILS_ON_STOCK,
     0},
    {"errors.no_memory", "ENOMEM, and nothing is frozen", no_memory, FAILS_ON_STOCK,
     NEEDS_FAILSLAB},
    {"errors.too_many", "EOVERFLOW at the 65537th hold", too_many, FAILS_ON_STOCK, 0},
    {"errors.too_many_ended",
     "EOVERFLOW also counts an owner's ended holds until they are reported", too_many_ended,
     FAILS_ON_STOCK, 0},
    {"errors.killed_while_waiting", "SIGKILL ends the wait for another process's freeze",
     killed_while_waiting, FAILS_UNTIL_6_1, 0},
    {"errors.killed_while_waiting_timed", "SIGKILL ends the wait of a freeze with a timeout",
     killed_while_waiting_timed, FAILS_ON_STOCK, 0},
    {"errors.freeze_fails", "a failing device fails the freeze, and nothing is frozen",
     freeze_fails, SAME_ON_STOCK, NEEDS_DM},
    {"errors.timed_freeze_fails",
     "a failing device fails a freeze with a timeout, and nothing is frozen", timed_freeze_fails,
     FAILS_ON_STOCK, NEEDS_DM},
    {"errors.f2fs_resize", "a resize of f2fs cannot be thawed, and no freeze succeeds during it",
     f2fs_resize, FIXED_BY_PART_1, NEEDS_DM | NEEDS_F2FS},
    {"errors.f2fs_resize_and_sysrq", "a resize of f2fs is not thawed by sysrq-j either",
     f2fs_resize_and_sysrq, FIXED_BY_PART_1, NEEDS_VM | NEEDS_DM | NEEDS_F2FS},
};
TOPIC(errors);
