/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between the program, its workers, and the processes that tests run in. */
#ifndef RUNNER_H
#define RUNNER_H

#include "harness.h"

enum outcome { PASSED, FAILED, BROKEN, HUNG, SKIPPED };

/* What a test leaves for the worker that runs it, in memory that both have. */
struct note {
    bool spoilt;
    char lacks[128];
};
extern struct note* note;

struct verdict {
    bool ok;
    char line[512]; /* what TAP says of it after its number */
    char diagnostics[16384];
};

/* Whether suspending the device freezes the filesystem. */
bool dm_freezes_volume(void);
/* Whether an unpatched kernel of this version breaks what the test checks. */
bool fails_on_stock(const struct test* test);
/* Runs @test on this worker's volume, as on a stock kernel if @stock. */
void judge(const struct test* test, bool stock, struct verdict* verdict);

#endif
