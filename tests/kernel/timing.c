/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long things take, where the contract names a limit. Nothing else may run meanwhile. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"

enum { MS = 1000000 };

static int compare(const void* a, const void* b) {
    int64_t left = *(const int64_t*)a, right = *(const int64_t*)b;

    return (left > right) - (left < right);
}

/* ---- a freeze that is given up --------------------------------------------------------------- */

static void gives_up_in_time(void) {
    struct actor *who = actor(), *writer = actor(), *splicing = splicing_writer();
    const double most = 3000 * slowness(), moment = 500 * slowness();

    begin(who, op_freeze_fd, 0, 0, 800);
    sleep_ms(200);
    begin(writer, op_write, 0, 0, 0);
    WANT(-ETIMEDOUT, finish(who, 800 + block_timeout_ms()));
    RELEASED(writer);
    double took = (double)(who->last.ended - who->last.begun) / MS;
    double waited = (double)(writer->last.ended - who->last.ended) / MS;
    printf("#   ETIMEDOUT after %.0f ms; the write ended %.1f ms later\n", took, waited);
    CHECK(took >= 800 && took <= most, "ETIMEDOUT after %.0f ms, expected 800 to %.0f", took, most);
    CHECK(waited <= moment, "the blocked write ended only %.0f ms later", waited);
    kill_actor(splicing);
    reap(splicing);
}

/* ---- the death of a holder ------------------------------------------------------------------- */

static int op_timed_thaw(long number, long b, long c) {
    operation_value = now_ns();
    return op_fd_thaw(number, 0, 0);
}

static void begin_blocked_write(struct actor* writer) {
    begin(writer, op_write, 0, 0, 0);
    for (int i = 0; task_state(writer->pid) != 'D' && i < block_timeout_ms(); i++)
        sleep_ms(1);
    CHECK(!finished(writer), "not frozen");
}

/* From the request to the end of a blocked write. Without the delays of the machine. */
static int64_t time_of_thaw(struct actor* who, struct actor* writer) {
    WANT(0, freeze_fd(who, 0, 0, 0));
    begin_blocked_write(writer);
    begin(who, op_timed_thaw, 0, 0, 0);
    int64_t delays = wait_and_count_delays(writer, now_ns(), block_timeout_ms());
    WANT(0, finish(who, block_timeout_ms()));
    int64_t begun = who->last.value;
    RELEASED(writer);
    WANT(0, fd_close(who, 0));
    return writer->last.ended - begun - delays;
}

/* ... from SIGKILL. */
static int64_t time_of_death(struct actor* writer) {
    struct actor* holder = actor();

    WANT(0, freeze_fd(holder, 0, 0, 0));
    begin_blocked_write(writer);
    int64_t killed = now_ns();
    kill_actor(holder);
    int64_t delays = wait_and_count_delays(writer, killed, block_timeout_ms());
    RELEASED(writer);
    reap(holder);
    return writer->last.ended - killed - delays;
}

static void death_of_a_holder(void) {
    const int rounds = rounds_wanted ? rounds_wanted : 40;
    const int64_t most = (debugging_kernel() ? 150 : 50) * (int64_t)MS;
    int64_t *thaw = calloc((size_t)rounds, sizeof(*thaw)),
            *death = calloc((size_t)rounds, sizeof(*death));
    struct actor *who = actor(), *writer = actor();

    for (int i = 0; i < rounds; i++) {
        thaw[i] = time_of_thaw(who, writer);
        death[i] = time_of_death(writer);
    }
    qsort(thaw, (size_t)rounds, sizeof(*thaw), compare);
    qsort(death, (size_t)rounds, sizeof(*death), compare);
    int64_t limit = thaw[rounds - 1] + most;
    int late = 0;
    for (int i = 0; i < rounds; i++)
        late += death[i] > limit;
    printf("#   %d rounds: thaw %.1f ms, at most %.1f; death of the holder %.1f ms, at most %.1f\n",
           rounds, (double)thaw[rounds / 2] / MS, (double)thaw[rounds - 1] / MS,
           (double)death[rounds / 2] / MS, (double)death[rounds - 1] / MS);
    CHECK(late == 0, "%d of %d rounds took longer than %.1f ms", late, rounds, (double)limit / MS);
    CHECK(death[rounds / 2] <= thaw[rounds / 2] + most, "on average it takes %.1f ms longer",
          (double)(death[rounds / 2] - thaw[rounds / 2]) / MS);
}

/* ---- nested freezes -------------------------------------------------------------------------- */

enum { BATCHES = 10, PAIRS = 200, FEW = 10, MANY = 60000 };

/* Of a freeze and its thaw, the fastest, which is least affected by other work. In batches, since
 * other work may last for some milliseconds. */
static int op_time_pairs(long of_fd, long b, long c) {
    int64_t fastest = INT64_MAX;

    for (int i = 0; i < BATCHES * PAIRS; i++) {
        if (i % PAIRS == 0)
            sleep_ms(10);
        int64_t begun = now_ns();
        int result = of_fd ? op_freeze_fd(0, 600000, 0) : op_freeze(0, 0, 0);
        if (result == 0)
            result = of_fd ? op_fd_close(0, 0, 0) : op_thaw(0, 0, 0);
        if (result)
            return result;
        int64_t took = now_ns() - begun;
        fastest = took < fastest ? took : fastest;
    }
    operation_value = fastest;
    return 0;
}

/* Stops at what is fast enough: the machine that emulates this one may be slow for seconds. */
static int64_t time_pairs(struct actor* who, bool of_fd, int64_t enough) {
    int64_t fastest = INT64_MAX;

    for (int attempt = 0; attempt < 50 && fastest >= enough; attempt++) {
        WANT(0, call(who, op_time_pairs, of_fd, 0, 0));
        fastest = who->last.value < fastest ? who->last.value : fastest;
    }
    return fastest;
}

static void nested_among(bool of_fd) {
    struct actor *owner = actor(), *who = actor();
    const int many = debugging_kernel() ? MANY / 20 : MANY;

    WANT(0, repeat(owner, FIFREEZE_TIMEOUT, FEW));
    int64_t few = time_pairs(who, of_fd, INT64_MAX);
    WANT(0, repeat(owner, FIFREEZE_TIMEOUT, many));
    int64_t among_many = time_pairs(who, of_fd, few * 3 / 2);
    printf("#   a nested freeze and its thaw: %.1f us with %d other holds, %.1f us with %d\n",
           (double)few / 1000, FEW, (double)among_many / 1000, FEW + many);
    CHECK(among_many < few * 3 / 2, "%.1f us with %d other holds, %.1f us with %d",
          (double)few / 1000, FEW, (double)among_many / 1000, FEW + many);
    WANT(0, repeat(owner, FITHAW, FEW + many));
}

static void nested(void) {
    nested_among(false);
}

static void nested_descriptor(void) {
    nested_among(true);
}

#define T(name, what, needs)                                                                       \
    { "timing." #name, what, name, FAILS_ON_STOCK, ALONE | (needs) }

static const struct test timing_tests[] = {
    T(gives_up_in_time, "a limit of 0.8 s: ETIMEDOUT within 3 s, and writers continue at once",
      NEEDS_DESCRIPTORS),
    T(death_of_a_holder, "SIGKILL of a holder thaws at most 50 ms later than a thaw",
      NEEDS_DESCRIPTORS),
    T(nested, "a nested freeze takes as long with 60000 holds as with 10", 0),
    T(nested_descriptor, "a nested descriptor takes as long with 60000 holds as with 10",
      NEEDS_DESCRIPTORS),
};
TOPIC(timing);
