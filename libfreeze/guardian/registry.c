/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registry.h"

#include "protocol.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

enum { MAX_RECORDS = 1024, BACKLOG = 128, LONG_PATH = 256 };

/* What the lock file contains: "frozen", and the time at which the kernel thaws. */
#define STATE_FORMAT "frozen %19" PRId64 "\n"
enum { STATE_SIZE = 27 };

void registry_init(struct registry* registry) {
    *registry = (struct registry){.lock = -1, .listener = -1};
}

static void path_of(const struct registry* registry, const char* suffix, char* path) {
    snprintf(path, LONG_PATH, "%s/%s%s", registry->directory, registry->device, suffix);
}

/* An overlay may store its files on any filesystem; btrfs's subvolumes have several numbers. */
static bool may_be_on(const struct stat* status, const struct statfs* type,
                      const struct stat* frozen, const struct statfs* frozen_type) {
    return status->st_dev == frozen->st_dev || type->f_type == OVERLAYFS_SUPER_MAGIC ||
           (type->f_type == BTRFS_SUPER_MAGIC && frozen_type->f_type == BTRFS_SUPER_MAGIC);
}

/* Only root may write in the directory, and it must not be on the filesystem to be frozen. */
static int check_directory(const char* path, int filesystem) {
    struct stat status, frozen;
    struct statfs type, frozen_type;
    const int fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);

    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP ? EPERM : errno;
    int error = sys_fstat(fd, &status) || sys_fstat(filesystem, &frozen) ||
                        sys_fstatfs(fd, &type) || sys_fstatfs(filesystem, &frozen_type)
                    ? errno
                    : 0;
    if (!error && (status.st_uid != 0 || (status.st_mode & 022)))
        error = EPERM;
    if (!error && may_be_on(&status, &type, &frozen, &frozen_type))
        error = EDEADLK;
    sys_close(fd);
    return error;
}

static int make_directory(const char* path) {
    return sys_mkdir(path, 0700) && errno != EEXIST ? errno : 0;
}

/* A guardian that cannot clear the lock file removes it, so the one that was locked may be gone. */
static int take_lock(struct registry* registry) {
    char path[LONG_PATH];
    struct stat status;

    path_of(registry, ".lock", path);
    registry->lock = sys_open(path, O_RDWR | O_CREAT, 0600);
    if (registry->lock < 0)
        return errno;
    if (sys_flock(registry->lock, LOCK_EX | LOCK_NB))
        return errno;
    if (sys_fstat(registry->lock, &status))
        return errno;
    return status.st_nlink == 0 ? EAGAIN : 0;
}

static int read_state(struct registry* registry) {
    char text[STATE_SIZE + 1] = "";
    const ssize_t length = sys_read(registry->lock, text, STATE_SIZE);

    if (length < 0)
        return errno;
    registry->was_left_frozen = strncmp(text, "frozen", 6) == 0;
    registry->recorded = registry->was_left_frozen;
    registry->left_until_ms = registry->recorded ? strtoll(text + 6, NULL, 10) : 0;
    registry->recorded_until = registry->left_until_ms;
    return 0;
}

static int start_listening(struct registry* registry) {
    char path[LONG_PATH];

    path_of(registry, "", path);
    if (sys_unlink(path) && errno != ENOENT)
        return errno;
    registry->listener = sys_socket();
    if (registry->listener < 0)
        return errno;
    if (sys_bind(registry->listener, path) || sys_listen(registry->listener, BACKLOG))
        return errno;
    return 0;
}

static void close_and_forget(int* fd) {
    if (*fd >= 0)
        sys_close(*fd);
    *fd = -1;
}

int registry_open(struct registry* registry, const char* directory, uint32_t device_major,
                  uint32_t device_minor, int filesystem) {
    if (sys_geteuid() != 0)
        return EPERM; /* others must not own the directory */
    snprintf(registry->device, sizeof(registry->device), "%u:%u", device_major, device_minor);
    if (strlen(directory) + strlen(registry->device) + 2 > REGISTRY_PATH_SIZE)
        return ENAMETOOLONG;
    strcpy(registry->directory, directory);
    int error = make_directory(directory);
    if (!error)
        error = check_directory(directory, filesystem);
    if (!error)
        error = take_lock(registry);
    if (!error)
        error = read_state(registry);
    if (!error)
        error = start_listening(registry);
    if (error) {
        close_and_forget(&registry->listener);
        close_and_forget(&registry->lock);
    }
    return error;
}

void registry_close(struct registry* registry) {
    char path[LONG_PATH];

    path_of(registry, "", path);
    if (registry->listener >= 0)
        sys_unlink(path);
    close_and_forget(&registry->listener);
    close_and_forget(&registry->lock);
}

