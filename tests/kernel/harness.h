/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every test of the freeze requests uses: checks, processes that may block, the filesystem
 * under test, and the kernel log.
 *
 * A test runs in a process of its own and never touches the filesystem itself: whatever may block
 * is done by actors, child processes that are told what to do and are given up when they do not
 * answer. A task that waits for a frozen filesystem cannot be killed, so nobody waits for it.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "request_codes.h"

/* ---- the list of tests ---------------------------------------------------------------------- */

enum stock {
    FAILS_ON_STOCK,  /* an unpatched kernel breaks what the test checks */
    SAME_ON_STOCK,   /* an unpatched kernel already does it */
    FAILS_UNTIL_6_1, /* ... but none as old as that */
    /* ... and its emergency thaw leaves the freezes of btrfs's devices */
    FAILS_UNTIL_6_1_AND_ON_BTRFS,
};

enum needs {
    NEEDS_DM = 1,        /* device-mapper under the filesystem */
    NEEDS_DM_FREEZE = 2, /* ... which freezes it when suspended */
    NEEDS_VM = 4,        /* touches the whole machine */
    NEEDS_F2FS = 8,
    NEEDS_BTRFS = 16,
    NEEDS_32BIT = 32,    /* a machine with 32-bit system calls */
    NEEDS_FAILSLAB = 64, /* fault injection */
    ALONE = 128,         /* changes what concerns every filesystem */
    NEEDS_JFS = 256,
    NEEDS_THRIFTY = 512,         /* a filesystem that takes no memory for its thaw */
    NEEDS_LANDLOCK_IOCTL = 1024, /* Landlock that restricts ioctls: 6.10 */
    NEEDS_DEVICES = 2048,        /* a filesystem type that can have several devices */
    NEEDS_DEVICES_FREEZE = 4096, /* ... each of which freezes it when suspended */
    NEEDS_SHUTDOWN = 8192,       /* the ioctl that shuts the filesystem down, also while frozen */
    NEEDS_THAW_WITHOUT_DEVICE = 16384, /* a filesystem that thaws also if its device is dead */
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
    caller_kinds, faults, races, devices;

/* ---- checks: the first one that fails ends the test ----------------------------------------- */

void fail_at(const char* file, int line, const char* format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void want_at(const char* file, int line, const char* call, int expected, int got);
/* The test cannot be made here: never a pass, not even on a stock kernel. */
void broken_at(const char* file, int line, const char* format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
/* What the machine lacks: a skip on any machine but our own virtual one, where it is an error. */
void lacking(const char* what) __attribute__((noreturn));

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_at(__FILE__, __LINE__, __VA_ARGS__);                                              \
    } while (0)
#define WANT(expected, call) want_at(__FILE__, __LINE__, #call, (expected), (call))
/* The call that @who was told to begin does not come to an end. */
#define WAITS(who)                                                                                 \
    want_at(__FILE__, __LINE__, "what " #who " does", BLOCKED,                                     \
            blocks(who) ? BLOCKED : (who)->last.result)
#define SETUP(call)                                                                                \
    do {                                                                                           \
        int setup_ = (call);                                                                       \
        if (setup_ < 0)                                                                            \
            broken_at(__FILE__, __LINE__, "%s: %s", #call, result_name(setup_));                   \
    } while (0)

/* What a call came to: its value, -errno, or one of these. */
enum { BLOCKED = -100001, DIED = -100002 };
const char* result_name(int result);

/* ---- time ----------------------------------------------------------------------------------- */

int64_t now_ns(void); /* CLOCK_MONOTONIC */
/*
 * Up to when this machine has counted: the kernel counts deadlines from there, and where a tick
 * is late, as under emulation, so is this.
 */
int64_t latest_tick(void);
void sleep_ms(int ms);
void sleep_until(int64_t ns);
double seconds(int64_t ns);
/*
 * How much longer than usual this machine may take for anything: FREEZE_ABI_SLOW, by default 3 for
 * a debugging kernel, else 1.
 */
double slowness(void);
int patience_ms(void); /* after this long a call counts as blocked */
/* The shortest timeout to freeze with: 2 s, or more while the machine takes long for everything. */
int shortest(void);
#define SHORT shortest()
/* Sleeps until a timeout that runs already has surely run out. */
void outlast(int timeout);

/* ---- actors --------------------------------------------------------------------------------- */

/* Runs in the actor. Answers 0 or more, or -errno. */
typedef int operation(long a, long b, long c);

struct report {
    int result;
    pid_t pid;
    long value;           /* whatever else the operation has to say */
    int64_t begun, ended; /* around the operation: latest_tick() and now_ns() */
};

struct actor {
    pid_t pid;
    int channel, offspring; /* offspring: the channel of the process that it may fork */
    bool busy;
    struct report last;
};

/* A new process with the root of the filesystem open, and the test's memory as it is now. */
struct actor* actor(void);
struct actor* actor_with_pid(pid_t pid);
/* One that has nothing of the filesystem open. */
struct actor* actor_outside(void);
/* The process that @parent forks, with everything that it has open. */
struct actor* actor_forked_by(struct actor* parent);
/* The same process, another program image. @op: op_exec or op_exec_from_thread. */
int actor_exec(struct actor* who, operation* op);

void begin(struct actor* who, operation* op, long a, long b, long c);
int finish(struct actor* who, int within_ms); /* its result, BLOCKED or DIED */
int call(struct actor* who, operation* op, long a, long b, long c);
/* By a process of its own, made by @maker, which is given up when it does not answer in time. */
int elsewhere(struct actor* (*maker)(void), operation* op, long a, int within_ms);
bool finished(struct actor* who); /* now, without waiting */
/* Waits until it sleeps uninterruptibly; false if it finishes instead. */
bool blocks(struct actor* who);
char task_state(pid_t pid); /* as in /proc/PID/stat; 0 if there is no such process */

void kill_actor(struct actor* who); /* SIGKILL only; may stay in D */
bool dies(struct actor* who, int within_ms);
void reap(struct actor* who);
/* Ends it of its own will; it stays a zombie until reaped. */
void actor_exit(struct actor* who);

/* For operations only. */
extern int here; /* the root of the filesystem, in the actor */
extern long operation_value;
int result_of(long returned); /* -errno if that is -1 */
void serve_in_place_of_leader(void) __attribute__((noreturn));
int actor_main(char** argv); /* after an exec */

/* ---- requests ------------------------------------------------------------------------------- */

int freeze(struct actor* who);
int thaw(struct actor* who);
int freeze_for(struct actor* who, int64_t seconds);
int reset(struct actor* who, int64_t seconds);
/* Any request with any argument, on the root of the filesystem. */
int request(struct actor* who, unsigned int code, unsigned long argument);
/* So many times; 0 if all of them succeeded, else the first error, with the successes in value. */
int repeat(struct actor* who, unsigned int code, long times);

/* By a fresh process each time, which therefore has no hold: an administrator. */
int admin_thaw(void);
int admin_reset(int64_t seconds);

int op_request(long code, long argument, long unused);
int op_freeze(long, long, long);
int op_thaw(long, long, long);
int op_freeze_for(long, long, long);
int op_exec(long, long, long);
int op_exec_from_thread(long, long, long);
int op_close(long, long, long);  /* the root of the filesystem */
int op_reopen(long, long, long); /* ... by its path */
int op_open_exclusively(long, long, long);

/* ---- is it frozen? -------------------------------------------------------------------------- */

int op_write(long, long, long); /* one byte into a file of the filesystem */
struct actor* frozen_at(const char* file, int line);
void thawed_at(const char* file, int line);
void still_at(const char* file, int line, struct actor* writer);
void let_go_at(const char* file, int line, struct actor* writer);
void let_go_after_at(const char* file, int line, struct actor* writer, const struct report* start,
                     int timeout);

/* Starts a writer, which must block, and gives it back. */
#define FROZEN() frozen_at(__FILE__, __LINE__)
/* A writer gets through. */
#define THAWED() thawed_at(__FILE__, __LINE__)
/* The writer that blocked has never got through. */
#define STILL_FROZEN(writer) still_at(__FILE__, __LINE__, writer)
/* The writer that blocked gets through now. */
#define LET_GO(writer) let_go_at(__FILE__, __LINE__, writer)
/* ... by a deadline, not before it and not 0.8 s after it. */
#define LET_GO_AFTER(writer, start, timeout)                                                       \
    let_go_after_at(__FILE__, __LINE__, writer, start, timeout)

/*
 * By so many nanoseconds a deadline may be early by the clock on a busy machine: it is in jiffies,
 * and an emulated CPU that had to wait for its turn makes up for the ticks that it has missed.
 * That none is early on an idle machine is seen by tests/cost.
 */
#define EARLY 300000000LL

/* ---- the filesystem under test -------------------------------------------------------------- */

struct volume {
    const char* type;
    char device[64];
    char name[64]; /* of the device-mapper device; empty without one */
    char dir[64];
    unsigned slice;
    bool formatted, mounted;
    char id[32]; /* as the kernel's log names it */
};

extern struct volume volume;
void volume_open_disk(const char* disk);
bool volume_prepare(void);      /* formatted and mounted */
void volume_start_afresh(void); /* same data, another superblock and device */
void volume_abandon(void);      /* nothing of it can be used again */
void volume_close(void);
void volume_close_disk(void);
bool volume_has_dm(void);
uint64_t slice_sectors(void);
uint64_t slice_start(void);
const char* disk_path(void);
/* For devices of a test's own; one that begins at spare_start() if none is left. */
unsigned take_slice(void);
void give_slice_back(unsigned slice);
/* What is kept free behind all slices. */
#define SPARE_SECTORS ((uint64_t)(256 << 20) / 512)
uint64_t spare_start(void);
void spoilt(void); /* said by a test: throw the filesystem away afterwards */

int op_mount(long flags, long, long);
int op_unmount(long flags, long, long);
int mount_again(unsigned long flags);
int unmount_now(int flags);

/* ---- device-mapper, by its ioctls ----------------------------------------------------------- */

bool dm_present(void);
int dm_create(const char* name, int* minor);
int dm_load(const char* name, uint64_t sectors, const char* target, const char* parameters);
int dm_suspend(const char* name, unsigned flags);
int dm_resume(const char* name);
int dm_remove(const char* name);
bool dm_suspended(const char* name);

/* On the device under test, by a process that may block. */
int suspend(void);
int suspend_without_freezing(void);
int resume(void);
int load_table(const char* target, const char* parameters);

/* ---- allocations that fail, for those who write 1 to their /proc/PID/make-it-fail ------------ */

/* The next so many of them, or all with "-1". */
void arm_failslab(const char* times);

/* ---- a writer that never lets go: stuck in a fanotify permission event ---------------------- */

struct stuck {
    struct actor *listener, *opener;
};
struct stuck stuck_writer(void);
void let_stuck_writer_go(struct stuck*);

/* Thaws every filesystem of the machine; only for tests that need our virtual one. */
void press_sysrq_j(void);

/* ---- kernel log, sysctls -------------------------------------------------------------------- */

int log_mark(void);
/* How many lines since the mark have all these words (up to a NULL); the last of them in @line. */
int log_count(int mark, const char* const words[], char line[1024]);

#define FREEZE_NEST "/proc/sys/fs/freeze_nest"
#define FREEZE_TIMEOUT_ARG "/proc/sys/fs/freeze_timeout_arg"
#define DIRTY_RATIO "/proc/sys/vm/dirty_ratio"
int write_file(const char* path, const char* text);
int read_file(const char* path, char* text, size_t size);
bool in_our_vm(void);
bool debugging_kernel(void);
bool is_type(const char* type);
int kernel_version(void); /* 612 is 6.12 */

#endif
