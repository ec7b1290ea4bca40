/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Used by every test of the freeze requests: checks, processes that may block, the filesystem under
 * test, and the kernel log.
 *
 * Each test runs in its own process and never touches the filesystem itself. Everything that may
 * block is done by actors: child processes that execute operations on request and are given up when
 * they do not answer. A task that waits for a frozen filesystem cannot be killed, so nothing waits
 * for it.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "support/dm.h"
#include "support/freeze_requests.h"
#include "support/kernel_log.h"
#include "support/system.h"

/* ---- the list of tests ----------------------------------------------------------------------- */

enum stock {
    FAILS_ON_STOCK,  /* the test fails on an unpatched kernel */
    SAME_ON_STOCK,   /* the test passes on an unpatched kernel */
    FIXED_BY_PART_1, /* fails on an unpatched kernel, and passes with part 1 of the patches */
    FAILS_UNTIL_6_1, /* fails on 6.1 and older only */
    /* ... and on btrfs, because the emergency thaw ignores freezes of its devices */
    FAILS_UNTIL_6_1_AND_ON_BTRFS,
};

enum needs {
    NEEDS_DM = 1,        /* device-mapper under the filesystem */
    NEEDS_DM_FREEZE = 2, /* ... which freezes it when suspended */
    NEEDS_VM = 4,        /* affects the whole machine */
    NEEDS_F2FS = 8,
    NEEDS_BTRFS = 16,
    NEEDS_32BIT = 32,    /* a machine with 32-bit system calls */
    NEEDS_FAILSLAB = 64, /* fault injection */
    ALONE = 128,         /* changes settings of every filesystem */
    NEEDS_JFS = 256,
    NEEDS_THAW_WITHOUT_MEMORY = 512,   /* a filesystem that allocates no memory to thaw */
    NEEDS_LANDLOCK_IOCTL = 1024,       /* Landlock that restricts ioctls: 6.10 */
    NEEDS_DEVICES = 2048,              /* a filesystem type that supports several devices */
    NEEDS_DEVICES_FREEZE = 4096,       /* ... each of which freezes it when suspended */
    NEEDS_SHUTDOWN = 8192,             /* the shutdown ioctl, on a frozen filesystem too */
    NEEDS_THAW_WITHOUT_DEVICE = 16384, /* a filesystem that thaws even if its device is dead */
    NEEDS_DESCRIPTORS = 32768,         /* part 3 of the patches */
};

struct test {
    const char* name; /* topic.case */
    const char* what;
    void (*run)(void);
    enum stock stock;
    unsigned needs;
};

struct topic {
    const struct test* tests;
    size_t count;
};

