/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Failures between freeze and thaw: of the device, the filesystem, memory. */
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

/* ---- the thaw fails: JFS opens its log again, for which it must read the device -------------- */

/* The filesystem may be damaged by this. */
static int device_fails(void) {
    discard_volume();
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
    CHECK(result < 0 && result > BLOCKED, "thawed although the device fails: %s",
          result_name(result));
    CHECK(admin_thaw() < 0, "thawed by an administrator although the device fails");
    STILL_FROZEN(writer);
    SETUP(device_works());
    STILL_FROZEN(writer);
    WANT(0, thaw(who));
    RELEASED(writer);
    WANT(-EINVAL, thaw(who));
}

static void thaw_fails_at_the_deadline(void) {
    struct actor* who = actor();

    WANT(0, freeze_for(who, SHORT));
    struct actor* writer = FROZEN();
    SETUP(device_fails());
    sleep_past(SHORT + 2);
    STILL_FROZEN(writer);
    SETUP(device_works());
    RELEASED(writer);
    WANT(-EINVAL, reset(who, 600));
    WANT(-EINVAL, thaw(who));
}

/* The device works for @up seconds, fails for @down seconds, and works again. */
static int device_gets_flaky(int up, int down) {
    char flakey[200];

    snprintf(flakey, sizeof(flakey), "%s %llu %d %d", disk_path(),
             (unsigned long long)slice_start(), up, down);
    discard_volume();
    return load_table("flakey", flakey);
}

/* It fails for three seconds around the deadline, and so at the first two of the attempts, which
 * are 0, 1 and 3 s after the deadline: a second before and after the device returns. */
static void flaky_at_the_deadline(void) {
    const int64_t second = 1000000000;
    const int up = 2 * SHORT, down = 3;
    struct actor* who = actor();
    int64_t goes = now_ns() + up * second, comes = goes + down * second;

    SETUP(device_gets_flaky(up, down));
    sleep_until(goes + second - SHORT * second);
    WANT(0, freeze_for(who, SHORT));
    struct actor* writer = FROZEN();
    sleep_until(comes - second / 10);
    STILL_FROZEN(writer);
    RELEASED(writer);
    double late = seconds(writer->last.ended - comes);
    CHECK(late < 2 * slowness(), "thawed %.3f s after the device works again", late);
    WANT(-EINVAL, reset(who, 600));
    WANT(-EINVAL, thaw(who));
}

/* ---- the thaw fails with EINVAL: JFS checks the superblock of its log ------------------------- */

enum { JFS_BLOCK = 4096 };

static char block[JFS_BLOCK] __attribute__((aligned(JFS_BLOCK)));

static uint64_t number_at(size_t offset, size_t bytes) {
    uint64_t number = 0;

    memcpy(&number, block + offset, bytes); /* little-endian, like the machine */
    return number;
}

/* Where the log begins, in blocks: s_logpxd of the filesystem's superblock. */
static int find_log(int fd, uint64_t* start) {
    if (pread(fd, block, sizeof(block), 32768) != sizeof(block) || memcmp(block, "JFS1", 4))
        return -EIO;
    if (number_at(16, 4) != JFS_BLOCK)
        return -ENOTSUP;
    *start = (number_at(72, 4) >> 24 << 32) | number_at(76, 4);
    return 0;
}

/* Inverts the magic number of the log's superblock, its second block. Twice: as before. */
static int op_invert_magic(long a, long b, long c) {
    uint64_t start = 0;
    int fd = open(volume.device, O_RDWR | O_DIRECT | O_CLOEXEC);
    int result = fd < 0 ? -errno : find_log(fd, &start);

    if (result == 0) {
        const off_t at = (off_t)(start + 1) * JFS_BLOCK;
        result = pread(fd, block, sizeof(block), at) == sizeof(block) ? 0 : -EIO;
        block[0] = (char)~block[0];
        if (result == 0 && pwrite(fd, block, sizeof(block), at) != sizeof(block))
            result = -EIO;
    }
    close(fd);
    return result;
}

