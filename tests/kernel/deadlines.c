/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deadlines: a hold with a timeout ends by itself, on time, with a warning in the kernel log. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "harness.h"

static void expires(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    struct actor* writer = FROZEN();
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, reset(owner, 600));
    WANT(-EINVAL, thaw(owner));
    WANT(-EINVAL, thaw(owner));
}

static void three_seconds_are_not_two(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT + 1));
    struct report start = owner->last;
    struct actor* writer = FROZEN();
    RELEASED_AFTER(writer, &start, SHORT + 1);
    WANT(-EINVAL, thaw(owner));
}

/* A timer that may be late by an eighth of its delay would be late by two seconds here. */
static void twenty_seconds(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, 20));
    struct report start = owner->last;
    struct actor* writer = FROZEN();
    RELEASED_AFTER(writer, &start, 20);
    WANT(-EINVAL, thaw(owner));
}

/* A freezer writes to the filesystem that it has frozen: only the deadline can release it. */
static void saves_its_owner(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    begin(owner, op_write, 0, 0, 0);
    WAITS(owner);
    RELEASED_AFTER(owner, &start, SHORT);
    WANT(-EINVAL, reset(owner, 600));
    WANT(-EINVAL, thaw(owner));
}

static void thaws_after_its_owner(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    struct actor* writer = FROZEN();
    kill_actor(owner);
    reap(owner);
    RELEASED_AFTER(writer, &start, SHORT);
}

static void thawed_in_time(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    WANT(0, thaw(owner));
    /* The timer of the thawed hold must not end the next one. */
    WANT(0, freeze(owner));
    struct actor* writer = FROZEN();
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    WANT(0, thaw(owner));
    RELEASED(writer);
}

static void others_stay(void) {
    struct actor *timed = actor(), *other = actor();

    WANT(0, freeze_for(timed, SHORT));
    WANT(0, freeze(other));
    struct actor* writer = FROZEN();
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    WANT(-EINVAL, reset(timed, SHORT));
    WANT(-EINVAL, thaw(timed));
    WANT(-EINVAL, thaw(timed));
    CHECK(blocks(writer), "an owner whose hold expired thawed another's hold");
    WANT(0, thaw(other));
    RELEASED(writer);
}

static void two_deadlines_of_one(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    WANT(0, freeze_for(owner, 600));
    struct actor* writer = FROZEN();
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    WANT(0, thaw(owner)); /* the second; the first has ended */
    RELEASED(writer);
    WANT(-EINVAL, thaw(owner));
}

/* Its end is reported to the owner before the owner can thaw the one below. */
static void ends_on_top_of_another(void) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    struct actor* writer = FROZEN();
    WANT(0, freeze_for(owner, SHORT));
    sleep_past(SHORT);
    WANT(-EINVAL, thaw(owner));
    STILL_FROZEN(writer);
    WANT(0, thaw(owner));
    RELEASED(writer);
}

/* The later freeze has the earlier deadline. */
static void two_deadlines_of_two(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze_for(a, SHORT + 1));
    struct report start = a->last;
    struct actor* writer = FROZEN();
    WANT(0, freeze_for(b, SHORT));
    sleep_past(SHORT);
    WANT(-EINVAL, thaw(b));
    RELEASED_AFTER(writer, &start, SHORT + 1);
    WANT(-EINVAL, thaw(a));
}

/* ---- reset ----------------------------------------------------------------------------------- */

static void reset_extends(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT + 2));
    int64_t half = owner->last.begun + (SHORT + 2) * 500000000LL;
    struct actor* writer = FROZEN();
    sleep_until(half);
    WANT(0, reset(owner, SHORT + 2));
    struct report again = owner->last;
    RELEASED_AFTER(writer, &again, SHORT + 2);
    WANT(-EINVAL, reset(owner, SHORT));
    WANT(-EINVAL, thaw(owner));
}

