/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezes that cannot complete, and are given up: nothing is frozen, and writers continue. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"

static void nothing_is_frozen(void) {
    THAWED();
    WANT(-EINVAL, admin_thaw());
}

/* ---- the time limit -------------------------------------------------------------------------- */

static void check_limit(struct actor* who, int limit) {
    double latest = limit + 400 * slowness() + (SHORT - 1) * 1000;

    begin(who, op_freeze_fd, 0, 0, limit);
    struct actor* writer = actor();
    sleep_ms(limit / 2);
    begin(writer, op_write, 0, 0, 0);
    WANT(-ETIMEDOUT, finish(who, limit + block_timeout_ms()));
    double took = seconds(who->last.ended - who->last.begun) * 1000;
    CHECK(took >= limit, "gave up after %.0f ms, before the limit of %d ms", took, limit);
    CHECK(took <= latest, "gave up after %.0f ms, later than %.0f ms", took, latest);
    RELEASED(writer);
}

static void acquire_timeout(void) {
    struct actor *who = actor(), *splicing = splicing_writer();

    check_limit(who, 800);
    nothing_is_frozen();
    check_limit(who, 50);
    kill_actor(splicing);
    reap(splicing);
    WANT(0, freeze_fd(who, 0, 0, 60000));
    struct actor* writer = FROZEN();
    WANT(0, fd_thaw(who, 0));
    RELEASED(writer);
}

static void acquire_timeout_in_an_open(void) {
    struct actor* who = actor();
    struct stuck stuck = stuck_writer();

    check_limit(who, 300);
    nothing_is_frozen();
    release_stuck_writer(&stuck);
    nothing_is_frozen();
}

/* The limit is long over when the hold's deadline comes. */
static void limit_ends_with_the_freeze(void) {
    struct actor* who = actor();

    const int limit = SHORT * 1000;

    WANT(0, freeze_fd(who, 0, 0, limit));
    struct actor* writer = FROZEN();
    sleep_ms(limit + 400);
    STILL_FROZEN(writer);
    WANT(0, fd_thaw(who, 0));
    RELEASED(writer);
}

/* ---- SIGKILL --------------------------------------------------------------------------------- */

static void killed_by(operation* op, long a, long b) {
    struct actor *who = actor(), *splicing = splicing_writer();

    begin(who, op, a, b, 0);
    WAITS(who);
    struct actor* writer = FROZEN();
    kill_actor(who);
    CHECK(dies(who, block_timeout_ms()), "SIGKILL does not end the freeze");
    reap(who);
    RELEASED(writer);
    nothing_is_frozen();
    kill_actor(splicing);
    reap(splicing);
    nothing_is_frozen();
}

static void killed(void) {
    killed_by(op_freeze, 0, 0);
}

static void killed_with_timeout(void) {
    killed_by(op_freeze_for, 600, 0);
}

static void killed_with_descriptor(void) {
    killed_by(op_freeze_fd, 0, 600000);
}

/* ---- the others who wait --------------------------------------------------------------------- */

static void waits_for_another(void) {
    struct actor *first = actor(), *second = actor(), *third = actor();
    struct stuck stuck = hold_up_freeze(first, op_freeze, 0);

    begin(second, op_freeze, 0, 0, 0);
    WAITS(second);
    WANT(-ETIMEDOUT, freeze_fd(third, 0, 0, 300));
    kill_actor(second);
    CHECK(dies(second, block_timeout_ms()), "SIGKILL does not end the wait for another freeze");
    CHECK(!finished(first), "the first freeze was given up as well");
    finish_and_thaw(first, &stuck);
}

/* Another takes over when the first one gives up. */
static void takes_over(void) {
    struct actor *first = actor(), *second = actor();
    struct stuck stuck = hold_up_freeze(first, op_freeze, 0);

    begin(second, op_freeze_for, 600, 0, 0);
    WAITS(second);
    kill_actor(first);
    CHECK(dies(first, block_timeout_ms()), "SIGKILL does not end the freeze");
    WAITS(second);
    finish_and_thaw(second, &stuck);
    nothing_is_frozen();
}

/* There is no hold, so nothing needs to wait for the freeze. */
static void others_answer_at_once(void) {
    struct actor *owner = actor(), *first = actor(), *other = actor();

    WANT(0, freeze(owner));
    WANT(0, thaw(owner));
    struct stuck stuck = hold_up_freeze(first, op_freeze, 0);
    WANT(-EINVAL, thaw(owner));
    WANT(-EINVAL, reset(owner, SHORT));
    WANT(-EINVAL, thaw(other));
    WANT(-EINVAL, reset(other, SHORT));
    CHECK(!finished(first), "the freeze was given up");
    finish_and_thaw(first, &stuck);
}

/* device-mapper's freeze cannot be given up, but the wait for it can. */
static int op_suspend(long a, long b, long c) {
    return dm_suspend(volume.name, 0);
}

