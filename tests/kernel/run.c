/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One test: in a process of its own, and everything set right after it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"

/* ---- whether a test can run here ------------------------------------------------------------ */

/* Until 6.12, btrfs opens its devices without telling the block layer what to freeze. */
bool dm_freezes_volume(void) {
    return !is_type("btrfs") || kernel_version() > 612;
}

static bool can_have_devices(void) {
    return is_type("ext4") || is_type("xfs") || is_type("btrfs");
}

/* 6.1 finds a filesystem by its main device only. */
static bool dm_freezes_by_each_device(void) {
    return dm_freezes_volume() && kernel_version() > 601;
}

/* JFS opens its log again. gfs2 reads its journal: that of 6.1 waits for its device for ever. */
static bool thaws_without_device(void) {
    return !is_type("jfs") && (!is_type("gfs2") || kernel_version() > 601);
}

/* These are right on every machine. */
static const char* pointless(const struct test* test) {
    if ((test->needs & NEEDS_F2FS) && !is_type("f2fs"))
        return "about f2fs";
    if ((test->needs & NEEDS_BTRFS) && !is_type("btrfs"))
        return "about btrfs";
    if ((test->needs & NEEDS_JFS) && !is_type("jfs"))
        return "about JFS";
    if ((test->needs & NEEDS_THRIFTY) && !is_type("ext4") && !is_type("xfs") && !is_type("f2fs"))
        return "the filesystem itself takes memory to thaw";
    if ((test->needs & NEEDS_LANDLOCK_IOCTL) && kernel_version() < 610)
        return "before 6.10 Landlock knows no ioctls";
    if ((test->needs & NEEDS_DM_FREEZE) && !dm_freezes_volume())
        return "device-mapper does not freeze btrfs on 6.1 and 6.12";
    if ((test->needs & (NEEDS_DEVICES | NEEDS_DEVICES_FREEZE)) && !can_have_devices())
        return "about types that can have several devices";
    if ((test->needs & NEEDS_DEVICES_FREEZE) && !dm_freezes_by_each_device())
        return "device-mapper does not freeze it by each of its devices on this kernel";
    if ((test->needs & NEEDS_SHUTDOWN) && !is_type("ext4") && !is_type("xfs"))
        return "about ext4 and XFS";
    if ((test->needs & NEEDS_THAW_WITHOUT_DEVICE) && !thaws_without_device())
        return "cannot be thawed without its device";
#ifndef __x86_64__
    if (test->needs & NEEDS_32BIT)
        return "32-bit calls are tested on x86-64 only";
#endif
    return NULL;
}

/* These only outside the virtual machine, which has everything. */
static const char* impossible(const struct test* test) {
    if (in_our_vm())
        return NULL;
    if (test->needs & NEEDS_VM)
        return "touches the whole machine: only in the virtual machine";
    /* A stock kernel keeps the block device of what was shut down frozen, for good. */
    if (test->needs & NEEDS_SHUTDOWN)
        return "can spoil a loop device of the machine: only in the virtual machine";
    if ((test->needs & (NEEDS_DM | NEEDS_DM_FREEZE | NEEDS_DEVICES | NEEDS_DEVICES_FREEZE)) &&
        !dm_present())
        return "no device-mapper";
    return NULL;
}

/* ---- in a process of its own ---------------------------------------------------------------- */

