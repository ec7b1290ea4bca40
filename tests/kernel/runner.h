/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the program, its workers, and the processes that run tests. */
#ifndef RUNNER_H
#define RUNNER_H

#include "harness.h"

enum outcome { PASSED, FAILED, BROKEN, HUNG, SKIPPED };

/* From a test to the worker that runs it, in shared memory. */
struct note {
    bool discard_volume;
    char missing[128];
};
extern struct note* note;

struct verdict {
    bool ok;
    char line[512]; /* the TAP line after the number */
    char diagnostics[16384];
};

/* Whether suspending the device freezes the filesystem. */
bool dm_freezes_volume(void);
/* Whether the test fails on an unpatched kernel of this version. */
bool fails_on_stock(const struct test* test);
/* Runs @test on this worker's volume. */
void judge(const struct test* test, struct verdict* verdict);

#endif
