/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs one test in its own process and cleans up after it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"

int kernel_parts = 3;

/* ---- whether a test can run here ------------------------------------------------------------ */

/* Up to 6.12, btrfs does not register its superblock with its devices. */
bool dm_freezes_volume(void) {
    return !is_type("btrfs") || kernel_version() > 612;
}

static bool supports_several_devices(void) {
    return is_type("ext4") || is_type("xfs") || is_type("btrfs");
}

/* 6.1 finds a filesystem only by its main device. */
static bool dm_freezes_by_each_device(void) {
    return dm_freezes_volume() && kernel_version() > 601;
}

/* JFS opens its log again. gfs2 reads its journal, and on 6.1 waits for the device forever. */
static bool thaws_without_device(void) {
    return !is_type("jfs") && (!is_type("gfs2") || kernel_version() > 601);
}

/* /proc can never be frozen. */
static bool has_descriptors(void) {
    static int answer;

    if (answer == 0) {
        int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        answer = ioctl(proc, FIFREEZE_FD, NULL) < 0 ? errno : EINVAL;
        close(proc);
    }
    return answer == EOPNOTSUPP;
}

/* Reasons that hold on every machine. */
static const char* not_applicable(const struct test* test) {
    if ((test->needs & NEEDS_F2FS) && !is_type("f2fs"))
        return "only for f2fs";
    if ((test->needs & NEEDS_BTRFS) && !is_type("btrfs"))
        return "only for btrfs";
    if ((test->needs & NEEDS_JFS) && !is_type("jfs"))
        return "only for JFS";
    if ((test->needs & NEEDS_THAW_WITHOUT_MEMORY) && !is_type("ext4") && !is_type("xfs") &&
        !is_type("f2fs"))
        return "the filesystem itself allocates memory to thaw";
    if ((test->needs & NEEDS_LANDLOCK_IOCTL) && kernel_version() < 610)
        return "Landlock does not restrict ioctls before 6.10";
    if ((test->needs & NEEDS_DM_FREEZE) && !dm_freezes_volume())
        return "device-mapper does not freeze btrfs on 6.1 and 6.12";
    if ((test->needs & (NEEDS_DEVICES | NEEDS_DEVICES_FREEZE)) && !supports_several_devices())
        return "only for types that support several devices";
    if ((test->needs & NEEDS_DEVICES_FREEZE) && !dm_freezes_by_each_device())
        return "suspending a device other than the main one does not freeze it on this kernel";
    if ((test->needs & NEEDS_SHUTDOWN) && !is_type("ext4") && !is_type("xfs"))
        return "only for ext4 and XFS";
    if ((test->needs & NEEDS_THAW_WITHOUT_DEVICE) && !thaws_without_device())
        return "cannot be thawed without its device";
#ifndef __x86_64__
    if (test->needs & NEEDS_32BIT)
        return "32-bit calls are only tested on x86-64";
#endif
    return NULL;
}

/* Reasons that lie in the kernel. Our virtual machine's kernels have what they should have. */
static const char* missing_in_kernel(const struct test* test) {
    if (kernel_parts == 1 && fails_on_stock(test) && test->stock != FIXED_BY_PART_1)
        return "needs part 2 of the patches";
    if (!(test->needs & NEEDS_DESCRIPTORS) || (kernel_parts == 3 && in_our_vm()))
        return NULL;
    return kernel_parts < 3 || !has_descriptors() ? "needs part 3 of the patches" : NULL;
}

/* Reasons that do not apply to our virtual machine, which has everything. */
static const char* impossible_here(const struct test* test) {
    if (in_our_vm())
        return NULL;
    if (test->needs & NEEDS_VM)
        return "affects the whole machine: only in the virtual machine";
    /* On a stock kernel, the block device stays frozen forever after the shutdown. */
    if (test->needs & NEEDS_SHUTDOWN)
        return "can make a loop device unusable: only in the virtual machine";
    if ((test->needs & (NEEDS_DM | NEEDS_DM_FREEZE | NEEDS_DEVICES | NEEDS_DEVICES_FREEZE)) &&
        !dm_present())
        return "no device-mapper";
    return NULL;
}

/* ---- in the child ----------------------------------------------------------------------- */

