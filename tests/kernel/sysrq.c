/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sysrq-j ends every hold and every bdev freeze of every filesystem, but no later freeze. */
#include <errno.h>

#include "harness.h"

static void press_j(void) {
    int result = write_file("/proc/sysrq-trigger", "j");

    if (result != 1)
        unavailable("sysrq");
}

static void wait_for_emergency_thaw(int mark) {
    if (!log_wait(mark, emergency_thaw_complete, NULL, block_timeout_ms()))
        fail_at(__FILE__, __LINE__, "the emergency thaw does not end");
}

void press_sysrq_j(void) {
    int mark = mark_log();

    press_j();
    wait_for_emergency_thaw(mark);
}

static void one_hold(void) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    struct actor* writer = FROZEN();
    press_sysrq_j();
    RELEASED(writer);
    WANT(-EINVAL, thaw(owner));
}

static void all_holds(void) {
    struct actor *a = actor(), *b = actor(), *gone = actor();

    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(0, freeze(b));
    WANT(0, freeze_for(a, 600));
    WANT(0, freeze(gone));
    actor_exit(gone);
    press_sysrq_j();
    RELEASED(writer);
    WANT(-EINVAL, reset(a, SHORT));
    WANT(-EINVAL, thaw(a));
    WANT(-EINVAL, thaw(a));
    WANT(-EINVAL, thaw(b));
    WANT(-EINVAL, admin_thaw());
}

/* The former owners cannot undo a later freeze. */
static void later_freeze_is_safe(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    WANT(0, freeze(a));
    press_sysrq_j();
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    for (int i = 0; i < 3; i++)
        WANT(-EINVAL, thaw(a));
    CHECK(blocks(writer), "an owner of ended holds thawed another's hold");
    WANT(0, thaw(b));
    RELEASED(writer);
}

static void deadline_is_forgotten(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze_for(a, SHORT));
    press_sysrq_j();
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    WANT(-EINVAL, thaw(a));
    WANT(0, thaw(b));
    RELEASED(writer);
}

/* There is no hold until the first freeze is complete, and that hold is not affected. */
static void during_a_freeze(void) {
    struct actor* owner = actor();
    struct stuck stuck = hold_up_freeze(owner, op_freeze, 0);

    press_sysrq_j();
    finish_and_thaw(owner, &stuck);
}

/* The others' thaw does I/O, so they and the emergency thaw wait for a suspended device. */
static bool thaws_without_io(void) {
    return is_type("xfs") || is_type("f2fs");
}

static void under_a_suspend(int nested) {
    int mark = mark_log();
    struct actor* owner = actor();

    for (int i = 0; i < nested; i++)
        WANT(0, freeze(owner));
    WANT(0, suspend());
    struct actor* writer = FROZEN();
    press_j();
    sleep_ms(300);
    if (thaws_without_io())
        RELEASED(writer);
    WANT(0, resume());
    wait_for_emergency_thaw(mark);
    RELEASED(writer);
    WANT(-EINVAL, thaw(owner));
    check_suspend_freezes();
    /* No bdev reference is left that could be mistaken for a hold. */
    WANT(0, freeze(owner));
    writer = FROZEN();
    WANT(0, suspend());
    WANT(0, resume());
    CHECK(blocks(writer), "the resume undid the freeze of the ioctl");
    WANT(0, thaw(owner));
    RELEASED(writer);
}

static void one_hold_and_a_suspend(void) {
    under_a_suspend(1);
}

static void holds_and_a_suspend(void) {
    under_a_suspend(3);
}

static void suspend_alone(void) {
    under_a_suspend(0);
}

static const struct test sysrq_tests[] = {
    {"sysrq.one_hold", "sysrq-j thaws; the owner's thaw returns EINVAL", one_hold, SAME_ON_STOCK,
     NEEDS_VM},
    {"sysrq.all_holds", "sysrq-j thaws with any number of holds", all_holds, FAILS_ON_STOCK,
     NEEDS_VM},
    {"sysrq.later_freeze_is_safe", "owners of holds that sysrq-j ended cannot undo a later freeze",
     later_freeze_is_safe, FAILS_ON_STOCK, NEEDS_VM},
    {"sysrq.deadline_is_forgotten",
     "deadlines of holds that sysrq-j ended do not end a later freeze", deadline_is_forgotten,
     FAILS_ON_STOCK, NEEDS_VM},
    {"sysrq.during_a_freeze", "a freeze that is held up does not hold up sysrq-j", during_a_freeze,
     SAME_ON_STOCK, NEEDS_VM},
    {"sysrq.suspend_alone", "S j R, after which a suspend blocks writes again", suspend_alone,
     FAILS_UNTIL_6_1_AND_ON_BTRFS, NEEDS_VM | NEEDS_DM_FREEZE},
    {"sysrq.one_hold_and_a_suspend", "F S j R, after which a suspend blocks writes again",
     one_hold_and_a_suspend, FAILS_UNTIL_6_1, NEEDS_VM | NEEDS_DM_FREEZE},
    {"sysrq.holds_and_a_suspend", "F F F S j R, after which a suspend blocks writes again",
     holds_and_a_suspend, FAILS_ON_STOCK, NEEDS_VM | NEEDS_DM_FREEZE},
};
TOPIC(sysrq);
