/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model knows no time: there, SOON and LATER run out at the wait for them, and not before. This
 * makes it so, and tells when it is not, because the steps before the wait have taken too long.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "script.h"

void clock_set(int soon);
int clock_timeout(enum period period); /* SOON or LATER, in seconds */
/* A hold got this timeout by a call that was made between the two times. */
void clock_start(enum period period, int64_t begun, int64_t ended);
/* Until every SOON has surely run out; or every SOON and LATER. */
void clock_wait(enum period until);
/* Whether a timeout that is not waited for may have run out by then. */
bool clock_overtaken(int64_t now);

#endif