static void run_in_child(const struct test* test) __attribute__((noreturn));
static void run_in_child(const struct test* test) {
    setpgid(0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    test->run();
    _exit(PASSED);
}

int rounds_wanted;

/* How long the last trivial process took: a measure of the machine's speed. */
static double roundtrip = -1;

int shortest(void) {
    int timeout = (int)(10 * roundtrip);

    return timeout < 2 ? 2 : timeout < 20 ? timeout : 20;
}

static enum outcome outcome_of(pid_t pid, int within_ms) {
    int status;

    if (!exits_within(pid, within_ms, &status))
        return HUNG;
    return WIFEXITED(status) && WEXITSTATUS(status) <= SKIPPED ? (enum outcome)WEXITSTATUS(status)
                                                               : BROKEN;
}

/* ---- clean-up: nothing frozen, no process left ----------------------------------------------- */

enum left { NOTHING_LEFT = 0, LEFT_SUSPENDED = 1, LEFT_FROZEN = 2, UNUSABLE = 4 };

/*
 * In its own process, because it may block. It does not use the checks of a test, so that it
 * continues whatever happens.
 */
static void clean_up(void) __attribute__((noreturn));
static void clean_up(void) {
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

static int cleaned_up(void) {
    int64_t begun = now_ns();
    int status;

    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        clean_up();
    if (!exits_within(pid, block_timeout_ms(), &status) || !WIFEXITED(status))
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
        write_file(DIRTY_RATIO, "20"); /* the kernel's default */
}

/* Returns what the test left behind. All of it is removed, unless the result is UNUSABLE. */
static int settle(pid_t group) {
    kill(-group, SIGKILL);
    restore_sysctls();
    int left = note->discard_volume ? UNUSABLE : cleaned_up();
    return all_gone(group) ? left : UNUSABLE;
}

static enum outcome blame(int left) {
    if (left & UNUSABLE)
        printf("#   the filesystem is no longer usable\n");
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
    /* Where timeouts are longer, tests sleep for longer. */
    const int sleeps = 20 * (shortest() - 2) * 1000;
    enum outcome outcome = outcome_of(pid, (30 + rounds_wanted / 4) * block_timeout_ms() + sleeps);
    int left = settle(pid);
    if (outcome == PASSED && !note->discard_volume)
        outcome = blame(left);
    if (left & UNUSABLE)
        volume_abandon();
    else if (outcome != PASSED)
        volume_recreate();
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
    case FIXED_BY_PART_1:
        break;
    }
    return true;
}

static bool right(const struct test* test, enum outcome outcome) {
    return outcome == (kernel_parts == 0 && fails_on_stock(test) ? FAILED : PASSED);
}

static const char* remark(const struct test* test, enum outcome outcome) {
    if (outcome == BROKEN)
        return " (could not be made)";
    if (outcome == HUNG)
        return " (hung)";
    if (kernel_parts > 0)
        return "";
    if (!fails_on_stock(test))
        return outcome == PASSED ? " (same on stock)" : "";
    return outcome == FAILED ? " (fails on stock, as expected)"
                             : " (passes on stock, where it must fail)";
}

/* Sets @skip to the reason if the test was not run. */
static enum outcome run_if_possible(const struct test* test, const char** skip) {
    enum outcome outcome;

    if ((*skip = not_applicable(test)) || (*skip = missing_in_kernel(test)) ||
        (*skip = impossible_here(test)))
        return SKIPPED;
    outcome = volume_prepare() && (roundtrip >= 0 || !cleaned_up()) ? run(test) : BROKEN;
    if (outcome != SKIPPED)
        return outcome;
    *skip = note->missing;
    if (!in_our_vm())
        return SKIPPED;
    printf("#   missing in our virtual machine: %s\n", note->missing);
    return BROKEN;
}

void judge(const struct test* test, struct verdict* verdict) {
    const char* skip;
    int64_t begun = now_ns();
    int timeout = shortest();
    enum outcome outcome = run_if_possible(test, &skip);

    if (outcome != SKIPPED)
        printf("#   %.1f s%s\n", seconds(now_ns() - begun),
               timeout > 2 ? ", with longer timeouts because the machine is slow" : "");
    verdict->ok = outcome == SKIPPED || right(test, outcome);
    snprintf(verdict->line, sizeof(verdict->line), "%s %s: %s%s%s", volume.type, test->name,
             test->what, outcome == SKIPPED ? " # SKIP " : remark(test, outcome),
             outcome == SKIPPED ? skip : "");
}
