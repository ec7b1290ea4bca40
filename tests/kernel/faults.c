/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What fails between the freeze and the thaw: the device, the filesystem, memory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/swap.h>
#include <unistd.h>

#include "harness.h"

/* ---- the filesystem cannot be thawed: JFS opens its log again, which it must read for that --- */

/* JFS is not to be relied on after that. */
static int device_fails(void) {
    spoilt();
    return load_table("error", "");
}

static int device_works(void) {
    char linear[200];

    snprintf(linear, sizeof(linear), "%s %llu", disk_path(), (unsigned long long)slice_start());
    return load_table("linear", linear);
}

static void thaw_fails(void) {
    struct actor* who = actor();

    WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    SETUP(device_fails());
    int result = thaw(who);
    CHECK(result < 0 && result > BLOCKED, "thawed though the device fails: %s",
          result_name(result));
    CHECK(admin_thaw() < 0, "thawed by an administrator though the device fails");
    STILL_FROZEN(writer);
    SETUP(device_works());
    STILL_FROZEN(writer);
    WANT(0, thaw(who));
    LET_GO(writer);
    WANT(-EINVAL, thaw(who));
}

static void thaw_fails_at_the_deadline(void) {
    struct actor* who = actor();

    WANT(0, freeze_for(who, SHORT));
    struct actor* writer = FROZEN();
    SETUP(device_fails());
    outlast(SHORT + 2);
    STILL_FROZEN(writer);
    SETUP(device_works());
    LET_GO(writer);
    WANT(-EINVAL, reset(who, 600));
    WANT(-EINVAL, thaw(who));
}

/* ---- made read-only while frozen: by JFS, when it cannot be thawed ----------------------------
 */

static int op_remount(long options, long b, long c) {
    (void)b, (void)c;
    return result_of(mount(NULL, volume.dir, NULL, MS_REMOUNT, (const char*)options));
}

static int remount(const char* options) {
    return elsewhere(actor_outside, op_remount, (long)options, patience_ms());
}

static int op_is_read_only(long a, long b, long c) {
    struct statvfs status;

    (void)a, (void)b, (void)c;
    return fstatvfs(here, &status) ? -errno : (status.f_flag & ST_RDONLY) != 0;
}

static void made_read_only(void) {
    struct actor* who = actor();

    SETUP(remount("errors=remount-ro"));
    WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    SETUP(device_fails());
    CHECK(thaw(who) < 0, "thawed though the device fails");
    if (call(who, op_is_read_only, 0, 0, 0) != 1)
        broken_at(__FILE__, __LINE__, "the error did not make it read-only");
    SETUP(device_works());
    STILL_FROZEN(writer);
    WANT(0, thaw(who));
    /* Before any check that may fail: JFS crashes when it is unmounted in this state. */
    SETUP(remount("errors=continue"));
    CHECK(finish(writer, patience_ms()) > BLOCKED, "the write waits on after the thaw");
    THAWED();
}

/* ---- no memory at the deadline --------------------------------------------------------------- */

/* Those that may come to serve the workqueue of the deadlines. */
static void let_workers_have_no_memory(const char* yes) {
    DIR* processes = opendir("/proc");
    char path[300], name[64];

    for (struct dirent* entry; (entry = readdir(processes));) {
        snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
        if (atoi(entry->d_name) == 0 || read_file(path, name, sizeof(name)) <= 0 ||
            strncmp(name, "kworker/u", 9))
            continue;
        snprintf(path, sizeof(path), "/proc/%s/make-it-fail", entry->d_name);
        write_file(path, yes);
    }
    closedir(processes);
}

static void no_memory_at_the_deadline(void) {
    struct actor* owner = actor();

    arm_failslab("-1");
    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    struct actor* writer = FROZEN();
    let_workers_have_no_memory("1");
    sleep_until(start.ended + (SHORT * 1000LL + 400) * 1000000);
    let_workers_have_no_memory("0");
    LET_GO_AFTER(writer, &start, SHORT);
}

/* ---- the freezer swapped out ----------------------------------------------------------------- */