static void run_in_child(const struct test* test) __attribute__((noreturn));
static void run_in_child(const struct test* test) {
    setpgid(0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    test->run();
    _exit(PASSED);
}

/* How long the last process took that did little: the machine's measure of time. */
static double roundtrip = -1;

int shortest(void) {
    int timeout = (int)(10 * roundtrip);

    return timeout < 2 ? 2 : timeout < 20 ? timeout : 20;
}

static bool ends(pid_t pid, int within_ms) {
    struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    int ready = 0;

    for (int waited = 0; waited < within_ms && ready == 0; waited += 100)
        ready = poll(&ended, 1, 100);
    close(ended.fd);
    return ready > 0;
}

static enum outcome outcome_of(pid_t pid, int within_ms) {
    int status;

    if (!ends(pid, within_ms) || waitpid(pid, &status, 0) != pid)
        return HUNG;
    return WIFEXITED(status) && WEXITSTATUS(status) <= SKIPPED ? (enum outcome)WEXITSTATUS(status)
                                                               : BROKEN;
}

/* ---- afterwards: nothing frozen, nobody left ------------------------------------------------ */

enum left { NOTHING_LEFT = 0, LEFT_SUSPENDED = 1, LEFT_FROZEN = 2, UNUSABLE = 4 };

/*
 * In a process of its own, which may block. Without the checks of a test: this must go on
 * whatever happens.
 */
static void clear_up(void) __attribute__((noreturn));
static void clear_up(void) {
    int left = NOTHING_LEFT;

    if (volume_has_dm() && dm_suspended(volume.name)) {
        left |= LEFT_SUSPENDED;
        if (dm_resume(volume.name))
            _exit(UNUSABLE);
    }
    if (op_reopen(0, 0, 0))
        _exit(UNUSABLE);
    for (int i = 0; i < 65536 && op_thaw(0, 0, 0) == 0; i++)
        left |= LEFT_FROZEN;
    _exit(op_write(0, 0, 0) == 0 ? left : UNUSABLE);
}

static int cleared_up(void) {
    int64_t begun = now_ns();
    int status;

    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        clear_up();
    if (!ends(pid, patience_ms()) || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return UNUSABLE;
    roundtrip = seconds(now_ns() - begun);
    return WEXITSTATUS(status);
}

static bool all_gone(pid_t group) {
    for (int i = 0; i < 250; i++) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (kill(-group, 0) && errno == ESRCH)
            return true;
        sleep_ms(20);
    }
    return false;
}

static void restore_sysctls(void) {
    if (access(FREEZE_NEST, F_OK) == 0)
        write_file(FREEZE_NEST, "1");
    if (access(FREEZE_TIMEOUT_ARG, F_OK) == 0)
        write_file(FREEZE_TIMEOUT_ARG, "0");
    if (in_our_vm())
        write_file(DIRTY_RATIO, "20"); /* as kernels have it */
}

/* What the test left behind; nothing of it is left after this, unless that is UNUSABLE. */
static int settle(pid_t group) {
    kill(-group, SIGKILL);
    restore_sysctls();
    int left = note->spoilt ? UNUSABLE : cleared_up();
    return all_gone(group) ? left : UNUSABLE;
}

static enum outcome blame(int left) {
    if (left & UNUSABLE)
        printf("#   the filesystem cannot be used any more\n");
    if (left & LEFT_SUSPENDED)
        printf("#   the device was left suspended\n");
    if (left & LEFT_FROZEN)
        printf("#   the filesystem was left frozen\n");
    return left ? FAILED : PASSED;
}

/* ---- the verdict ---------------------------------------------------------------------------- */

static enum outcome run(const struct test* test) {
    *note = (struct note){0};
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        run_in_child(test);
    setpgid(pid, pid);
    enum outcome outcome = outcome_of(pid, 30 * patience_ms());
    int left = settle(pid);
    if (outcome == PASSED && !note->spoilt)
        outcome = blame(left);
    if (left & UNUSABLE)
        volume_abandon();
    else if (outcome != PASSED)
        volume_start_afresh();
    return outcome;
}

bool fails_on_stock(const struct test* test) {
    switch (test->stock) {
    case SAME_ON_STOCK:
        return false;
    case FAILS_UNTIL_6_1:
        return kernel_version() <= 601;
    case FAILS_UNTIL_6_1_AND_ON_BTRFS:
        return kernel_version() <= 601 || is_type("btrfs");
    case FAILS_ON_STOCK:
        break;
    }
    return true;
}

static bool right(const struct test* test, enum outcome outcome, bool stock) {
    return outcome == (stock && fails_on_stock(test) ? FAILED : PASSED);
}

static const char* remark(const struct test* test, enum outcome outcome, bool stock) {
    if (outcome == BROKEN)
        return " (could not be made)";
    if (outcome == HUNG)
        return " (hung)";
    if (!stock)
        return "";
    if (!fails_on_stock(test))
        return outcome == PASSED ? " (same on stock)" : "";
    return outcome == FAILED ? " (fails on stock, as it must)"
                             : " (passes on stock, where it must fail)";
}

/* Sets @skip to why, if it was not run. */
static enum outcome run_if_possible(const struct test* test, const char** skip) {
    enum outcome outcome;

    if ((*skip = pointless(test)) || (*skip = impossible(test)))
        return SKIPPED;
    outcome = volume_prepare() && (roundtrip >= 0 || !cleared_up()) ? run(test) : BROKEN;
    if (outcome != SKIPPED)
        return outcome;
    *skip = note->lacks;
    if (!in_our_vm())
        return SKIPPED;
    printf("#   this machine should have it: %s\n", note->lacks);
    return BROKEN;
}

void judge(const struct test* test, bool stock, struct verdict* verdict) {
    const char* skip;
    int64_t begun = now_ns();
    int timeout = shortest();
    enum outcome outcome = run_if_possible(test, &skip);

    if (outcome != SKIPPED)
        printf("#   %.1f s%s\n", seconds(now_ns() - begun),
               timeout > 2 ? ", with longer timeouts, as the machine is slow" : "");
    verdict->ok = outcome == SKIPPED || right(test, outcome, stock);
    snprintf(verdict->line, sizeof(verdict->line), "%s %s: %s%s%s", volume.type, test->name,
             test->what, outcome == SKIPPED ? " # SKIP " : remark(test, outcome, stock),
             outcome == SKIPPED ? skip : "");
}