static void reset_shortens(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, 600));
    struct actor* writer = FROZEN();
    WANT(0, reset(owner, SHORT));
    struct report start = owner->last;
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, thaw(owner));
}

static void reset_gives_a_deadline(void) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    struct actor* writer = FROZEN();
    WANT(0, reset(owner, SHORT));
    struct report start = owner->last;
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, thaw(owner));
}

/* ---- no timeout, and huge timeouts ----------------------------------------------------------- */

static const int64_t endless[] = {0,
                                  1,
                                  INT_MAX,
                                  (int64_t)INT_MAX + 1,
                                  UINT_MAX,
                                  (1ll << 32),
                                  (1ll << 32) + 1,
                                  (1ll << 32) + 2,
                                  LLONG_MAX / 1000000000,
                                  LLONG_MAX / 1000,
                                  LLONG_MAX / 1000 + 1,
                                  LLONG_MAX / 250,
                                  LLONG_MAX / 250 + 1,
                                  LLONG_MAX / 100,
                                  LLONG_MAX / 2,
                                  LLONG_MAX - 1,
                                  LLONG_MAX};
enum { ENDLESS = sizeof(endless) / sizeof(endless[0]) };

/* One process per timeout, each with its only hold taken or reset by @set. */
static void none_ends(int (*set)(struct actor*, int64_t)) {
    struct actor* owner[ENDLESS];

    for (int i = 0; i < ENDLESS; i++) {
        owner[i] = actor();
        CHECK(set(owner[i], endless[i]) == 0, "a timeout of %lld: %s", (long long)endless[i],
              result_name(owner[i]->last.result));
    }
    struct actor* writer = FROZEN();
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    for (int i = 0; i < ENDLESS; i++)
        CHECK(thaw(owner[i]) == 0, "thaw after a timeout of %lld: %s", (long long)endless[i],
              result_name(owner[i]->last.result));
    RELEASED(writer);
}

static int freeze_then_reset(struct actor* who, int64_t timeout) {
    int result = freeze_for(who, SHORT);

    return result == 0 ? reset(who, timeout) : result;
}

static void none_or_huge(void) {
    none_ends(freeze_for);
}

static void reset_to_none_or_huge(void) {
    none_ends(freeze_then_reset);
}

/* ---- when the freeze itself takes long ------------------------------------------------------- */

static void counts_from_the_completed_freeze(void) {
    struct actor* owner = actor();
    struct stuck stuck = hold_up_freeze(owner, op_freeze_for, SHORT);

    sleep_ms(SHORT * 1000 + 300);
    release_stuck_writer(&stuck);
    WANT(0, finish(owner, block_timeout_ms()));
    struct report completed = owner->last;
    completed.begun = stuck.listener->last.begun;
    struct actor* writer = FROZEN();
    RELEASED_AFTER(writer, &completed, SHORT);
    WANT(-EINVAL, thaw(owner));
}

/* ---- the kernel's log ------------------------------------------------------------------------ */

static int op_rename(long second, long b, long c) {
    return result_of(prctl(PR_SET_NAME, second ? "abi-renamed" : "abi-freezer"));
}

static int warnings(int mark, pid_t pid, int timeout, char* line) {
    char number[12], period[12];
    const char* const words[] = {volume.type, volume.id, number, "abi-freezer", period, NULL};

    snprintf(period, sizeof(period), "%d", timeout);
    snprintf(number, sizeof(number), "%d", pid);
    return log_count(mark, words, line);
}

