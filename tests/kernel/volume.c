/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filesystem under test: on one slice of the scratch disk, under device-mapper if possible,
 * otherwise on a loop device. A filesystem that a test has damaged is abandoned, and the next slice
 * is used.
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

#define SLICE_BYTES (320ull << 20) /* mkfs.xfs needs 300 MiB */

static const struct maker {
    const char *type, *make, *options;
} makers[] = {
    {"ext4", "mkfs.ext4 -q -F -N 4096 -J size=8 -E lazy_itable_init=0,lazy_journal_init=0", NULL},
    {"xfs", "mkfs.xfs -q -f", NULL},
    {"btrfs", "mkfs.btrfs -q -f", NULL},
    /* Its discard thread waits for the thaw and would prevent suspend to RAM meanwhile. */
    {"f2fs", "mkfs.f2fs -q -f", "nodiscard"},
    {"jfs", "mkfs.jfs -q", "errors=continue"},
    {"gfs2", "mkfs.gfs2 -q -O -p lock_nolock -j 1 -J 8", NULL},
};

struct volume volume = {.type = ""};
static char disk[128];
static char workdir[] = "/tmp/freeze-abi.XXXXXX";
static unsigned slices, attached;
static bool* allocated; /* for each slice; shared by all workers */

const char* disk_path(void) {
    return disk;
}

uint64_t slice_sectors(void) {
    return SLICE_BYTES / 512;
}

uint64_t slice_start(void) {
    return volume.slice * slice_sectors();
}

unsigned allocate_slice(void) {
    unsigned slice = 0;

    while (slice < slices && __atomic_test_and_set(&allocated[slice], __ATOMIC_SEQ_CST))
        slice++;
    return slice;
}

void free_slice(unsigned slice) {
    __atomic_clear(&allocated[slice], __ATOMIC_SEQ_CST);
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
        broken_at(__FILE__, __LINE__, "%s is not a disk: %s", path, strerror(errno));
    close(fd);
    return bytes;
}

void volume_open_disk(const char* path) {
    if (!maker())
        broken_at(__FILE__, __LINE__, "unsupported filesystem: %s", volume.type);
    snprintf(disk, sizeof(disk), "%s", path);
    const uint64_t spare = SPARE_SECTORS * 512, size = size_of(path);
    if (size < spare + SLICE_BYTES)
        broken_at(__FILE__, __LINE__, "%s: smaller than %llu MiB", path,
                  (unsigned long long)(spare + SLICE_BYTES) >> 20);
    slices = (unsigned)((size - spare) / SLICE_BYTES);
    allocated = mmap(NULL, slices, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (allocated == MAP_FAILED)
        broken_at(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    if (!mkdtemp(workdir))
        broken_at(__FILE__, __LINE__, "%s: %s", workdir, strerror(errno));
}

/* ---- the device ----------------------------------------------------------------------------- */

static int attach_dm(void) {
    char name[sizeof(volume.name)];
    int minor_number;

    snprintf(name, sizeof(name), "freeze-abi-%d-%u", getpid(), attached++);
    int result = dm_create_linear(name, disk, slice_start(), slice_sectors(), &minor_number);
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

    /* Its messages about a device that was abandoned would end up between our lines. */
    snprintf(command, sizeof(command), "%s %s >/dev/null 2>&1", maker()->make, volume.device);
    return system(command) == 0 ? 0 : -EIO;
}

int op_mount(long flags, long b, long c) {
    return result_of(
        mount(volume.device, volume.dir, volume.type, (unsigned long)flags, maker()->options));
}

int op_unmount(long flags, long b, long c) {
    return result_of(umount2(volume.dir, (int)flags));
}

static int op_fill(long a, long b, long c) {
    static const char* const names[] = {"written", "stuck"};

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
    return elsewhere(actor_outside, op_mount, (long)flags, block_timeout_ms());
}

int unmount_now(int flags) {
    return elsewhere(actor_outside, op_unmount, flags, block_timeout_ms());
}

static bool make(void) {
    if (!volume.dir[0])
        volume.slice = allocate_slice();
    if (volume.slice >= slices)
        return false;
    snprintf(volume.dir, sizeof(volume.dir), "%s/%u", workdir, volume.slice);
    if (mkdir(volume.dir, 0700) && errno != EEXIST)
        return false;
    if (volume.device[0] == 0 && attach() < 0)
        return false;
    if (!volume.formatted && elsewhere(actor_outside, op_format, 0, 6 * block_timeout_ms()) != 0)
        return false;
    volume.formatted = true;
    if (mount_again(0) != 0)
        return false;
    volume.mounted = true;
    return elsewhere(actor, op_fill, 0, block_timeout_ms()) == 0;
}

bool volume_prepare(void) {
    while (!volume.mounted && !make()) {
        printf("#   cannot make a filesystem on slice %u of %u\n", volume.slice, slices);
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

bool unmount_all(void) {
    int result = 0;

    for (int i = 0; i < 40 && (result == 0 || result == -EBUSY); i++) {
        result = unmount_now(0);
        if (result == -EBUSY)
            sleep_ms(50); /* an actor is still exiting */
    }
    return result == -EINVAL;
}

static bool detached(void) {
    return !volume_has_dm() || dm_remove_when_unused(volume.name, 2000) == 0;
}

void volume_recreate(void) {
    if (!unmount_all() || !detached()) {
        volume_abandon();
        return;
    }
    volume.mounted = false;
    if (volume_has_dm())
        volume.device[0] = volume.name[0] = 0;
}

void volume_close(void) {
    if (volume.mounted)
        volume_recreate();
}

/* Abandoned filesystems may still be mounted, and stay. */
void volume_close_disk(void) {
    for (unsigned i = 0; i < slices; i++) {
        char dir[sizeof(volume.dir)];
        snprintf(dir, sizeof(dir), "%s/%u", workdir, i);
        rmdir(dir);
    }
    rmdir(workdir);
}
