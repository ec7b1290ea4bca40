/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sysrq-j: every hold and every bdev freeze, of every filesystem; and nothing is eaten later. */
#include <errno.h>

#include "harness.h"

static void press_j(void) {
    int result = write_file("/proc/sysrq-trigger", "j");

    if (result != 1)
        lacking("sysrq");
}

static void wait_for_emergency_thaw(int mark) {
    static const char* const words[] = {"Emergency", "Thaw", "complete", NULL};

    for (int i = 0; i < patience_ms() / 20; i++) {
        if (log_count(mark, words, NULL))
            return;
        sleep_ms(20);
    }
    fail_at(__FILE__, __LINE__, "the emergency thaw does not come to an end");
}

void press_sysrq_j(void) {
    int mark = log_mark();

    press_j();
    wait_for_emergency_thaw(mark);
}

static void suspend_still_freezes(void) {
    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, resume());
    LET_GO(writer);
}

static void one_hold(void) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    struct actor* writer = FROZEN();
    press_sysrq_j();
    LET_GO(writer);
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
    LET_GO(writer);
    WANT(-EINVAL, reset(a, SHORT));
    WANT(-EINVAL, thaw(a));
    WANT(-EINVAL, thaw(a));
    WANT(-EINVAL, thaw(b));
    WANT(-EINVAL, admin_thaw());
}

/* Those told of the end of their holds cannot undo a freeze that came after. */
static void later_freeze_is_safe(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    WANT(0, freeze(a));
    press_sysrq_j();
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    for (int i = 0; i < 3; i++)
        WANT(-EINVAL, thaw(a));
    CHECK(blocks(writer), "an owner of dropped holds has thawed another's");
    WANT(0, thaw(b));
    LET_GO(writer);
}

static void deadline_is_forgotten(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze_for(a, SHORT));
    press_sysrq_j();
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    outlast(SHORT);
    STILL_FROZEN(writer);
    WANT(-EINVAL, thaw(a));
    WANT(0, thaw(b));
    LET_GO(writer);
}

/* Nobody has a hold before the first freeze is complete, and that one is taken afterwards. */
static void during_a_freeze(void) {
    struct stuck stuck = stuck_writer();
    struct actor* owner = actor();

    begin(owner, op_freeze, 0, 0, 0);
    WAITS(owner);
    press_sysrq_j();
    let_stuck_writer_go(&stuck);
    WANT(0, finish(owner, patience_ms()));
    struct actor* writer = FROZEN();
    WANT(0, thaw(owner));
    LET_GO(writer);
}

/* Others' thaw waits for a suspended device, and so does the end of the emergency thaw. */
static bool thaws_without_io(void) {
    return is_type("xfs") || is_type("f2fs");
}

static void under_a_suspend(int nested) {
    int mark = log_mark();
    struct actor* owner = actor();

    for (int i = 0; i < nested; i++)
        WANT(0, freeze(owner));
    WANT(0, suspend());
    struct actor* writer = FROZEN();
    press_j();
    sleep_ms(300);
    if (thaws_without_io())
        LET_GO(writer);
    WANT(0, resume());
    wait_for_emergency_thaw(mark);
    LET_GO(writer);
    WANT(-EINVAL, thaw(owner));
    suspend_still_freezes();
    /* Nor is there a bdev reference for a hold to be mistaken for. */
    WANT(0, freeze(owner));
    writer = FROZEN();
    WANT(0, suspend());
    WANT(0, resume());
    CHECK(blocks(writer), "the resume has undone the ioctl's freeze");
    WANT(0, thaw(owner));
    LET_GO(writer);
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
    {"sysrq.one_hold", "sysrq-j thaws; the owner's T is EINVAL", one_hold, SAME_ON_STOCK, NEEDS_VM},
    {"sysrq.all_holds", "... with any number of holds", all_holds, FAILS_ON_STOCK, NEEDS_VM},
    {"sysrq.later_freeze_is_safe", "... and a later freeze is not undone by their owners",
     later_freeze_is_safe, FAILS_ON_STOCK, NEEDS_VM},
    {"sysrq.deadline_is_forgotten", "... nor by their deadlines", deadline_is_forgotten,
     FAILS_ON_STOCK, NEEDS_VM},
    {"sysrq.during_a_freeze", "a freeze that is held up does not hold up sysrq-j", during_a_freeze,
     SAME_ON_STOCK, NEEDS_VM},
    {"sysrq.suspend_alone", "S j R; then S holds writes again", suspend_alone,
     FAILS_UNTIL_6_1_AND_ON_BTRFS, NEEDS_VM | NEEDS_DM_FREEZE},
    {"sysrq.one_hold_and_a_suspend", "F S j R; then S holds writes again", one_hold_and_a_suspend,
     FAILS_UNTIL_6_1, NEEDS_VM | NEEDS_DM_FREEZE},
    {"sysrq.holds_and_a_suspend", "F F F S j R; then S holds writes again", holds_and_a_suspend,
     FAILS_ON_STOCK, NEEDS_VM | NEEDS_DM_FREEZE},
};
TOPIC(sysrq);
