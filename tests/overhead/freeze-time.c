/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * freeze-time: how long the freeze requests take and how exact a deadline is. For an idle machine.
 * Prints TAP, and the times as comments of the form "# time NAME MICROSECONDS".
 *
 * A nested freeze must not cost more than a system call, however much data is dirty. What a system
 * call costs depends on the machine: without hardware virtualisation, a trivial request is the
 * reference.
 *
 * A freeze descriptor must cost little more than a FIFREEZE, and a guard of the library little more
 * than a freeze descriptor.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libfreeze/freeze.h>

#include "support/freeze_requests.h"
#include "support/system.h"
#include "support/tap.h"

enum {
    ROUNDS = 9,         /* of a first freeze */
    WAYS_ROUNDS = 61,   /* of a freeze and thaw in each way */
    NESTED = 500,       /* nested freezes in each round */
    EXPIRIES = 20,      /* each takes two seconds */
    NESTED_NS = 5000,   /* limit for a nested freeze, with hardware virtualisation */
    NESTED_TIMES = 12,  /* limit without it: freeze and thaw, in trivial requests */
    DIRTY_PERCENT = 50, /* limit for how much longer it takes with dirty data */
    DIRTY_MIB = 64,
    DESCRIPTOR_PERCENT = 120, /* limit for a descriptor, of FIFREEZE and FITHAW */
    LIBRARY_PERCENT = 105,    /* limit for a guard, of a descriptor */
};

static struct {
    bool stock;
    const char *type, *disk, *other_disk;
} options;

static void point(bool good, const char* what) {
    tap_point(good, "%s: %s", options.type, what);
}

static void give_up(const char* what) {
    tap_bail_out("%s: %s", what, strerror(errno));
}

/* ---- times ----------------------------------------------------------------------------------- */

static int compare(const void* a, const void* b) {
    int64_t left = *(const int64_t*)a, right = *(const int64_t*)b;

    return (left > right) - (left < right);
}

static int64_t median(int64_t* times, int count) {
    qsort(times, (size_t)count, sizeof(*times), compare);
    return times[count / 2];
}

static void print_time(const char* name, int64_t ns) {
    printf("# time %s %.1f\n", name, (double)ns / 1000);
}

static bool virtualised(void) {
    unsigned eax, ebx, ecx, edx;
    char name[13] = "";

    __cpuid(0x40000000, eax, ebx, ecx, edx);
    memcpy(name, &ebx, 4);
    memcpy(name + 4, &ecx, 4);
    memcpy(name + 8, &edx, 4);
    return !strncmp(name, "KVMKVMKVM", 9);
}

/* ---- two filesystems; the second one only provides dirty data -------------------------------- */

struct place {
    const char* disk;
    char dir[64];
    int fd; /* of its root */
};

static void format(const char* disk) {
    const char* force = strcmp(options.type, "ext4") ? "-f" : "-F";
    char command[256];

    snprintf(command, sizeof(command), "mkfs.%s -q %s %s >/dev/null", options.type, force, disk);
    errno = 0;
    if (system(command) != 0)
        give_up(command);
}

static struct place make(const char* disk) {
    struct place place = {.disk = disk, .dir = "/tmp/freeze-time.XXXXXX"};

    format(disk);
    if (!mkdtemp(place.dir) || mount(disk, place.dir, options.type, 0, NULL))
        give_up(disk);
    place.fd = open(place.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place.fd < 0)
        give_up(place.dir);
    return place;
}

static void clear(const struct place* place) {
    close(place->fd);
    if (umount(place->dir) || rmdir(place->dir))
        give_up(place->dir);
}

