/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freezing by device-mapper combined with freezing by ioctl: neither undoes the other's freeze.
 * S: dmsetup suspend, R: resume, F: FIFREEZE, T: FITHAW.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"

static void case_a(void) {
    struct actor* who = actor();

    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, freeze(who));
    WANT(0, thaw(who));
    CHECK(blocks(writer), "FITHAW undid the freeze of the suspend");
    WANT(0, resume());
    RELEASED(writer);
    check_suspend_freezes();
}

static void case_b(void) {
    struct actor* who = actor();

    WANT(0, freeze(who));
    struct actor* writer = FROZEN();
    WANT(0, suspend());
    STILL_FROZEN(writer);
    WANT(0, resume());
    CHECK(blocks(writer), "the resume undid the freeze of the ioctl");
    WANT(0, thaw(who));
    RELEASED(writer);
}

static void case_b_suspends_again(void) {
    case_b();
    check_suspend_freezes();
}

static void case_c(void) {
    struct actor* who = actor();

    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, freeze(who));
    WANT(0, thaw(who));
    WANT(-EINVAL, thaw(who));
    CHECK(seconds(who->last.ended - who->last.begun) < slowness(),
          "FITHAW took %.1f s to return EINVAL", seconds(who->last.ended - who->last.begun));
    CHECK(blocks(writer), "FITHAW undid the freeze of the suspend");
    WANT(0, resume());
    RELEASED(writer);
    check_suspend_freezes();
}

static void thaw_of_a_suspend(void) {
    struct actor* admin = actor();

    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(-EINVAL, thaw(admin));
    CHECK(seconds(admin->last.ended - admin->last.begun) < slowness(),
          "FITHAW took %.1f s to return EINVAL", seconds(admin->last.ended - admin->last.begun));
    CHECK(blocks(writer), "FITHAW undid the freeze of the suspend");
    WANT(0, resume());
    RELEASED(writer);
}

/* On an unpatched kernel, the device's count is one too high after this until the unmount. */
static void count_stays_right(void) {
    for (int i = 0; i < 3; i++) {
        struct actor* admin = actor();

        WANT(0, suspend());
        begin(admin, op_thaw, 0, 0, 0);
        if (i % 2)
            WANT(-EINVAL, finish(admin, block_timeout_ms()));
        else
            sleep_ms(200);
        WANT(0, resume());
        if (admin->busy)
            WANT(-EINVAL, finish(admin, block_timeout_ms()));
        check_suspend_freezes();
    }
}

/* Any result will do: without part 2 of the patches, FITHAW takes the freeze of the suspend. */
static void count_after_any_thaw(void) {
    struct actor* admin = actor();

    WANT(0, suspend());
    begin(admin, op_thaw, 0, 0, 0);
    sleep_ms(200);
    WANT(0, resume());
    CHECK(finish(admin, block_timeout_ms()) > BLOCKED, "FITHAW blocks after the resume");
    check_suspend_freezes();
}

static void rescue_under_a_suspend(void) {
    struct actor* gone = actor();

    WANT(0, suspend());
    struct actor* writer = FROZEN();
    WANT(0, freeze(gone));
    actor_exit(gone);
    WANT(0, admin_thaw());
    WANT(-EINVAL, admin_thaw());
    CHECK(blocks(writer), "an administrator's thaw undid the freeze of the suspend");
    WANT(0, resume());
    RELEASED(writer);
    check_suspend_freezes();
}

static void expiry_under_a_suspend(void) {
    struct actor *before = actor(), *after = actor();

    WANT(0, freeze_for(before, SHORT));
    struct actor* writer = FROZEN();
    WANT(0, suspend());
    WANT(0, freeze_for(after, SHORT));
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    WANT(-EINVAL, thaw(before));
    WANT(-EINVAL, thaw(after));
    CHECK(blocks(writer), "expiry undid the freeze of the suspend");
    WANT(0, resume());
    RELEASED(writer);
    check_suspend_freezes();
}

/* Suspend and resume happen before the deadline. */
static void expiry_after_a_resume(void) {
    struct actor* owner = actor();

    WANT(0, freeze_for(owner, SHORT));
    struct report start = owner->last;
    struct actor* writer = FROZEN();
    WANT(0, suspend());
    WANT(0, resume());
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, thaw(owner));
    check_suspend_freezes();
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
    CHECK(blocks(writer), "the resume undid the freeze of the ioctl");
    WANT(0, thaw(b));
    RELEASED(writer);
}

