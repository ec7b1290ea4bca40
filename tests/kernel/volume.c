/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filesystem under test: one slice of the scratch disk, under device-mapper where there is
 * one, else on a loop device. A filesystem that a test has wrecked is abandoned, and the next
 * slice is taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define SLICE_BYTES (320ull << 20) /* mkfs.xfs wants 300 MiB */

static const struct maker {
    const char *type, *make, *options;
} makers[] = {
    {"ext4", "mkfs.ext4 -q -F -N 4096 -J size=8 -E lazy_itable_init=0,lazy_journal_init=0", NULL},
    {"xfs", "mkfs.xfs -q -f", NULL},
    {"btrfs", "mkfs.btrfs -q -f", NULL},
    /* Its thread for discards waits for the thaw, and cannot be put to sleep then. */
    {"f2fs", "mkfs.f2fs -q -f", "nodiscard"},
    {"jfs", "mkfs.jfs -q", "errors=continue"},
    {"gfs2", "mkfs.gfs2 -q -O -p lock_nolock -j 1 -J 8", NULL},
};

struct volume volume = {.type = ""};
static char disk[128];
static char workdir[] = "/tmp/freeze-abi.XXXXXX";
static unsigned slices, attached;
static bool* taken; /* each slice; shared by all workers */

const char* disk_path(void) {
    return disk;
}

uint64_t slice_sectors(void) {
    return SLICE_BYTES / 512;
}

uint64_t slice_start(void) {
    return volume.slice * slice_sectors();
}

unsigned take_slice(void) {
    unsigned slice = 0;

    while (slice < slices && __atomic_test_and_set(&taken[slice], __ATOMIC_SEQ_CST))
        slice++;
    return slice;
}

void give_slice_back(unsigned slice) {
    __atomic_clear(&taken[slice], __ATOMIC_SEQ_CST);
}

uint64_t spare_start(void) {
    return slices * slice_sectors();
}

bool is_type(const char* type) {
    return !strcmp(volume.type, type);
}

bool volume_has_dm(void) {
    return volume.name[0] != 0;
}

static const struct maker* maker(void) {
    for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++)
        if (is_type(makers[i].type))
            return &makers[i];
    return NULL;
}

static uint64_t size_of(const char* path) {
    uint64_t bytes = 0;
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &status))
        broken_at(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
    if (S_ISREG(status.st_mode))
        bytes = (uint64_t)status.st_size;
    else if (ioctl(fd, BLKGETSIZE64, &bytes))
        broken_at(__FILE__, __LINE__, "%s is no disk: %s", path, strerror(errno));
    close(fd);
    return bytes;
}