int registry_set_frozen(struct registry* registry, int64_t until_ms) {
    char text[LONG_PATH];

    if (registry->lock < 0 || (registry->recorded && registry->recorded_until == until_ms))
        return 0;
    snprintf(text, sizeof(text), STATE_FORMAT, until_ms);
    const ssize_t length = sys_pwrite(registry->lock, text, STATE_SIZE, 0);
    if (length != STATE_SIZE)
        return length < 0 ? errno : ENOSPC;
    registry->recorded = true;
    registry->recorded_until = until_ms;
    return 0;
}

void registry_clear_frozen(struct registry* registry) {
    char path[LONG_PATH];

    if (registry->lock < 0 || !registry->recorded)
        return;
    path_of(registry, ".lock", path);
    if (sys_ftruncate(registry->lock, 0))
        sys_unlink(path);
    registry->recorded = false;
}

/* ---- how kept holds ended ---------------------------------------------------------------------*/

static void record_path(const struct registry* registry, uint64_t id, char* path) {
    snprintf(path, LONG_PATH, "%s/ended/%016" PRIx64, registry->directory, id);
}

struct records {
    int count;
    char oldest[LONG_PATH]; /* its name */
    struct timespec oldest_time;
};

static bool is_before(const struct timespec* a, const struct timespec* b) {
    return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static void count_record(struct records* records, int directory, const char* name) {
    struct stat status;

    if (sys_fstatat(directory, name, &status) || !S_ISREG(status.st_mode))
        return;
    if (!records->count++ || is_before(&status.st_mtim, &records->oldest_time)) {
        records->oldest_time = status.st_mtim;
        snprintf(records->oldest, sizeof(records->oldest), "%s", name);
    }
}

/* Makes room for one more. */
static void remove_oldest_record(const struct registry* registry) {
    char path[2 * LONG_PATH];
    struct records records = {0};

    snprintf(path, sizeof(path), "%s/ended", registry->directory);
    DIR* directory = sys_opendir(path);
    if (!directory)
        return;
    for (const struct dirent* entry; (entry = readdir(directory));)
        count_record(&records, dirfd(directory), entry->d_name);
    sys_closedir(directory);
    if (records.count < MAX_RECORDS)
        return;
    snprintf(path, sizeof(path), "%s/ended/%s", registry->directory, records.oldest);
    sys_unlink(path);
}

/* The first words of a record. */
static const struct {
    uint32_t cause;
    const char* words;
} causes[] = {
    {GUARDIAN_CAUSE_DEADLINE, "deadline passed"},
    {GUARDIAN_CAUSE_ADMINISTRATOR, "thawed through libfreeze"},
    {GUARDIAN_CAUSE_UNKNOWN_THAW, "thawed without libfreeze"},
};
enum { CAUSES = sizeof(causes) / sizeof(*causes) };

static const char* words_of(uint32_t cause) {
    for (int i = 0; i < CAUSES; ++i)
        if (causes[i].cause == cause)
            return causes[i].words;
    return "ended";
}

static uint32_t cause_in(const char* line) {
    for (int i = 0; i < CAUSES; ++i)
        if (strncmp(line, causes[i].words, strlen(causes[i].words)) == 0)
            return causes[i].cause;
    return GUARDIAN_CAUSE_NONE;
}

static int describe_end(const struct registry* registry, uint32_t cause, char* line) {
    char when[32];
    const time_t now = time(NULL);
    struct tm broken_down;

    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &broken_down));
    return snprintf(line, LONG_PATH, "%s at %s (device %s)\n", words_of(cause), when,
                    registry->device);
}

static void write_line(const char* path, int flags, const char* line, int length) {
    const int fd = sys_open(path, O_WRONLY | O_CREAT | flags, 0600);
    if (fd < 0)
        return;
    (void)!sys_write(fd, line, (size_t)length);
    sys_close(fd);
}

/* A new record appears with its line in it: whoever reads it removes it. Appends to one that is
 * there, because holds of several filesystems may share an id. */
void registry_record_end(struct registry* registry, uint64_t id, uint32_t cause) {
    char path[LONG_PATH], temporary[LONG_PATH], line[LONG_PATH];

    if (registry->lock < 0)
        return;
    snprintf(path, sizeof(path), "%s/ended", registry->directory);
    make_directory(path);
    remove_oldest_record(registry);
    record_path(registry, id, path);
    snprintf(temporary, sizeof(temporary), "%s/ended/.%s", registry->directory, registry->device);
    const int length = describe_end(registry, cause, line);
    write_line(temporary, O_TRUNC, line, length);
    if (sys_link(temporary, path))
        write_line(path, O_APPEND, line, length);
    sys_unlink(temporary);
}

uint32_t registry_take_end(struct registry* registry, uint64_t id) {
    char path[LONG_PATH], line[LONG_PATH] = "";

    if (registry->lock < 0)
        return 0;
    record_path(registry, id, path);
    const int fd = sys_open(path, O_RDONLY, 0);
    if (fd < 0)
        return 0;
    const ssize_t length = sys_read(fd, line, sizeof(line) - 1);
    sys_close(fd);
    sys_unlink(path);
    return length > 0 ? cause_in(line) : GUARDIAN_CAUSE_NONE;
}
