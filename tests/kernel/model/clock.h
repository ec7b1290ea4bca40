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
/* Whether a timeout may have expired before the wait for it. */
bool clock_is_late(int64_t now);

#endif