static void waits_for_device_mapper(void) {
    struct actor *mapper = actor_outside(), *first = actor(), *second = actor();
    struct stuck stuck = stuck_writer();

    begin(mapper, op_suspend, 0, 0, 0);
    WAITS(mapper);
    WANT(-ETIMEDOUT, freeze_fd(first, 0, 0, 300));
    begin(second, op_freeze, 0, 0, 0);
    WAITS(second);
    kill_actor(second);
    CHECK(dies(second, block_timeout_ms()), "SIGKILL does not end the wait for the suspend");
    release_stuck_writer(&stuck);
    WANT(0, finish(mapper, block_timeout_ms()));
    struct actor* writer = FROZEN();
    SETUP(resume());
    RELEASED(writer);
    nothing_is_frozen();
    check_suspend_freezes();
}

/* ---- many times ------------------------------------------------------------------------------ */

static int op_write_until(long end, long b, long c) {
    int result = 0;

    for (operation_value = 0; now_ns() < end && result == 0; operation_value++)
        result = op_write(0, 0, 0);
    return result;
}

/* Freezes with limits around the time that a freeze takes, against busy writers. */
static int op_freeze_until(long end, long seed_value, long c) {
    unsigned seed = (unsigned)seed_value;
    long given_up = 0, done = 0, limit = 8;

    while (now_ns() < end) {
        int result = op_freeze_fd(0, rand_r(&seed) % 2 ? 0 : 1 + rand_r(&seed) % 20,
                                  1 + rand_r(&seed) % limit);
        if (result && result != -ETIMEDOUT)
            return result;
        given_up += result != 0;
        done += result == 0;
        if (result == 0) {
            result = rand_r(&seed) % 2 ? op_fd_thaw(0, 0, 0) : 0;
            if (result && result != -ESTALE)
                return result;
            op_fd_close(0, 0, 0);
            limit = limit > 4 ? limit / 2 : limit;
        } else if (limit < 10000) {
            limit *= 2;
        }
    }
    operation_value = given_up * 100000 + done;
    return 0;
}

enum { FREEZERS = 3, WRITERS = 3 };

static void many_times(void) {
    struct actor *freezer[FREEZERS], *writer[WRITERS], *splicing;
    int64_t end = now_ns() + (int64_t)(4 * SHORT * slowness()) * 1000000000;
    long given_up = 0, done = 0;

    for (int i = 0; i < FREEZERS; i++)
        begin(freezer[i] = actor(), op_freeze_until, end, (long)(now_ns() / 1000) + i, 0);
    for (int i = 0; i < WRITERS; i++)
        begin(writer[i] = actor(), op_write_until, end, 0, 0);
    while (now_ns() < end) {
        begin(splicing = actor(), op_splice, 0, 0, 0);
        sleep_ms(100);
        kill_actor(splicing);
        CHECK(dies(splicing, 2 * block_timeout_ms()), "a stuck writer does not die");
        reap(splicing);
        sleep_ms(100);
    }
    for (int i = 0; i < FREEZERS; i++) {
        WANT(0, finish(freezer[i], 4 * block_timeout_ms()));
        given_up += freezer[i]->last.value / 100000;
        done += freezer[i]->last.value % 100000;
    }
    for (int i = 0; i < WRITERS; i++)
        WANT(0, finish(writer[i], 2 * block_timeout_ms()));
    printf("#   %ld freezes were given up, %ld were not\n", given_up, done);
    CHECK(given_up && done, "only one outcome was seen");
    nothing_is_frozen();
}

#define T(name, what, needs)                                                                       \
    { "giving_up." #name, what, name, FAILS_ON_STOCK, NEEDS_DESCRIPTORS | (needs) }

static const struct test giving_up_tests[] = {
    T(acquire_timeout, "a writer in splice() from an empty pipe: ETIMEDOUT, and writers continue",
      0),
    T(acquire_timeout_in_an_open, "a writer in an open: ETIMEDOUT, and writers continue", 0),
    T(limit_ends_with_the_freeze, "the time limit does not apply to the hold", 0),
    T(killed, "SIGKILL ends a FIFREEZE that waits for writers", 0),
    T(killed_with_timeout, "SIGKILL ends a FIFREEZE_TIMEOUT that waits for writers", 0),
    T(killed_with_descriptor, "SIGKILL ends a FIFREEZE_FD that waits for writers", 0),
    T(waits_for_another, "the wait for another freeze can be given up", 0),
    T(takes_over, "another freezer continues when the first one gives up", 0),
    T(others_answer_at_once, "thaw and reset return EINVAL at once while a freeze is stuck", 0),
    T(waits_for_device_mapper, "the wait for device-mapper's freeze can be given up",
      NEEDS_DM_FREEZE),
    T(many_times, "giving up again and again, against writers and other freezers", 0),
};
TOPIC(giving_up);