void volume_open_disk(const char* path) {
    if (!maker())
        broken_at(__FILE__, __LINE__, "no filesystem of ours: %s", volume.type);
    snprintf(disk, sizeof(disk), "%s", path);
    const uint64_t spare = SPARE_SECTORS * 512, size = size_of(path);
    if (size < spare + SLICE_BYTES)
        broken_at(__FILE__, __LINE__, "%s: smaller than %llu MiB", path,
                  (unsigned long long)(spare + SLICE_BYTES) >> 20);
    slices = (unsigned)((size - spare) / SLICE_BYTES);
    taken = mmap(NULL, slices, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (taken == MAP_FAILED)
        broken_at(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    if (!mkdtemp(workdir))
        broken_at(__FILE__, __LINE__, "%s: %s", workdir, strerror(errno));
}

/* ---- the device ----------------------------------------------------------------------------- */

static int attach_dm(void) {
    char name[sizeof(volume.name)], linear[200];
    int minor_number, result;

    snprintf(name, sizeof(name), "freeze-abi-%d-%u", getpid(), attached++);
    snprintf(linear, sizeof(linear), "%s %llu", disk, (unsigned long long)slice_start());
    result = dm_create(name, &minor_number);
    if (result == 0)
        result = dm_load(name, slice_sectors(), "linear", linear);
    if (result == 0)
        result = dm_resume(name);
    snprintf(volume.name, sizeof(volume.name), "%s", name);
    snprintf(volume.id, sizeof(volume.id), "dm-%d", minor_number);
    snprintf(volume.device, sizeof(volume.device), "/dev/%s", volume.id);
    return result;
}

/* The device is kept open, so that it lasts as long as this process. */
static int attach_loop(void) {
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
    close(control);
    if (number < 0)
        return -errno;
    snprintf(volume.id, sizeof(volume.id), "loop%d", number);
    snprintf(volume.device, sizeof(volume.device), "/dev/%s", volume.id);

    int backing = open(disk, O_RDWR | O_CLOEXEC), loop = open(volume.device, O_RDWR | O_CLOEXEC);
    struct loop_config config = {.fd = (__u32)backing,
                                 .info = {.lo_offset = slice_start() * 512,
                                          .lo_sizelimit = SLICE_BYTES,
                                          .lo_flags = LO_FLAGS_AUTOCLEAR}};
    int result = result_of(ioctl(loop, LOOP_CONFIGURE, &config));
    close(backing);
    if (result < 0)
        close(loop);
    return result;
}

static int attach(void) {
    if (dm_present())
        return attach_dm();
    if (in_our_vm())
        return -ENODEV;
    return attach_loop();
}

/* ---- formatting and mounting, by processes that may block ----------------------------------- */

static int op_format(long a, long b, long c) {
    char command[256];

    (void)a, (void)b, (void)c;
    /* What it says of a device that a test has given up would end up within our lines. */
    snprintf(command, sizeof(command), "%s %s >/dev/null 2>&1", maker()->make, volume.device);
    return system(command) == 0 ? 0 : -EIO;
}

int op_mount(long flags, long b, long c) {
    (void)b, (void)c;
    return result_of(
        mount(volume.device, volume.dir, volume.type, (unsigned long)flags, maker()->options));
}

int op_unmount(long flags, long b, long c) {
    (void)b, (void)c;
    return result_of(umount2(volume.dir, (int)flags));
}

static int op_fill(long a, long b, long c) {
    static const char* const names[] = {"written", "stuck"};

    (void)a, (void)b, (void)c;
    for (size_t i = 0; i < 2; i++) {
        char path[96];
        snprintf(path, sizeof(path), "%s/%s", volume.dir, names[i]);
        int result = write_file(path, "x");
        if (result < 0)
            return result;
    }
    return result_of(syncfs(here));
}

int mount_again(unsigned long flags) {
    return elsewhere(actor_outside, op_mount, (long)flags, patience_ms());
}

int unmount_now(int flags) {
    return elsewhere(actor_outside, op_unmount, flags, patience_ms());
}

static bool make(void) {
    if (!volume.dir[0])
        volume.slice = take_slice();
    if (volume.slice >= slices)
        return false;
    snprintf(volume.dir, sizeof(volume.dir), "%s/%u", workdir, volume.slice);
    if (mkdir(volume.dir, 0700) && errno != EEXIST)
        return false;
    if (volume.device[0] == 0 && attach() < 0)
        return false;
    if (!volume.formatted && elsewhere(actor_outside, op_format, 0, 6 * patience_ms()) != 0)
        return false;
    volume.formatted = true;
    if (mount_again(0) != 0)
        return false;
    volume.mounted = true;
    return elsewhere(actor, op_fill, 0, patience_ms()) == 0;
}

bool volume_prepare(void) {
    while (!volume.mounted && !make()) {
        printf("#   no filesystem can be made on slice %u of %u\n", volume.slice, slices);
        if (volume.slice >= slices)
            return false;
        volume_abandon();
    }
    return true;
}

void volume_abandon(void) {
    if (volume.mounted)
        unmount_now(MNT_DETACH);
    const char* type = volume.type;
    volume = (struct volume){.type = type};
}

static bool unmounted(void) {
    int result = 0;

    for (int i = 0; i < 40; i++) {
        result = unmount_now(0);
        if (result == -EINVAL)
            return true;
        if (result == -EBUSY)
            sleep_ms(50); /* a process that was let go is on its way out */
        else if (result != 0)
            return false;
    }
    return false;
}

/* Busy for a moment after the unmount: the superblock goes when its last reference does. */
static bool detached(void) {
    if (!volume_has_dm())
        return true;
    for (int i = 0; i < 80; i++) {
        int result = dm_remove(volume.name);
        if (result != -EBUSY)
            return result == 0;
        sleep_ms(25);
    }
    return false;
}

void volume_start_afresh(void) {
    if (!unmounted() || !detached()) {
        volume_abandon();
        return;
    }
    volume.mounted = false;
    if (volume_has_dm())
        volume.device[0] = volume.name[0] = 0;
}

void volume_close(void) {
    if (volume.mounted)
        volume_start_afresh();
}

/* What has been abandoned may still be mounted, and stays. */
void volume_close_disk(void) {
    for (unsigned i = 0; i < slices; i++) {
        char dir[sizeof(volume.dir)];
        snprintf(dir, sizeof(dir), "%s/%u", workdir, i);
        rmdir(dir);
    }
    rmdir(workdir);
}
