/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares FIFREEZE_STATUS with the model. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "play.h"

/* In milliseconds: some ticks, for rounding. */
enum { SLACK = 50 };

static const char* difference; /* NULL if there is none */
static char details[160];
static int64_t before_look, after_look; /* in jiffies */

#define DIFFERENT(...) (snprintf(details, sizeof(details), __VA_ARGS__), difference = details)

/* ---- looking --------------------------------------------------------------------------------- */

static int op_open_and_look(long a, long b, long c) {
    int result = op_reopen(0, 0, 0);

    if (result == 0)
        result = op_status(SEEN, sizeof(struct fsfreeze_holder), 0);
    op_close(0, 0, 0);
    return result;
}

/* False if nobody can look. */
static bool look_now(void) {
    int who = 0, result;

    if (model.suspended && !model.world.dm_freezes)
        return false;
    before_look = clock_jiffies();
    if (model.mount) {
        result = call_helper(op_open_and_look, 0);
    } else {
        while (who < PROCESSES && (model.process[who].state != ALIVE || !model.process[who].mount ||
                                   process[who]->busy))
            who++;
        if (who == PROCESSES)
            return false;
        result = call(process[who], op_status, SEEN, sizeof(struct fsfreeze_holder), 0);
    }
    after_look = clock_jiffies();
    if (result != 0)
        DIFFERENT("%s", result_name(result));
    return true;
}

/* ---- times ----------------------------------------------------------------------------------- */

static struct { int64_t earliest, latest; } frozen_since;

/* In jiffies. */
static void note_freeze(const struct model* before) {
    if (!model_frozen(&model) || model_frozen(before))
        return;
    frozen_since.earliest = clock_step_begun();
    frozen_since.latest = clock_jiffies();
}

static void compare_frozen_ms(void) {
    int64_t ms = (int64_t)view->status.frozen_ms;
    int64_t least = before_look - frozen_since.latest - SLACK;
    int64_t most = after_look - frozen_since.earliest + SLACK;

    if (!model_frozen(&model))
        least = most = 0;
    if (ms < least || ms > most)
        DIFFERENT("frozen for %lld ms, expected %lld to %lld", (long long)ms, (long long)least,
                  (long long)most);
}

static bool is_left(enum deadline deadline, uint64_t left) {
    static const enum period periods[DEADLINES] = {
        [IN_SHORT] = SOON, [IN_LONG] = LATER, [BEYOND_ALL_WAITS] = TEN_MINUTES};
    int64_t earliest, latest;

    if (deadline == NEVER)
        return left == UINT64_MAX;
    if (deadline == IN_AGES)
        return left != UINT64_MAX && left > 1000000000000;
    clock_bounds(periods[deadline], &earliest, &latest);
    return (int64_t)left <= latest - before_look + SLACK &&
           (int64_t)left >= earliest - after_look - SLACK;
}

/* ---- holders --------------------------------------------------------------------------------- */

static bool has_pid(const struct holder* expected, pid_t pid) {
    if (expected->who == ADMIN)
        return pid != 0;
    return pid == (expected->who == NOBODY ? 0 : process[expected->who]->pid);
}

/* The one with the least time left: the order of the deadlines is known, but not their times. */
static struct fsfreeze_holder* find(const struct holder* expected) {
    struct fsfreeze_holder* found = NULL;

    for (unsigned i = 0; i < view->status.nr_holders; i++) {
        struct fsfreeze_holder* seen = &view->holders[i];
        if (has_pid(expected, seen->pid) && seen->flags == expected->flags &&
            seen->holds == (unsigned)expected->holds &&
            is_left(expected->deadline, seen->left_ms) &&
            (!found || seen->left_ms < found->left_ms))
            found = seen;
    }
    return found;
}

static void compare_holder(const struct holder* expected) {
    struct fsfreeze_holder* seen = find(expected);

    if (seen) {
        seen->flags = UINT32_MAX; /* found only once */
        return;
    }
    seen = view->holders;
    DIFFERENT("no holder %d with flags %u, %d holds and deadline %d; the first one of %u: pid %d "
              "flags %u holds %u left %lld",
              expected->who, expected->flags, expected->holds, expected->deadline,
              view->status.nr_holders, seen->pid, seen->flags, seen->holds,
              (long long)seen->left_ms);
}

static void compare_holders(const struct outlook* outlook) {
    for (int known = true; known >= false; known--)
        for (int deadline = DEADLINES; deadline > 0 && !difference; deadline--)
            for (int i = 0; i < outlook->count && !difference; i++) {
                const struct holder* expected = &outlook->holder[i];
                bool is_turn =
                    (expected->who != ADMIN) == known &&
                    expected->deadline == (enum deadline)((DEADLINES - deadline + 1) % DEADLINES);
                if (is_turn)
                    compare_holder(expected);
            }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void compare(const struct outlook* outlook) {
    const struct fsfreeze_status* seen = &view->status;

    if (seen->state != outlook->state)
        DIFFERENT("state %u, expected %u", seen->state, outlook->state);
    else if (seen->holds != (unsigned)outlook->holds || seen->bdev != (unsigned)outlook->bdev)
        DIFFERENT("%u holds and %u of block devices, expected %d and %d", seen->holds, seen->bdev,
                  outlook->holds, outlook->bdev);
    else if (seen->kernel || seen->userspace || seen->flags)
        DIFFERENT("kernel %u userspace %u flags %u", seen->kernel, seen->userspace, seen->flags);
    else if (seen->nr_holders != (unsigned)outlook->count)
        DIFFERENT("%u holders, expected %d", seen->nr_holders, outlook->count);
    if (difference)
        return;
    compare_frozen_ms();
    compare_holders(outlook);
}

/* The kernel may do something a moment after the step. */
static bool needs_time(struct step step) {
    switch ((enum verb)step.verb) {
    case FD_CLOSE:
    case EXIT:
    case KILL:
    case DIE_FREEZING:
    case DIE_THAWING:
    case LOSE:
    case UNSTICK:
        return true;
    case FREEZE_FD:
    case FREEZE_FD_WITHIN:
    case FD_EXTEND:
        return step.period == ONE;
    default:
        return false;
    }
}

void compare_status(struct step step, const struct model* before) {
    const struct outlook outlook = model_outlook(&model);
    const int patience = needs_time(step) ? block_timeout_ms() : 0;

    note_freeze(before);
    for (int waited = 0;; waited += 2) {
        difference = NULL;
        if (!look_now())
            return;
        if (!difference && view->took > 500000000)
            DIFFERENT("took %.3f s", seconds(view->took));
        if (!difference)
            compare(&outlook);
        if (!difference)
            return;
        if (waited >= patience)
            differs("status: %s", difference);
        sleep_ms(2);
    }
}
