/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stuck writers. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "harness.h"
#include "support/stuck_writer.h"

/* ---- in an open: two actors ------------------------------------------------------------------ */

static int listener; /* in the actor */

static int op_hold_opens(long a, long b, long c) {
    return listener = hold_opens(here, "stuck");
}

static int op_wait_for_open(long a, long b, long c) {
    return wait_for_open(listener, block_timeout_ms() / 2);
}

static int op_allow_open(long a, long b, long c) {
    return allow_open(listener);
}

static int op_open_truncating(long a, long b, long c) {
    return open_truncating(here, "stuck");
}

struct stuck stuck_writer(void) {
    struct stuck stuck = {.listener = actor(), .opener = actor()};

    SETUP(call(stuck.listener, op_hold_opens, 0, 0, 0));
    begin(stuck.opener, op_open_truncating, 0, 0, 0);
    SETUP(call(stuck.listener, op_wait_for_open, 0, 0, 0));
    return stuck;
}

struct stuck hold_up_freeze(struct actor* who, operation* op, long timeout) {
    struct stuck stuck = stuck_writer();

    begin(who, op, timeout, 0, 0);
    WAITS(who);
    return stuck;
}

void release_stuck_writer(struct stuck* stuck) {
    SETUP(call(stuck->listener, op_allow_open, 0, 0, 0));
    WANT(0, finish(stuck->opener, block_timeout_ms()));
}

void finish_and_thaw(struct actor* who, struct stuck* stuck) {
    release_stuck_writer(stuck);
    WANT(0, finish(who, block_timeout_ms()));
    struct actor* writer = FROZEN();
    WANT(0, thaw(who));
    RELEASED(writer);
}

/* ---- in a splice() from an empty pipe -------------------------------------------------------- */

int op_splice(long a, long b, long c) {
    int ends[2], fd = openat(here, "spliced", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || pipe2(ends, O_CLOEXEC))
        return -errno;
    return result_of(splice(ends[0], NULL, fd, NULL, 1, 0));
}

struct actor* splicing_writer(void) {
    struct actor* writer = actor();
    int in_a_row = 0;

    begin(writer, op_splice, 0, 0, 0);
    for (int i = 0; i < 200 && in_a_row < 10; i++) {
        CHECK(!finished(writer), "splice() from an empty pipe returned %s",
              result_name(writer->last.result));
        in_a_row = task_state(writer->pid) == 'S' ? in_a_row + 1 : 0;
        sleep_ms(10);
    }
    return writer;
}