#define TOPIC(name)                                                                                \
    const struct topic name = {name##_tests, sizeof(name##_tests) / sizeof(name##_tests[0])}

extern const struct topic holds, owners, deadlines, errors, sysctls, bdev_dm, sysrq, unmount,
    caller_kinds, faults, races, devices, descriptors, giving_up, status, timing;

/* How often those tests repeat that can; 0: not said. */
extern int rounds_wanted;

/* How many parts of the patches the kernel has, from 0 to 3. */
extern int kernel_parts;

/* ---- checks: the first one that fails ends the test ------------------------------------------ */

void fail_at(const char* file, int line, const char* format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void want_at(const char* file, int line, const char* call, int expected, int got);
/* The preparation of the test failed: never a pass, not even on a stock kernel. */
void broken_at(const char* file, int line, const char* format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
/* The machine does not have @what. In our virtual machine this is an error, elsewhere a skip. */
void unavailable(const char* what) __attribute__((noreturn));

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_at(__FILE__, __LINE__, __VA_ARGS__);                                              \
    } while (0)
#define WANT(expected, call) want_at(__FILE__, __LINE__, #call, (expected), (call))
/* The operation that @who has begun blocks. */
#define WAITS(who)                                                                                 \
    want_at(__FILE__, __LINE__, "the operation of " #who, BLOCKED,                                 \
            blocks(who) ? BLOCKED : (who)->last.result)
#define SETUP(call)                                                                                \
    do {                                                                                           \
        int setup_ = (call);                                                                       \
        if (setup_ < 0)                                                                            \
            broken_at(__FILE__, __LINE__, "%s: %s", #call, result_name(setup_));                   \
    } while (0)

/* The result of a call: its return value, -errno, or one of these. */
enum { BLOCKED = -100001, DIED = -100002 };
const char* result_name(int result);

/* ---- time ------------------------------------------------------------------------------------ */

double seconds(int64_t ns);
int block_timeout_ms(void); /* a call that takes longer counts as blocked */
/* The shortest timeout to freeze with: 2 s, or more while the machine is slow. */
int shortest(void);
#define SHORT shortest()
/* Sleeps until a timeout that is already running has certainly expired. */
void sleep_past(int timeout);

/* ---- actors ---------------------------------------------------------------------------------- */

/* Runs in the actor. Returns 0 or more, or -errno. */
typedef int operation(long a, long b, long c);

struct report {
    int result;
    pid_t pid;
    long value;           /* a second result, if the operation has one */
    int64_t begun, ended; /* around the operation: latest_tick() and now_ns() */
};

struct actor {
    pid_t pid;
    int channel, offspring; /* offspring: the channel of the process that it may fork */
    bool busy;
    struct report last;
};

/* A new process with the root of the filesystem open and a copy of the test's memory. */
struct actor* actor(void);
struct actor* actor_with_pid(pid_t pid);
/* One that has nothing of the filesystem open. */
struct actor* actor_outside(void);
/* The process that @parent forks, with everything that @parent has open. */
struct actor* actor_forked_by(struct actor* parent);
/* Pid 1 of a new pid namespace; its pid here is that of the test's namespace. */
struct actor* in_pid_namespace(void);
/* The same process, another program image. @op: op_exec or op_exec_from_thread. */
int actor_exec(struct actor* who, operation* op);

void begin(struct actor* who, operation* op, long a, long b, long c);
int finish(struct actor* who, int within_ms); /* its result, BLOCKED or DIED */
int call(struct actor* who, operation* op, long a, long b, long c);
/* In a new process, made by @maker, which is given up when it does not answer in time. */
int elsewhere(struct actor* (*maker)(void), operation* op, long a, int within_ms);
/* In one process for all such calls, until it blocks; then it is given up and replaced. */
int call_helper(operation* op, long a);
bool finished(struct actor* who); /* now, without waiting */
/* Waits until it sleeps uninterruptibly; false if it finishes instead. */
bool blocks(struct actor* who);

void kill_actor(struct actor* who); /* SIGKILL only; may stay in D */
bool dies(struct actor* who, int within_ms);
void reap(struct actor* who);
/* Waits for it. Returns for how long after @from this process was not scheduled meanwhile. */
int64_t wait_and_count_delays(struct actor* who, int64_t from, int within_ms);
/* Makes it call _exit(); it stays a zombie until reaped. */
void actor_exit(struct actor* who);

/* For operations only. */
extern int here; /* the root of the filesystem, in the actor */
extern long operation_value;
void serve_in_place_of_leader(void) __attribute__((noreturn));
int actor_main(char** argv); /* after an exec */

/* ---- requests -------------------------------------------------------------------------------- */

int freeze(struct actor* who);
int thaw(struct actor* who);
int freeze_for(struct actor* who, int64_t seconds);
int reset(struct actor* who, int64_t seconds);
/* Any request with any argument, on the root of the filesystem. */
int request(struct actor* who, unsigned int code, unsigned long argument);
/* Makes the request @times times, up to the first error; the number of successes is in value. */
int repeat(struct actor* who, unsigned int code, long times);

/* By a new process each time, which therefore has no hold: an administrator. */
int admin_thaw(void);
int admin_reset(int64_t seconds);
/* Opens the device; EBUSY while a superblock uses it. */
int open_exclusively(void);

int op_request(long code, long argument, long unused);
int op_freeze(long, long, long);
int op_thaw(long, long, long);
int op_freeze_for(long, long, long);
int op_exec(long, long, long);
int op_exec_from_thread(long, long, long);
int op_close(long, long, long);  /* the root of the filesystem */
int op_reopen(long, long, long); /* ... by its path */
int op_open_exclusively(long, long, long);

/* ---- descriptors; an actor has a few, by number ---------------------------------------------- */

enum { FDS = 4 };

/* 0 or an error; the descriptor stays in the actor. */
int freeze_fd(struct actor* who, int number, long timeout_ms, long acquire_ms);
int op_freeze_fd(long number, long timeout_ms, long acquire_ms);
int fd_thaw(struct actor* who, int number);
int fd_extend(struct actor* who, int number, long ms);
int fd_keep(struct actor* who, int number);
int fd_close(struct actor* who, int number);
/* The events that come within this time. */
int fd_poll(struct actor* who, int number, long within_ms);
int op_fd_thaw(long number, long, long);
int op_fd_close(long number, long, long);
int op_fd_dup(long from, long to, long);
int op_fd_receive(long number, long, long);
int descriptor_in(int number); /* in the actor: the descriptor itself */
/* Over a socket that all actors share. Call it before the first of them is made. */
void open_passage(void);
int fd_send(struct actor* who, int number);
int fd_receive(struct actor* who, int number);
int op_close_passage(long, long, long);

/* ---- status ---------------------------------------------------------------------------------- */

enum { SEEN = 64 };
/* What an actor has seen last. Call open_view() before the first of them is made. */
struct view {
    struct fsfreeze_status status;
    struct fsfreeze_holder holders[SEEN];
    int64_t took; /* nanoseconds */
};
extern struct view* view;
void open_view(void);
int op_status(long room, long holder_size, long unused);
/* By a new process, with up to SEEN holders. */
int look(void);

/* ---- is it frozen? --------------------------------------------------------------------------- */

int op_write(long, long, long); /* one byte into a file of the filesystem */
struct actor* frozen_at(const char* file, int line);
void thawed_at(const char* file, int line);
void still_at(const char* file, int line, struct actor* writer);
void released_at(const char* file, int line, struct actor* writer);
void released_after_at(const char* file, int line, struct actor* writer, const struct report* start,
                       int timeout);

/* Starts a writer, which must block, and returns it. */
#define FROZEN() frozen_at(__FILE__, __LINE__)
/* A write succeeds. */
#define THAWED() thawed_at(__FILE__, __LINE__)
/* The writer has been blocked until now. */
#define STILL_FROZEN(writer) still_at(__FILE__, __LINE__, writer)
/* The blocked writer succeeds now. */
#define RELEASED(writer) released_at(__FILE__, __LINE__, writer)
/* ... at a deadline: not before it, and within 0.8 s after it. */
#define RELEASED_AFTER(writer, start, timeout)                                                     \
    released_after_at(__FILE__, __LINE__, writer, start, timeout)

/*
 * A deadline may be early by this many nanoseconds of the clock on a busy machine: deadlines are in
 * jiffies, and an emulated CPU that had to wait for its turn catches up on missed ticks.
 * tests/overhead checks that none is early on an idle machine.
 */
#define EARLY 300000000LL

/* ---- the filesystem under test --------------------------------------------------------------- */

struct volume {
    const char* type;
    char device[64];
    char name[64]; /* of the device-mapper device; empty without one */
    char dir[64];
    unsigned slice;
    bool formatted, mounted;
    char id[32]; /* its name in the kernel log */
};

extern struct volume volume;
void volume_open_disk(const char* disk);
bool volume_prepare(void);  /* formatted and mounted */
void volume_recreate(void); /* same data, new superblock and device */
void volume_abandon(void);  /* never uses any part of it again */
void volume_close(void);
void volume_close_disk(void);
bool volume_has_dm(void);
uint64_t slice_sectors(void);
uint64_t slice_start(void);
const char* disk_path(void);
/* For a test's own devices. The slice begins at spare_start() if none is left. */
unsigned allocate_slice(void);
void free_slice(unsigned slice);
/* Kept free behind all slices. */
#define SPARE_SECTORS ((uint64_t)(256 << 20) / 512)
uint64_t spare_start(void);
void discard_volume(void); /* called by a test: do not use this filesystem afterwards */

int op_mount(long flags, long, long);
int op_unmount(long flags, long, long);
int mount_again(unsigned long flags);
int unmount_now(int flags);
/* Until nothing is mounted there any more; false if that fails. */
bool unmount_all(void);

/* ---- its device, by a process that may block ------------------------------------------------- */

int suspend(void);
int suspend_without_freezing(void);
int resume(void);
/* Replaces the present table, without freezing the filesystem. */
int load_table(const char* target, const char* parameters);
/* A suspend blocks writers until the resume. */
void check_suspend_freezes(void);

/* ---- allocations that fail, for tasks that write 1 to /proc/PID/make-it-fail ----------------- */

/* This many of the next allocations; all with "-1". */
void arm_failslab(const char* times);

/* ---- a writer that is stuck in the middle of a write ----------------------------------------- */

struct stuck {
    struct actor *listener, *opener;
};
/* Begins a freeze by @who, op_freeze or op_freeze_for, which blocks because of a stuck writer. */
struct stuck hold_up_freeze(struct actor* who, operation* op, long timeout);
struct stuck stuck_writer(void);
void release_stuck_writer(struct stuck*);
/* One that any unprivileged user can be: in a splice() from an empty pipe, which has begun. */
struct actor* splicing_writer(void);
int op_splice(long, long, long);
void finish_and_thaw(struct actor* who, struct stuck*);

/* Thaws every filesystem of the machine; only for tests that need our virtual machine. */
void press_sysrq_j(void);
int mark_log(void); /* log_mark(), which must succeed */

/* ---- settings -------------------------------------------------------------------------------- */

#define FREEZE_NEST "/proc/sys/fs/freeze_nest"
#define FREEZE_TIMEOUT_ARG "/proc/sys/fs/freeze_timeout_arg"
#define DIRTY_RATIO "/proc/sys/vm/dirty_ratio"
bool is_type(const char* type);

#endif