/* ---- all orders of two freezers and a suspend ------------------------------------------------ */

/* The same processes for all steps, of which there are hundreds. */
static struct { struct actor *first, *second, *writer; } actors;

/* s, r: suspend and resume; f, t and g, u: freeze and thaw of two processes. */
static int step(char what) {
    switch (what) {
    case 's':
        return suspend();
    case 'r':
        return resume();
    case 'f':
        return freeze(actors.first);
    case 't':
        return thaw(actors.first);
    case 'g':
        return freeze(actors.second);
    default:
        return thaw(actors.second);
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
        if (references && !actors.writer->busy) {
            begin(actors.writer, op_write, 0, 0, 0);
            CHECK(blocks(actors.writer), "%s: not frozen after step %d", order, i + 1);
        } else if (references) {
            CHECK(!finished(actors.writer), "%s: thawed at step %d", order, i + 1);
        } else {
            CHECK(finish(actors.writer, block_timeout_ms()) == 0, "%s: frozen after step %d", order,
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

/* Every order in which each freeze precedes its thaw; f before g, because they are equivalent. */
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

    actors.first = actor();
    actors.second = actor();
    actors.writer = actor();
    int played = play_all(order, 0);
    CHECK(played == 45, "%d orders, not 45", played);
    check_suspend_freezes();
}

/* Neither may fail because of the other: no caller checks the result of a resume. */
static void thaw_beside_a_resume(void) {
    struct actor* owner = actor();

    for (int i = 0; i < 10; i++) {
        WANT(0, freeze(owner));
        WANT(0, suspend());
        begin(owner, op_thaw, 0, 0, 0);
        WANT(0, resume());
        WANT(0, finish(owner, block_timeout_ms()));
        THAWED();
    }
    check_suspend_freezes();
}

static const struct test bdev_dm_tests[] = {
    {"bdev_dm.case_a", "case A, S F T R: frozen until the resume", case_a, FAILS_ON_STOCK,
     NEEDS_DM_FREEZE},
    {"bdev_dm.case_b", "case B, F S R T: frozen until the thaw", case_b, FAILS_UNTIL_6_1,
     NEEDS_DM_FREEZE},
    {"bdev_dm.case_b_on_btrfs", "case B where a suspend does not freeze", case_b, SAME_ON_STOCK,
     NEEDS_DM | NEEDS_BTRFS},
    {"bdev_dm.case_b_suspends_again", "case B, after which a suspend still blocks writes",
     case_b_suspends_again, FAILS_UNTIL_6_1, NEEDS_DM_FREEZE},
    {"bdev_dm.case_c", "case C, S F T T: the second thaw returns EINVAL at once", case_c,
     FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.thaw_of_a_suspend", "FITHAW of a suspended device returns EINVAL at once",
     thaw_of_a_suspend, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.count_stays_right", "S T R, after which a suspend still blocks writes",
     count_stays_right, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.count_after_any_thaw", "S T R, whatever T returns: a suspend still blocks writes",
     count_after_any_thaw, FIXED_BY_PART_1, NEEDS_DM_FREEZE},
    {"bdev_dm.rescue_under_a_suspend",
     "an administrator's thaw ends only holds, not a suspend's freeze", rescue_under_a_suspend,
     FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.expiry_under_a_suspend", "expiry ends only holds, not a suspend's freeze",
     expiry_under_a_suspend, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.expiry_after_a_resume", "expiry is on time after S R", expiry_after_a_resume,
     FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.nested_holds", "F S F F T T T R T: frozen until the last thaw",
     suspend_holds_under_nested_holds, FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.all_orders", "two freezers and a suspend in all 45 orders", all_orders,
     FAILS_ON_STOCK, NEEDS_DM_FREEZE},
    {"bdev_dm.thaw_beside_a_resume", "F S, then thaw and resume at the same time",
     thaw_beside_a_resume, FAILS_UNTIL_6_1, NEEDS_DM_FREEZE},
};
TOPIC(bdev_dm);