static void make_dirty(const struct place* place) {
    static char megabyte[1 << 20];
    int fd = openat(place->fd, "dirty", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    memset(megabyte, rand(), sizeof(megabyte));
    for (int i = 0; i < DIRTY_MIB; i++)
        if (write(fd, megabyte, sizeof(megabyte)) != sizeof(megabyte))
            give_up("write");
    close(fd);
}

/* ---- the time of a freeze -------------------------------------------------------------------- */

static int64_t time_of(int fd, unsigned long code) {
    int argument = 0;
    int64_t begun = now_ns();

    if (ioctl(fd, code, &argument))
        give_up("ioctl");
    return now_ns() - begun;
}

/* A freeze and its thaw, while the filesystem is frozen. */
static int64_t time_of_nested(int fd) {
    static int64_t times[NESTED];

    for (int i = 0; i < NESTED; i++) {
        times[i] = time_of(fd, FIFREEZE);
        times[i] += time_of(fd, FITHAW);
    }
    return median(times, NESTED);
}

static int64_t time_of_trivial(int fd) {
    static int64_t times[NESTED];

    for (int i = 0; i < NESTED; i++)
        times[i] = time_of(fd, FIGETBSZ);
    return median(times, NESTED);
}

struct times {
    int64_t first[ROUNDS], thaw[ROUNDS], nested[ROUNDS];
};

static void measure(const struct place* place, struct times* times, int round) {
    times->first[round] = time_of(place->fd, FIFREEZE);
    times->nested[round] = options.stock ? 0 : time_of_nested(place->fd);
    times->thaw[round] = time_of(place->fd, FITHAW);
}

/* Alternates between clean and dirty filesystems, because a machine's speed changes. */
static void freezes(const struct place* place, const struct place* other) {
    const int64_t trivial = time_of_trivial(place->fd);
    static struct times clean, dirty;

    for (int round = 0; round < ROUNDS; round++) {
        if (syncfs(place->fd) || syncfs(other->fd))
            give_up("syncfs");
        measure(place, &clean, round);
        make_dirty(place);
        make_dirty(other);
        measure(place, &dirty, round);
    }
    print_time("trivial-request", trivial);
    print_time("first-freeze", median(clean.first, ROUNDS));
    print_time("last-thaw", median(clean.thaw, ROUNDS));
    print_time("first-freeze-of-dirty", median(dirty.first, ROUNDS));
    if (options.stock)
        return;
    const int64_t nested = median(clean.nested, ROUNDS),
                  nested_dirty = median(dirty.nested, ROUNDS);
    print_time("nested-freeze-and-thaw", nested);
    print_time("nested-freeze-and-thaw-with-dirty-data", nested_dirty);
    if (virtualised())
        point(nested < 2 * NESTED_NS && nested_dirty < 2 * NESTED_NS,
              "a nested freeze takes less than 5 us");
    else
        point(nested < NESTED_TIMES * trivial && nested_dirty < NESTED_TIMES * trivial,
              "a nested freeze takes no longer than a system call does");
    /* median() has sorted them: the minimum is least affected by the machine's other work. */
    point(100 * dirty.nested[0] < (100 + DIRTY_PERCENT) * clean.nested[0],
          "a nested freeze takes no longer when there is dirty data");
}

/* ---- a descriptor and a guard ---------------------------------------------------------------- */

static int64_t time_of_ioctls(const struct place* place) {
    return time_of(place->fd, FIFREEZE) + time_of(place->fd, FITHAW);
}

static int64_t time_of_descriptor(const struct place* place) {
    struct fsfreeze_args args = {.timeout_ms = 60000};
    int64_t begun = now_ns();
    int fd = ioctl(place->fd, FIFREEZE_FD, &args);

    if (fd < 0 || ioctl(fd, FSFREEZE_THAW) || close(fd))
        give_up("FIFREEZE_FD");
    return now_ns() - begun;
}

/* Without rounds of syncfs, which the others do not have. Returns the time from when the library
 * begins to freeze until it has thawed; `all` is with what it does before: look up the path, and
 * find out what is stacked on what and what the program has open. */
static int64_t time_of_guard(const struct place* place, int64_t* all) {
    struct libfreeze_stats stats;
    const char* path = place->dir;
    struct libfreeze_options settings;
    struct libfreeze_guard* guard;

    libfreeze_options_init(&settings, sizeof(settings));
    settings.timeout_ms = 60000;
    settings.flush_budget_ms = 0;
    int64_t begun = now_ns();
    if (libfreeze_freeze(&path, 1, &settings, &guard) || libfreeze_guard_thaw(guard))
        give_up(libfreeze_error_message());
    libfreeze_guard_stats(guard, &stats, sizeof(stats));
    libfreeze_guard_free(guard);
    *all = now_ns() - begun;
    return stats.freezing_ns + stats.frozen_ns;
}

/* A freeze that soon follows a thaw is faster, since the kernel then need not wait for all
 * processors. What the library does before it freezes would take that advantage away. */
static void pause_before_freeze(void) {
    usleep(50000);
}

/* In turn, because a machine's speed changes. */
static void ways(const struct place* place) {
    static int64_t ioctls[WAYS_ROUNDS], descriptors[WAYS_ROUNDS], guards[WAYS_ROUNDS],
        all[WAYS_ROUNDS];

    if (syncfs(place->fd))
        give_up("syncfs");
    for (int round = 0; round < WAYS_ROUNDS; round++) {
        pause_before_freeze();
        ioctls[round] = time_of_ioctls(place);
        pause_before_freeze();
        descriptors[round] = time_of_descriptor(place);
        pause_before_freeze();
        guards[round] = time_of_guard(place, &all[round]);
    }
    const int64_t raw = median(ioctls, WAYS_ROUNDS), descriptor = median(descriptors, WAYS_ROUNDS),
                  guard = median(guards, WAYS_ROUNDS);
    print_time("freeze-and-thaw", raw);
    print_time("freeze-and-thaw-by-descriptor", descriptor);
    print_time("freeze-and-thaw-by-library", guard);
    print_time("freeze-and-thaw-by-library-with-look-up", median(all, WAYS_ROUNDS));
    point(100 * descriptor <= DESCRIPTOR_PERCENT * raw,
          "a freeze descriptor takes at most 1.2 times as long as FIFREEZE");
    point(100 * guard <= LIBRARY_PERCENT * descriptor,
          "the library takes at most 1.05 times as long as a freeze descriptor");
}

static bool has_descriptors(const struct place* place) {
    struct fsfreeze_args args = {.flags = ~0U};

    return ioctl(place->fd, FIFREEZE_FD, &args) < 0 && errno == EINVAL;
}

/* ---- how exact a deadline is ----------------------------------------------------------------- */

/* Writes on request, and reports when the write ended. */
static void serve_writes(const struct place* place, int channel) {
    char order;

    while (read(channel, &order, 1) == 1) {
        int fd = openat(place->fd, "late", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || pwrite(fd, "x", 1, 0) != 1)
            _exit(1);
        int64_t ended = now_ns();
        close(fd);
        if (write(channel, &ended, sizeof(ended)) != sizeof(ended))
            _exit(1);
    }
    _exit(0);
}

static int start_writer(const struct place* place) {
    int channels[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, channels))
        give_up("socketpair");
    fflush(stdout);
    if (fork() == 0) {
        close(channels[0]);
        serve_writes(place, channels[1]);
    }
    close(channels[1]);
    return channels[0];
}

