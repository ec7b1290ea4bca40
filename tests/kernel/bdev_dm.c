/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing by device-mapper beside freezing by ioctl: neither can undo the other's.
 * S: dmsetup suspend, R: resume, F: FIFREEZE, T: FITHAW.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"

/* What it all is about: whether a suspend still holds writes back afterwards. */
static void suspend_still_freezes(void) {
    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, resume());
    LET_GO(writer);
}

static void case_a(void) {
    struct actor* who = actor();

    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, freeze(who));
    WANT(0, thaw(who));
    CHECK(blocks(writer), "T has undone the suspend's freeze");
    WANT(0, resume());
    LET_GO(writer);
    suspend_still_freezes();
}

static void case_b(void) {
    struct actor* who = actor();

    WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    WANT(0, suspend());
    STILL_FROZEN(writer);
    WANT(0, resume());
    CHECK(blocks(writer), "the resume has undone the ioctl's freeze");
    WANT(0, thaw(who));
    LET_GO(writer);
}

static void case_b_suspends_again(void) {
    case_b();
    suspend_still_freezes();
}

static void case_c(void) {
    struct actor* who = actor();

    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, freeze(who));
    WANT(0, thaw(who));
    WANT(-EINVAL, thaw(who));
    CHECK(seconds(who->last.ended - who->last.begun) < slowness(), "T took %.1f s to say EINVAL",
          seconds(who->last.ended - who->last.begun));
    CHECK(blocks(writer), "T has undone the suspend's freeze");
    WANT(0, resume());
    LET_GO(writer);
    suspend_still_freezes();
}

static void thaw_of_a_suspend(void) {
    struct actor* admin = actor();

    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(-EINVAL, thaw(admin));
    CHECK(seconds(admin->last.ended - admin->last.begun) < slowness(),
          "T took %.1f s to say EINVAL", seconds(admin->last.ended - admin->last.begun));
    CHECK(blocks(writer), "T has undone the suspend's freeze");
    WANT(0, resume());
    LET_GO(writer);
}

/* On an unpatched kernel this leaves the device's count one too high until it is unmounted. */
static void count_stays_right(void) {
    for (int i = 0; i < 3; i++) {
        struct actor* admin = actor();

        WANT(0, suspend());
        begin(admin, op_thaw, 0, 0, 0);
        if (i % 2)
            WANT(-EINVAL, finish(admin, patience_ms()));
        else
            sleep_ms(200);
        WANT(0, resume());
        if (admin->busy)
            WANT(-EINVAL, finish(admin, patience_ms()));
        suspend_still_freezes();
    }
}

static void rescue_under_a_suspend(void) {
    struct actor* gone = actor();

    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, freeze(gone));
    actor_exit(gone);
    WANT(0, admin_thaw());
    WANT(-EINVAL, admin_thaw());
    CHECK(blocks(writer), "an administrator's T has undone the suspend's freeze");
    WANT(0, resume());
    LET_GO(writer);
    suspend_still_freezes();
}

static void expiry_under_a_suspend(void) {
    struct actor *before = actor(), *after = actor();

    WANT(0, freeze_for(before, SHORT));
    struct actor* writer = FROZEN();
    WANT(0, suspend());
    WANT(0, freeze_for(after, SHORT));
    outlast(SHORT);
    STILL_FROZEN(writer);
    WANT(-EINVAL, thaw(before));
    WANT(-EINVAL, thaw(after));
    CHECK(blocks(writer), "expiry has undone the suspend's freeze");
    WANT(0, resume());
    LET_GO(writer);
    suspend_still_freezes();
}

/* The suspend comes and goes while the hold's time runs. */
static void expiry_after_a_resume(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    struct actor* writer = FROZEN();
    WANT(0, suspend());
    WANT(0, resume());
    LET_GO_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, thaw(owner));
    suspend_still_freezes();
}

static void suspend_holds_under_nested_holds(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(0, suspend());
    WANT(0, freeze(b));
    WANT(0, freeze(a));
    WANT(0, thaw(a));
    WANT(0, thaw(a));
    WANT(-EINVAL, thaw(a));
    WANT(0, resume());
    CHECK(blocks(writer), "the resume has undone the ioctl's freeze");
    WANT(0, thaw(b));
    LET_GO(writer);
}

/* ---- all orders of two freezers and a suspend -------------------------------------------------
 */

/* Not a new process for each step, of which there are hundreds. */
static struct { struct actor *first, *second, *writer; } cast;