static int invert_magic(void) {
    return elsewhere(actor_outside, op_invert_magic, 0, block_timeout_ms());
}

/* EINVAL would mean that nothing is frozen. */
static void thaw_is_invalid(void) {
    struct actor* who = actor();

    WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    SETUP(invert_magic());
    discard_volume();
    WANT(-EIO, thaw(who));
    WANT(-EIO, admin_thaw());
    STILL_FROZEN(writer);
    SETUP(invert_magic());
    WANT(0, thaw(who));
    RELEASED(writer);
    WANT(-EINVAL, thaw(who));
}

/* ---- the device stays dead: filesystems other than JFS thaw ---------------------------------- */

/* Any result, as long as it does not block. */
static int op_try_to_write(long a, long b, long c) {
    int result = op_write(a, b, c);

    return result == -EIO || result == -EROFS ? 0 : result;
}

static void device_fails_at_the_deadline(void) {
    struct actor *owner = actor(), *writer = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    begin(writer, op_try_to_write, 0, 0, 0);
    WAITS(writer);
    SETUP(device_fails());
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, thaw(owner));
    SETUP(call(owner, op_close, 0, 0, 0));
    SETUP(call(writer, op_close, 0, 0, 0));
    WANT(0, unmount_now(0));
    WANT(0, open_exclusively());
}

/* ---- made read-only while frozen: by JFS, when the thaw fails -------------------------------- */

static int op_remount(long options, long b, long c) {
    return result_of(mount(NULL, volume.dir, NULL, MS_REMOUNT, (const char*)options));
}

static int remount(const char* options) {
    return elsewhere(actor_outside, op_remount, (long)options, block_timeout_ms());
}

static int op_is_read_only(long a, long b, long c) {
    struct statvfs status;

    return fstatvfs(here, &status) ? -errno : (status.f_flag & ST_RDONLY) != 0;
}

static void made_read_only(void) {
    struct actor* who = actor();

    SETUP(remount("errors=remount-ro"));
    WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    SETUP(device_fails());
    CHECK(thaw(who) < 0, "thawed although the device fails");
    if (call(who, op_is_read_only, 0, 0, 0) != 1)
        broken_at(__FILE__, __LINE__, "the error did not make it read-only");
    SETUP(device_works());
    STILL_FROZEN(writer);
    WANT(0, thaw(who));
    /* After an error, a new mount is needed to make it writable. */
    CHECK(finish(writer, block_timeout_ms()) > BLOCKED, "the write still blocks after the thaw");
    SETUP(call(who, op_close, 0, 0, 0));
    SETUP(call(writer, op_close, 0, 0, 0));
    WANT(0, unmount_now(0));
    WANT(0, open_exclusively());
}

/* ---- no memory at the deadline --------------------------------------------------------------- */

/* The workers that may serve the workqueue of the deadlines. */
static void set_failing_workers(const char* yes) {
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
    set_failing_workers("1");
    sleep_until(start.ended + (SHORT * 1000LL + 400) * 1000000);
    set_failing_workers("0");
    RELEASED_AFTER(writer, &start, SHORT);
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
    char device[64], command[128];
    int minor_number, result = dm_create_linear("freeze-abi-swap", disk_path(), spare_start(),
                                                SPARE_SECTORS, &minor_number);

    if (result == -EBUSY) /* an earlier test enabled it */
        return 0;
    snprintf(device, sizeof(device), "/dev/dm-%d", minor_number);
    snprintf(command, sizeof(command), "mkswap %s >/dev/null", device);
    if (result == 0 && system(command) != 0)
        result = -EIO;
    return result == 0 ? result_of(swapon(device, 0)) : result;
}

