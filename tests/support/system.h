/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time, files, processes, and what kind of machine this is. For C and C++. */
#ifndef SUPPORT_SYSTEM_H
#define SUPPORT_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- time ------------------------------------------------------------------------------------ */

int64_t now_ns(void); /* CLOCK_MONOTONIC */
/*
 * The time of the latest timer tick. The kernel counts deadlines from it. Where a tick is late, as
 * under emulation, this is late by as much.
 */
int64_t latest_tick(void);
void sleep_until(int64_t ns);
void sleep_ms(int ms);

/* ---- the machine ----------------------------------------------------------------------------- */

/*
 * How many times longer than usual everything may take here: FREEZE_ABI_SLOW if it is set, 3 on a
 * debugging kernel, otherwise 1.
 */
double slowness(void);
bool in_our_vm(void);
bool debugging_kernel(void);
int kernel_version(void); /* 612 is 6.12 */

/* ---- files: a length, or -errno -------------------------------------------------------------- */

int result_of(long returned); /* -errno if a system call returned -1 */
int write_file(const char* path, const char* text);
int read_file(const char* path, char* text, size_t size); /* terminates the text */

/* ---- processes ------------------------------------------------------------------------------- */

char task_state(pid_t pid); /* as in /proc/PID/stat; 0 if there is no such process */
/*
 * True once all threads are gone. The leader alone may be a zombie earlier: while other threads
 * live, and while one of them takes its place in an exec.
 */
bool is_dead(pid_t pid);
/* Whether a task sleeps where writers wait for a thaw. */
enum sleeping { SLEEPS_ELSEWHERE, SLEEPS_ON_FREEZE, SLEEP_UNKNOWN /* the kernel does not say */ };
enum sleeping sleeps_on_freeze(pid_t pid);
/*
 * Waits for a child, whose wait status is then in @status. Returns false if it has not exited in
 * time. The time is counted in slices of waiting, not by the clock, so that no child is given up
 * because the whole machine stood still, as an emulated one may.
 */
bool exits_within(pid_t child, int ms, int* status);

#ifdef __cplusplus
}
#endif

#endif