static void warns(void) {
    int mark = mark_log();
    char line[LOG_LINE] = "";
    struct actor *owner = actor(), *other = actor();

    WANT(0, call(owner, op_rename, 0, 0, 0));
    WANT(0, call(other, op_rename, 0, 0, 0));
    WANT(0, freeze_for(owner, SHORT + 1));
    WANT(0, freeze_for(other, 600));
    WANT(0, call(owner, op_rename, 1, 0, 0));
    struct actor* writer = FROZEN();
    sleep_past(SHORT + 1);
    int count = warnings(mark, owner->pid, SHORT + 1, line);
    CHECK(count == 1, "%d lines contain %s, %s, %d, abi-freezer and %d", count, volume.type,
          volume.id, owner->pid, SHORT + 1);
    CHECK(!strncmp(line, "4,", 2), "not a warning: %s", line);
    CHECK(!strstr(line, "abi-renamed"), "not the name at the time of the freeze: %s", line);
    STILL_FROZEN(writer);
    WANT(0, thaw(other));
    RELEASED(writer);
    WANT(0, warnings(mark, other->pid, 600, line));
}

static void silent_when_thawed(void) {
    int mark = mark_log();
    struct actor* owner = actor();
    char line[LOG_LINE];

    WANT(0, call(owner, op_rename, 0, 0, 0));
    WANT(0, freeze_for(owner, SHORT));
    WANT(0, thaw(owner));
    sleep_past(SHORT);
    WANT(0, warnings(mark, owner->pid, SHORT, line));
}

static const struct test deadlines_tests[] = {
    {"deadlines.expires", "2 s: thawed after 2.0 to 2.5 s; then reset and thaw return EINVAL",
     expires, FAILS_ON_STOCK, 0},
    {"deadlines.three_seconds_are_not_two", "3 s: thawed after 3.0 to 3.5 s",
     three_seconds_are_not_two, FAILS_ON_STOCK, 0},
    {"deadlines.twenty_seconds", "20 s: thawed after 20.0 to 20.5 s", twenty_seconds,
     FAILS_ON_STOCK, 0},
    {"deadlines.saves_its_owner", "the deadline releases a freezer that blocks on its own freeze",
     saves_its_owner, FAILS_ON_STOCK, 0},
    {"deadlines.thaws_after_its_owner", "the deadline applies after SIGKILL of the owner",
     thaws_after_its_owner, FAILS_ON_STOCK, 0},
    {"deadlines.thawed_in_time", "the deadline of a thawed hold ends no other hold", thawed_in_time,
     FAILS_ON_STOCK, 0},
    {"deadlines.others_stay", "expiry does not affect another process's hold", others_stay,
     FAILS_ON_STOCK, 0},
    {"deadlines.two_deadlines_of_one", "one process with two deadlines", two_deadlines_of_one,
     FAILS_ON_STOCK, 0},
    {"deadlines.ends_on_top_of_another", "a hold that expired above another one is reported first",
     ends_on_top_of_another, FAILS_ON_STOCK, 0},
    {"deadlines.two_deadlines_of_two", "two processes, the later freeze with the earlier deadline",
     two_deadlines_of_two, FAILS_ON_STOCK, 0},
    {"deadlines.reset_extends", "reset extends a deadline", reset_extends, FAILS_ON_STOCK, 0},
    {"deadlines.reset_shortens", "reset shortens a deadline", reset_shortens, FAILS_ON_STOCK, 0},
    {"deadlines.reset_gives_a_deadline", "reset gives a plain freeze a deadline",
     reset_gives_a_deadline, FAILS_ON_STOCK, 0},
    {"deadlines.none_or_huge", "0 and 1 mean no timeout, huge timeouts are clamped", none_or_huge,
     FAILS_ON_STOCK, 0},
    {"deadlines.reset_to_none_or_huge", "reset: 0 and 1 mean no timeout, huge timeouts are clamped",
     reset_to_none_or_huge, FAILS_ON_STOCK, 0},
    {"deadlines.counts_from_the_completed_freeze", "the timeout starts when the freeze is complete",
     counts_from_the_completed_freeze, FAILS_ON_STOCK, 0},
    {"deadlines.warns",
     "expiry logs one warning: type, id, pid, name at the time of the freeze, timeout", warns,
     FAILS_ON_STOCK, 0},
    {"deadlines.silent_when_thawed", "no warning for a hold that was thawed in time",
     silent_when_thawed, FAILS_ON_STOCK, 0},
};
TOPIC(deadlines);