/* s, r: suspend and resume; f, t and g, u: freeze and thaw of two processes. */
static int step(char what) {
    switch (what) {
    case 's':
        return suspend();
    case 'r':
        return resume();
    case 'f':
        return freeze(cast.first);
    case 't':
        return thaw(cast.first);
    case 'g':
        return freeze(cast.second);
    default:
        return thaw(cast.second);
    }
}

static bool takes(char what) {
    return strchr("sfg", what) != NULL;
}

static void play(const char order[7]) {
    int references = 0;

    for (int i = 0; i < 6; i++) {
        int result = step(order[i]);
        CHECK(result == 0, "%s: step %d: %s", order, i + 1, result_name(result));
        references += takes(order[i]) ? 1 : -1;
        if (references && !cast.writer->busy) {
            begin(cast.writer, op_write, 0, 0, 0);
            CHECK(blocks(cast.writer), "%s: not frozen after step %d", order, i + 1);
        } else if (references) {
            CHECK(!finished(cast.writer), "%s: thawed at step %d", order, i + 1);
        } else {
            CHECK(finish(cast.writer, patience_ms()) == 0, "%s: frozen after step %d", order,
                  i + 1);
        }
    }
}

static const struct {
    char letter, after;
} letters[] = {{'s', 0}, {'r', 's'}, {'f', 0}, {'t', 'f'}, {'g', 'f'}, {'u', 'g'}};

static bool has(const char* order, int length, char letter) {
    return !letter || memchr(order, letter, (size_t)length);
}

/* Every order in which each is taken before it is given back; f before g, as they are alike. */
static int play_all(char order[7], int length) {
    int played = 0;

    if (length == 6) {
        play(order);
        return 1;
    }
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++) {
        if (has(order, length, letters[i].letter) || !has(order, length, letters[i].after))
            continue;
        order[length] = letters[i].letter;
        played += play_all(order, length + 1);
    }
    return played;
}

static void all_orders(void) {
    char order[7] = "";

    cast.first = actor();
    cast.second = actor();
    cast.writer = actor();
    int played = play_all(order, 0);
    CHECK(played == 45, "%d orders, not 45", played);
    suspend_still_freezes();
}

/* Whoever comes second must not be turned away: nobody looks at what a resume comes to. */
static void thaw_beside_a_resume(void) {
    struct actor* owner = actor();

    for (int i = 0; i < 10; i++) {
        WANT(0, freeze(owner));
        WANT(0, suspend());
        begin(owner, op_thaw, 0, 0, 0);
        WANT(0, resume());
        WANT(0, finish(owner, patience_ms()));
        THAWED();
    }
    suspend_still_freezes();
}

static const struct test bdev_dm_tests[] = {
    {"bdev_dm.case_a", "A: S F T R", case_a, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.case_b", "B: F S R T", case_b, FAILS_UNTIL_6_1, NEEDS_DM_FREEZE},
    {"bdev_dm.case_b_on_btrfs", "... also where S does not freeze", case_b, SAME_ON_STOCK,
     NEEDS_DM | NEEDS_BTRFS},
    {"bdev_dm.case_b_suspends_again", "... and S still holds writes", case_b_suspends_again,
     FAILS_UNTIL_6_1, NEEDS_DM_FREEZE},
    {"bdev_dm.case_c", "C: S F T T: the second T is EINVAL at once", case_c, FAILS_ON_STOCK,
     NEEDS_DM_FREEZE},
    {"bdev_dm.thaw_of_a_suspend", "S T: EINVAL at once", thaw_of_a_suspend, FAILS_ON_STOCK,
     NEEDS_DM_FREEZE},
    {"bdev_dm.count_stays_right", "S T R, then S still holds writes", count_stays_right,
     FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.rescue_under_a_suspend", "an administrator's T takes holds only",
     rescue_under_a_suspend, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.expiry_under_a_suspend", "expiry takes holds only", expiry_under_a_suspend,
     FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.expiry_after_a_resume", "expiry is on time after S R", expiry_after_a_resume,
     FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.nested_holds", "F S F F T T T R T", suspend_holds_under_nested_holds, FAILS_ON_STOCK,
     NEEDS_DM_FREEZE},
    {"bdev_dm.all_orders", "two freezers and a suspend in all 45 orders", all_orders,
     FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.thaw_beside_a_resume", "F S, T and R at the same time", thaw_beside_a_resume,
     FAILS_UNTIL_6_1, NEEDS_DM_FREEZE},
};
TOPIC(bdev_dm);