#define MIB (1L << 20)
#define OWN_MEMORY (64 * MIB)

static long field_kib(const char* path, const char* name) {
    char text[8192];

    if (read_file(path, text, sizeof(text)) <= 0)
        broken_at(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
    const char* at = strstr(text, name);
    if (!at)
        broken_at(__FILE__, __LINE__, "%s has no %s", path, name);
    return atol(at + strlen(name));
}

static int swap_on_spare_sectors(void) {
    char linear[200], device[64], command[128];
    int minor_number, result = dm_create("freeze-abi-swap", &minor_number);

    snprintf(linear, sizeof(linear), "%s %llu", disk_path(), (unsigned long long)spare_start());
    snprintf(device, sizeof(device), "/dev/dm-%d", minor_number);
    snprintf(command, sizeof(command), "mkswap %s >/dev/null", device);
    if (result == 0)
        result = dm_load("freeze-abi-swap", SPARE_SECTORS, "linear", linear);
    if (result == 0)
        result = dm_resume("freeze-abi-swap");
    if (result == 0 && system(command) != 0)
        result = -EIO;
    return result == 0 ? result_of(swapon(device, 0)) : result;
}

static int op_use_memory(long bytes, long b, long c) {
    (void)b, (void)c;
    char* memory =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    for (long at = 0; at < bytes; at += 4096)
        memory[at] = (char)(at >> 12) + 1;
    operation_value = (long)memory;
    return 0;
}

static int op_freeze_and_be_swapped_out(long timeout, long memory, long c) {
    int result = op_freeze_for(timeout, 0, c);

    if (result == 0 && madvise((void*)memory, OWN_MEMORY, MADV_PAGEOUT))
        return -errno;
    return result;
}

/* The freezer is swapped out and others want more memory than there is. */
static void swapped_out(void) {
    struct actor *owner = actor(), *hog = actor_outside();
    int timeout = SHORT + 3;
    char status[64];

    SETUP(swap_on_spare_sectors());
    SETUP(call(owner, op_use_memory, OWN_MEMORY, 0, 0));
    WANT(0, call(owner, op_freeze_and_be_swapped_out, timeout, owner->last.value, 0));
    struct report start = owner->last;
    struct actor* writer = FROZEN();
    begin(hog, op_use_memory, field_kib("/proc/meminfo", "MemAvailable:") * 1024 + OWN_MEMORY, 0,
          0);
    snprintf(status, sizeof(status), "/proc/%d/status", owner->pid);
    long swapped = field_kib(status, "VmSwap:");
    if (swapped * 1024 < OWN_MEMORY / 2)
        broken_at(__FILE__, __LINE__, "only %ld KiB of the freezer are swapped out", swapped);
    CHECK(finish(writer, timeout * 1000 + patience_ms()) == 0, "never thawed");
    double late = seconds(writer->last.ended - start.begun) - timeout;
    CHECK(late > -0.01 && late < 1.5 * slowness(), "%.3f s after the deadline", late);
    kill_actor(hog);
    WANT(-EINVAL, thaw(owner));
}

static const struct test faults_tests[] = {
    {"faults.thaw_fails", "a thaw that fails leaves the hold, and another one works", thaw_fails,
     SAME_ON_STOCK, NEEDS_DM | NEEDS_JFS},
    {"faults.thaw_fails_at_the_deadline", "... and at the deadline is tried again",
     thaw_fails_at_the_deadline, FAILS_ON_STOCK, NEEDS_DM | NEEDS_JFS},
    {"faults.made_read_only", "made read-only by an error while frozen: thaws all the same",
     made_read_only, FAILS_ON_STOCK, NEEDS_DM | NEEDS_JFS},
    {"faults.no_memory_at_the_deadline", "expiry needs no memory", no_memory_at_the_deadline,
     FAILS_ON_STOCK, NEEDS_FAILSLAB | NEEDS_THRIFTY},
    {"faults.swapped_out", "expiry is on time with its owner swapped out, and memory short",
     swapped_out, FAILS_ON_STOCK, NEEDS_VM | NEEDS_DM},
};
TOPIC(faults);