static int op_use_memory(long bytes, long b, long c) {
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

static void freeze_swapped_out(struct actor* owner) {
    SETUP(swap_on_spare_sectors());
    SETUP(call(owner, op_use_memory, OWN_MEMORY, 0, 0));
    WANT(0, call(owner, op_freeze_and_be_swapped_out, 600, owner->last.value, 0));
}

/* A process that needs more memory than there is; @unwritable bytes cannot be written out. */
static struct actor* memory_hog(long unwritable) {
    struct actor* hog = actor_outside();

    begin(hog, op_use_memory,
          field_kib("/proc/meminfo", "MemAvailable:") * 1024 - unwritable + OWN_MEMORY, 0, 0);
    if (finish(hog, block_timeout_ms()) == DIED)
        broken_at(__FILE__, __LINE__, "the machine has too little memory");
    return hog;
}

/* Sets the deadline, by a process that is not swapped out. */
static void thawed_in_time(struct actor* owner, struct actor* admin, struct actor* writer) {
    char status[64];

    snprintf(status, sizeof(status), "/proc/%d/status", owner->pid);
    long swapped = field_kib(status, "VmSwap:");
    if (swapped * 1024 < OWN_MEMORY / 2)
        broken_at(__FILE__, __LINE__, "only %ld KiB of the freezer are swapped out", swapped);
    WANT(0, reset(admin, SHORT));
    CHECK(finish(writer, SHORT * 1000 + block_timeout_ms()) == 0, "never thawed");
    double late = seconds(writer->last.ended - admin->last.begun) - SHORT;
    CHECK(late > -seconds(EARLY) && late < 1.5 * slowness(), "%.3f s after the deadline", late);
}

static void swapped_out(void) {
    struct actor *owner = actor(), *admin = actor();

    freeze_swapped_out(owner);
    struct actor *writer = FROZEN(), *hog = memory_hog(0);
    thawed_in_time(owner, admin, writer);
    kill_actor(hog);
    WANT(-EINVAL, thaw(owner));
}

/* ---- memory full of dirty pages that cannot be written --------------------------------------- */

#define INNER "/tmp/freeze-abi-inner"
#define EACH (24 * MIB)
enum { DIRTIERS = 4 };

static int op_shell(long command, long b, long c) {
    return system((const char*)command) == 0 ? 0 : -EIO;
}

static int shell(const char* command) {
    return elsewhere(actor_outside, op_shell, (long)command, 6 * block_timeout_ms());
}

/* A filesystem in a file of the one under test, which cannot write while that is frozen. */
static void mount_inner(void) {
    char command[600];

    snprintf(command, sizeof(command),
             "cd %s && truncate -s 150M inner && mkfs.ext4 -q -F -J size=8 -E lazy_itable_init=0,"
             "lazy_journal_init=0 inner && mkdir -p " INNER " && mount -o loop inner " INNER,
             volume.dir);
    SETUP(shell(command));
}

static void remove_inner(void) {
    char command[200];

    snprintf(command, sizeof(command), "umount " INNER " && rm %s/inner", volume.dir);
    SETUP(shell(command));
}

static int dirty_by_writing(int fd) {
    static char text[MIB];

    for (long done = 0; done < EACH; done += MIB)
        if (write(fd, text, sizeof(text)) != sizeof(text))
            return errno ? -errno : -ENOSPC;
    return 0;
}

static int dirty_by_mapping(int fd) {
    if (ftruncate(fd, EACH))
        return -errno;
    char* memory = mmap(NULL, EACH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    memset(memory, 1, EACH);
    munmap(memory, EACH);
    return 0;
}

static int dirty(const char* path, bool mapped) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    int result = mapped ? dirty_by_mapping(fd) : dirty_by_writing(fd);
    close(fd);
    return result;
}

static int write_synchronously(const char* path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_SYNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    int result = result_of(write(fd, "x", 1));
    close(fd);
    return result < 0 ? result : 0;
}

/* Removes the file at the end, so that its data need not be written, which would take long. */
static int op_dirty(long number, long b, long c) {
    char path[64], next[64];

    snprintf(path, sizeof(path), INNER "/%ld", number);
    snprintf(next, sizeof(next), INNER "/%ld.next", number);
    int result = dirty(path, number % 2);
    if (result == 0)
        result = write_synchronously(next);
    if (result == 0)
        result = result_of(unlink(path));
    return result;
}

static long unwritten_bytes(void) {
    return (field_kib("/proc/meminfo", "Dirty:") + field_kib("/proc/meminfo", "Writeback:")) * 1024;
}

/* Until the amount no longer grows; it depends on how much memory is left. */
static void wait_until_dirty(struct actor* const dirtier[DIRTIERS]) {
    long most = 0;

    for (int still = 0, waited = 0; still < 1000 && waited < block_timeout_ms(); waited += 10) {
        const long now = unwritten_bytes();
        still = now > most ? 0 : still + 10;
        most = now > most ? now : most;
        sleep_ms(10);
    }
    if (most < DIRTIERS * EACH / 3)
        broken_at(__FILE__, __LINE__, "only %ld MiB are dirty", most / MIB);
    for (int i = 0; i < DIRTIERS; i++)
        STILL_FROZEN(dirtier[i]);
}

static void memory_full_of_dirty(void) {
    struct actor *owner = actor(), *admin = actor(), *dirtier[DIRTIERS];

    mount_inner();
    SETUP(write_file(DIRTY_RATIO, "90"));
    freeze_swapped_out(owner);
    struct actor* writer = FROZEN();
    for (int i = 0; i < DIRTIERS; i++)
        begin(dirtier[i] = actor_outside(), op_dirty, i, 0, 0);
    wait_until_dirty(dirtier);
    struct actor* hog = memory_hog(unwritten_bytes());
    thawed_in_time(owner, admin, writer);
    kill_actor(hog);
    WANT(-EINVAL, thaw(owner));
    for (int i = 0; i < DIRTIERS; i++)
        WANT(0, finish(dirtier[i], 6 * block_timeout_ms()));
    remove_inner();
}

static const struct test faults_tests[] = {
    {"faults.thaw_fails", "a failed thaw keeps the hold, and a later thaw succeeds", thaw_fails,
     SAME_ON_STOCK, NEEDS_DM | NEEDS_JFS},
    {"faults.thaw_is_invalid", "EINVAL of the filesystem during a thaw is EIO, and keeps the hold",
     thaw_is_invalid, FAILS_ON_STOCK, NEEDS_DM | NEEDS_JFS},
    {"faults.thaw_fails_at_the_deadline", "a thaw that fails at the deadline is tried again",
     thaw_fails_at_the_deadline, FAILS_ON_STOCK, NEEDS_DM | NEEDS_JFS},
    {"faults.flaky_at_the_deadline",
     "a thaw that fails at the deadline succeeds within 2 s of the device's return",
     flaky_at_the_deadline, FAILS_ON_STOCK, NEEDS_DM | NEEDS_JFS},
    {"faults.device_fails_at_the_deadline",
     "expiry with a dead device thaws; umount releases the device", device_fails_at_the_deadline,
     FAILS_ON_STOCK, NEEDS_DM | NEEDS_THAW_WITHOUT_DEVICE},
    {"faults.made_read_only",
     "a filesystem that an error made read-only while frozen can be thawed", made_read_only,
     FIXED_BY_PART_1, NEEDS_DM | NEEDS_JFS},
    {"faults.no_memory_at_the_deadline", "expiry needs no memory", no_memory_at_the_deadline,
     FAILS_ON_STOCK, NEEDS_FAILSLAB | NEEDS_THAW_WITHOUT_MEMORY},
    {"faults.swapped_out", "expiry is on time when the owner is swapped out and memory is short",
     swapped_out, FAILS_ON_STOCK, NEEDS_VM | NEEDS_DM},
    {"faults.memory_full_of_dirty",
     "expiry is on time when memory is full of pages that only the thaw lets be written",
     memory_full_of_dirty, FAILS_ON_STOCK, NEEDS_VM | NEEDS_DM},
};
TOPIC(faults);
