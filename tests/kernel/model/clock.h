/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model has no notion of time: SOON and LATER expire at the wait for them, and not before. This
 * makes it so, and reports when it is not, because the steps before the wait took too long.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "script.h"

void clock_set(int soon);
int clock_timeout(enum period period); /* SOON or LATER, in seconds */
/* A hold got this timeout in a call between the two times. */
void clock_start(enum period period, int64_t begun, int64_t ended);
/* Waits until every SOON has certainly expired; or every SOON and LATER. */
void clock_wait(enum period until);
/*
 * The kernel's jiffies, in milliseconds. The times of a status are in jiffies, which may lag behind
 * the clock by seconds where an emulated CPU has to wait for its turn.
 */
int64_t clock_jiffies(void);
void clock_begin_step(void);
int64_t clock_step_begun(void); /* in jiffies */
/* Between which jiffies a timeout ends that was started by clock_start(). */
void clock_bounds(enum period period, int64_t* earliest, int64_t* latest);
/* Whether a timeout may have expired before the wait for it. */
bool clock_is_late(int64_t now);

#endif