/* From the deadline until a blocked write ends; gives up after ten seconds. */
static int64_t lateness(const struct place* place, int writer) {
    enum { TIMEOUT = 2 };
    struct pollfd fd = {.fd = writer, .events = POLLIN};
    __s64 timeout = TIMEOUT;
    int64_t ended;

    if (ioctl(place->fd, FIFREEZE_TIMEOUT, &timeout))
        give_up("FIFREEZE_TIMEOUT");
    const int64_t deadline = now_ns() + TIMEOUT * 1000000000LL;
    if (write(writer, "w", 1) != 1 || poll(&fd, 1, TIMEOUT * 1000 + 10000) != 1 ||
        read(writer, &ended, sizeof(ended)) != sizeof(ended))
        give_up("no thaw at the deadline");
    /* Removes the ended hold, so that the next one is the only one. */
    if (ioctl(place->fd, FITHAW, 0) == 0 || errno != EINVAL)
        give_up("FITHAW after the deadline");
    return ended - deadline;
}

static void deadlines(const struct place* place) {
    const int64_t tick = 10000000, bound = (virtualised() ? 50 : 300) * 1000000LL;
    int64_t times[EXPIRIES];
    int writer = start_writer(place);
    bool early = false;

    for (int i = 0; i < EXPIRIES; i++) {
        times[i] = lateness(place, writer);
        early |= times[i] < -tick;
    }
    print_time("lateness-median", median(times, EXPIRIES));
    print_time("lateness-most", times[EXPIRIES - 1]);
    point(!early, "no deadline is early");
    point(times[EXPIRIES - 1] < bound,
          virtualised() ? "none of 20 is 50 ms late" : "none of 20 is 300 ms late");
    close(writer);
    wait(NULL); /* it keeps the filesystem busy */
}

/* ---- the program ----------------------------------------------------------------------------- */

static bool read_options(int argc, char** argv) {
    static const struct option known[] = {
        {"stock", no_argument, NULL, 's'}, {"fs", required_argument, NULL, 'f'}, {0}};

    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == 's')
            options.stock = true;
        else if (option == 'f')
            options.type = optarg;
        else
            return false;
    }
    if (argc - optind != 2)
        return false;
    options.disk = argv[optind];
    options.other_disk = argv[optind + 1];
    return options.type != NULL;
}

int main(int argc, char** argv) {
    if (!read_options(argc, argv)) {
        fprintf(stderr, "usage: freeze-time [--stock] --fs TYPE DISK OTHER-DISK\n"
                        "Everything on both disks is destroyed.\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("# %s virtualisation\n", virtualised() ? "hardware" : "no hardware");
    const struct place place = make(options.disk), other = make(options.other_disk);
    freezes(&place, &other);
    if (has_descriptors(&place))
        ways(&place);
    if (!options.stock)
        deadlines(&place);
    clear(&place);
    clear(&other);
    point(true, "measured, and unmounted");
    return tap_finish();
}
