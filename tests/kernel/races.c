/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Expiry at the same moment as everything else that ends or needs a freeze.
 *
 * A timeout is at least 2 s, so each round has many deadlines, and all processes act at one of them
 * or a little before or after it. Either event may win. A run in which only one of the two outcomes
 * was seen proves nothing; until both are seen, the processes act farther from the deadline.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "harness.h"

enum { MANY = 24, FEW = 8, MOST_ROUNDS = 10, MS = 1000000 };

/* ---- the moment ------------------------------------------------------------------------------ */

static struct {
    unsigned seed;
    int spread_ms, least, rounds;
    int early, late; /* actions before and after the expiry */
} race;

static void start_races(int rounds) {
    const char* seed = getenv("FREEZE_ABI_SEED");

    race.seed = seed ? (unsigned)atol(seed) : (unsigned)(now_ns() / 1000);
    race.spread_ms = 8;
    race.least = rounds;
    printf("#   FREEZE_ABI_SEED=%u\n", race.seed);
}

static bool both_seen(void) {
    return race.early && race.late;
}

static bool another_round(void) {
    return race.rounds < race.least || (!both_seen() && race.rounds < MOST_ROUNDS);
}

static void end_round(int early, int late) {
    race.rounds++;
    race.early += early;
    race.late += late;
    if (!both_seen())
        race.spread_ms *= 2;
}

static void end_races(void) {
    printf("#   %d before the expiry, %d after it, in %d rounds\n", race.early, race.late,
           race.rounds);
    CHECK(both_seen(), "only one outcome was seen: this was no race");
}

static int64_t random_ns(int ms) {
    return rand_r(&race.seed) % (ms * 1000) * 1000LL;
}

static int64_t moment(int64_t deadline, bool early) {
    int64_t distance = random_ns(race.spread_ms);

    return early ? deadline - distance : deadline + distance;
}

/* For actions that happen once per round. */
static bool early_round(void) {
    return race.rounds % 2 == 0;
}

/* ---- the holds ------------------------------------------------------------------------------- */

static struct actor* owner[MANY];
static int64_t due[MANY], last_due;

static void assemble(struct actor** who, int count, struct actor* (*maker)(void)) {
    for (int i = 0; i < count; i++)
        who[i] = maker();
}

static void freeze_all(void) {
    for (int i = 0; i < MANY; i++) {
        sleep_until(now_ns() + random_ns(5));
        WANT(0, freeze_for(owner[i], SHORT));
        last_due = due[i] = owner[i]->last.ended + SHORT * 1000LL * MS;
    }
}

static void each_owner(int expected, operation* op) {
    for (int i = 0; i < MANY; i++)
        WANT(expected, call(owner[i], op, 0, 0, 0));
}

/* No timer is left that could end a new hold. */
static void freezes_and_stays(void) {
    WANT(0, freeze(owner[0]));
    struct actor* writer = FROZEN();
    sleep_ms(100);
    STILL_FROZEN(writer);
    WANT(0, thaw(owner[0]));
    RELEASED(writer);
}

static void all_is_over(void) {
    THAWED();
    each_owner(-EINVAL, op_thaw);
    freezes_and_stays();
}

/*
 * The kernel logs each expired hold once. A hold that was thawed must not be among them; if it
 * expires nevertheless, its line appears a moment later.
 */
static void wait_for_expiries(int mark, int expected) {
    const char* const words[] = {volume.type, volume.id, "freeze-abi", NULL};
    int count = 0;

    for (int waited = 0; count < expected && waited < SHORT * 1000 + block_timeout_ms();
         waited += 20) {
        sleep_ms(20);
        count += log_count(mark, words, NULL);
    }
    sleep_ms((int)(100 * slowness()));
    count += log_count(mark, words, NULL);
    close(mark);
    CHECK(count == expected, "%d holds expired, expected %d", count, expected);
}

/* ---- many actors, each at a deadline --------------------------------------------------------- */

static int op_thaw_at(long when, long b, long c) {
    sleep_until(when);
    return op_thaw(0, b, c);
}

static int op_reset_at(long when, long timeout, long c) {
    __s64 argument = timeout;

    sleep_until(when);
    operation_value = now_ns();
    return op_request(FIFREEZE_RESET_TIMEOUT, (long)&argument, c);
}

/* Returns how many of them succeeded; the others were too late. */
static int all_at_once(struct actor* const who[MANY], operation* op, long argument) {
    int done = 0;

    for (int i = 0; i < MANY; i++)
        begin(who[i], op, moment(due[i], i % 2), argument, 0);
    for (int i = 0; i < MANY; i++) {
        int result = finish(who[i], SHORT * 1000 + block_timeout_ms());
        CHECK(result == 0 || result == -EINVAL, "the call returned %s", result_name(result));
        done += result == 0;
    }
    return done;
}

/* Each hold is either thawed or expires. */
static void race_thaws(struct actor* const who[MANY]) {
    while (another_round()) {
        int mark = mark_log();
        freeze_all();
        int thawed = all_at_once(who, op_thaw_at, 0);
        wait_for_expiries(mark, MANY - thawed);
        all_is_over();
        end_round(thawed, MANY - thawed);
    }
    end_races();
}

static void thaw_by_owners(void) {
    start_races(3);
    assemble(owner, MANY, actor);
    race_thaws(owner);
}

static void thaw_by_administrators(void) {
    struct actor* administrator[MANY];

    start_races(3);
    assemble(owner, MANY, actor);
    assemble(administrator, MANY, actor);
    race_thaws(administrator);
}

/*
 * All owners thaw; in every other round, half of those whose reset was in time do not. Returns when
 * the last of these expires, or 0. On a busy machine a thaw may come after the new deadline.
 */
static int64_t thaw_some(void) {
    int64_t last = 0;

    for (int i = 0; i < MANY; i++) {
        struct actor* who = owner[i];
        int result = who->last.result;
        int64_t again = who->last.value + SHORT * 1000LL * MS;
        if (result || i < MANY / 2 || early_round())
            CHECK(thaw(who) == result ||
                      (who->last.result == -EINVAL && who->last.ended > again - EARLY),
                  "reset returned %s, then FITHAW %s, %.3f s before the new deadline",
                  strdup(result_name(result)), result_name(who->last.result),
                  seconds(again - who->last.ended));
        else if (again > last)
            last = again;
    }
    return last;
}

static void resets(void) {
    start_races(2);
    assemble(owner, MANY, actor);
    while (another_round()) {
        freeze_all();
        int in_time = all_at_once(owner, op_reset_at, SHORT);
        struct actor* writer = in_time ? FROZEN() : NULL;
        int64_t last = thaw_some();
        if (last)
            sleep_past(SHORT);
        if (writer)
            RELEASED(writer);
        CHECK(!last || writer->last.ended > last - EARLY, "thawed %.3f s before the new deadline",
              seconds(last - writer->last.ended));
        all_is_over();
        end_round(in_time, MANY - in_time);
    }
    end_races();
}

/* ---- freeze: a new hold at the deadline keeps the filesystem frozen -------------------------- */

static int op_freeze_at(long when, long b, long c) {
    sleep_until(when);
    return op_freeze(0, b, c);
}

static void freezes(void) {
    struct actor *timed = actor(), *fresh[FEW];

    start_races(3);
    assemble(fresh, FEW, actor);
    while (another_round()) {
        int mark = mark_log();
        WANT(0, freeze_for(timed, SHORT));
        int64_t when = moment(timed->last.ended + SHORT * 1000LL * MS, early_round());
        struct actor* before = FROZEN();
        for (int i = 0; i < FEW; i++)
            begin(fresh[i], op_freeze_at, when + random_ns(3), 0, 0);
        for (int i = 0; i < FEW; i++)
            WANT(0, finish(fresh[i], SHORT * 1000 + block_timeout_ms()));
        struct actor* after = FROZEN();
        wait_for_expiries(mark, 1);
        /* The first write succeeds if all new freezes were too late. */
        sleep_ms(200);
        bool late = finished(before);
        WANT(-EINVAL, thaw(timed));
        for (int i = 0; i < FEW; i++) {
            STILL_FROZEN(after);
            WANT(0, thaw(fresh[i]));
        }
        RELEASED(after);
        RELEASED(before);
        end_round(!late, late);
    }
    end_races();
}

/* ---- unmount --------------------------------------------------------------------------------- */

static int op_unmount_at(long when, long flags, long c) {
    sleep_until(when);
    return op_unmount(flags, 0, c);
}

static int op_close_at(long when, long b, long c) {
    sleep_until(when);
    return op_close(0, b, c);
}

/* The device is free at once if the deadline came first, otherwise at the deadline. */
static void check_device_becomes_free(struct actor* opener) {
    bool early = call(opener, op_open_exclusively, 0, 0, 0) == -EBUSY;

    for (int waited = 0; opener->last.result == -EBUSY && waited < block_timeout_ms();
         waited += 20) {
        sleep_ms(20);
        call(opener, op_open_exclusively, 0, 0, 0);
    }
    WANT(0, opener->last.result);
    WANT(0, mount_again(0));
    THAWED();
    each_owner(0, op_reopen);
    each_owner(-EINVAL, op_thaw);
    end_round(early, !early);
}

static void unmounts(void) {
    struct actor* other = actor_outside();

    start_races(4);
    assemble(owner, MANY, actor);
    while (another_round()) {
        freeze_all();
        each_owner(0, op_close);
        begin(other, op_unmount_at, moment(last_due, early_round()), 0, 0);
        WANT(0, finish(other, SHORT * 1000 + block_timeout_ms()));
        check_device_becomes_free(other);
    }
    end_races();
}

/* The last close unmounts. */
static void lazy_unmounts(void) {
    struct actor* other = actor_outside();

    start_races(4);
    assemble(owner, MANY, actor);
    while (another_round()) {
        freeze_all();
        int64_t when = moment(last_due, early_round());
        begin(other, op_unmount_at, when, MNT_DETACH, 0);
        for (int i = 0; i < MANY; i++)
            begin(owner[i], op_close_at, when + random_ns(3), 0, 0);
        WANT(0, finish(other, SHORT * 1000 + block_timeout_ms()));
        for (int i = 0; i < MANY; i++)
            WANT(0, finish(owner[i], SHORT * 1000 + block_timeout_ms()));
        check_device_becomes_free(other);
    }
    end_races();
}

/* ---- remount --------------------------------------------------------------------------------- */

static int op_mount_at(long when, long flags, long c) {
    sleep_until(when);
    return op_mount(flags, 0, c);
}

/* EBUSY while frozen. Returns how many were before the expiry. */
static int remount_at_once(struct actor* const who[FEW], unsigned long flags) {
    int64_t earliest = owner[MANY - 1]->last.begun + SHORT * 1000LL * MS;
    int early = 0;

    for (int i = 0; i < FEW; i++)
        begin(who[i], op_mount_at, moment(last_due, i % 2), (long)flags, 0);
    for (int i = 0; i < FEW; i++) {
        int result = finish(who[i], SHORT * 1000 + block_timeout_ms());
        CHECK(result == 0 || result == -EBUSY, "the remount returned %s", result_name(result));
        CHECK(result || who[i]->last.ended > earliest, "remounted before the deadline");
        early += result != 0;
    }
    return early;
}

static void remounts(unsigned long before, unsigned long flags) {
    struct actor* other[FEW];

    start_races(3);
    assemble(owner, MANY, actor);
    assemble(other, FEW, actor_outside);
    while (another_round()) {
        WANT(0, mount_again(MS_REMOUNT | before));
        int mark = mark_log();
        freeze_all();
        int early = remount_at_once(other, MS_REMOUNT | flags);
        wait_for_expiries(mark, MANY);
        WANT(0, mount_again(MS_REMOUNT));
        all_is_over();
        end_round(early, FEW - early);
    }
    end_races();
}

static void read_only_remounts(void) {
    remounts(0, MS_RDONLY);
}

static void writable_remounts(void) {
    remounts(MS_RDONLY, 0);
}

/* ---- sysrq-j --------------------------------------------------------------------------------- */

static int op_press_j_at(long when, long b, long c) {
    sleep_until(when);
    press_sysrq_j();
    return 0;
}

/* Holds that it ends do not expire. The oldest has no deadline: only sysrq-j can end it. */
static void sysrq_j(void) {
    const char* const words[] = {volume.type, volume.id, "freeze-abi", NULL};
    struct actor *other = actor_outside(), *untimed = actor();

    start_races(3);
    assemble(owner, MANY, actor);
    while (another_round()) {
        int mark = mark_log();
        WANT(0, freeze(untimed));
        freeze_all();
        begin(other, op_press_j_at, moment(due[MANY / 2], early_round()), 0, 0);
        WANT(0, finish(other, SHORT * 1000 + 2 * block_timeout_ms()));
        WANT(0, elsewhere(actor, op_write, 0, (int)(1000 * slowness())));
        WANT(-EINVAL, thaw(untimed));
        all_is_over();
        int expired = log_count(mark, words, NULL);
        close(mark);
        end_round(MANY - expired, expired);
    }
    end_races();
}

/* ---- suspend to RAM, up to the point where all processes are frozen -------------------------- */

#define FREEZE_FILESYSTEMS "/sys/power/freeze_filesystems" /* since 6.17 */

static void prepare_sleep(int for_seconds) {
    char delay[12];

    snprintf(delay, sizeof(delay), "%d", for_seconds);
    if (write_file("/sys/power/pm_test", "freezer") < 0 ||
        write_file("/sys/module/suspend/parameters/pm_test_delay", delay) < 0)
        unavailable("pm_test");
}

static void end_sleep(void) {
    write_file(FREEZE_FILESYSTEMS, "0");
    write_file("/sys/power/pm_test", "none");
}

static int op_sleep_at(long when, long b, long c) {
    sleep_until(when);
    int result = write_file("/sys/power/state", "mem");
    return result < 0 ? result : 0;
}

/* The sequence number of the line with these words in the kernel log, from @mark on. */
static long sequence_number(int mark, const char* const words[]) {
    char line[LOG_LINE];
    int count = log_wait(mark, words, line, block_timeout_ms());

    close(mark);
    CHECK(count == 1, "%d lines of the log contain %s and so on", count, words[0]);
    return atol(strchr(line, ',') + 1);
}

/* The line that precedes the restart of the workqueues. */
static long waking(int mark) {
    const char* const words[] = {"Restarting", "tasks", kernel_version() > 612 ? "Starting" : NULL,
                                 NULL};

    return sequence_number(mark, words);
}

/* Whether the machine slept past the deadline: the kernel counts loops, not seconds. */
static bool sleep_for(int for_seconds, struct actor* who) {
    struct actor* sleeper = actor_outside();

    prepare_sleep(for_seconds);
    WANT(0, freeze_for(who, SHORT));
    begin(sleeper, op_sleep_at, now_ns(), 0, 0);
    WANT(0, finish(sleeper, 2 * for_seconds * 1000 + block_timeout_ms()));
    return sleeper->last.ended > who->last.ended + (SHORT * 1000LL + 100) * MS;
}

/* The workqueue is frozen like the processes; nothing is written before all are awake. */
static void sleep_over_the_deadline(void) {
    const char* const words[] = {volume.type, volume.id, "freeze-abi", NULL};
    struct actor *who = actor(), *writer = actor();
    int woken = mark_log(), expired = mark_log(), length = SHORT + 1;

    for (; !sleep_for(length, who); length *= 2) {
        thaw(who);
        sleep_ms(200);
        close(woken);
        close(expired);
        woken = mark_log();
        expired = mark_log();
    }
    int64_t resumed = now_ns();
    WANT(0, call(writer, op_write, 0, 0, 0));
    double late = seconds(writer->last.ended - resumed);
    CHECK(late < 0.5 * slowness(), "thawed %.3f s after the resume", late);
    CHECK(waking(woken) < sequence_number(expired, words),
          "expired while everything else was asleep");
    WANT(-EINVAL, thaw(who));
    WANT(-EINVAL, thaw(who));
}

static void sleep_over_deadline(void) {
    write_file(FREEZE_FILESYSTEMS, "0");
    sleep_over_the_deadline();
    if (write_file(FREEZE_FILESYSTEMS, "1") >= 0)
        sleep_over_the_deadline();
    end_sleep();
}

/* Whether the last of the holds was still live when the machine fell asleep. */
static bool slept_first(int woken, int expired) {
    char pid[12];
    const char* const words[] = {volume.type, volume.id, "freeze-abi", pid, NULL};

    snprintf(pid, sizeof(pid), "%d", owner[MANY - 1]->pid);
    return waking(woken) < sequence_number(expired, words);
}

static void sleep_at_deadline(void) {
    struct actor* sleeper = actor_outside();

    prepare_sleep(0);
    start_races(4);
    assemble(owner, MANY, actor);
    while (another_round()) {
        int mark = mark_log(), woken = mark_log(), expired = mark_log();
        write_file(FREEZE_FILESYSTEMS, race.rounds / 2 % 2 ? "1" : "0");
        freeze_all();
        begin(sleeper, op_sleep_at, moment(last_due, early_round()), 0, 0);
        WANT(0, finish(sleeper, SHORT * 1000 + block_timeout_ms()));
        wait_for_expiries(mark, MANY);
        bool early = slept_first(woken, expired);
        all_is_over();
        end_round(early, !early);
    }
    end_races();
    end_sleep();
}

static const struct test races_tests[] = {
    {"races.thaw", "expiry and thaw: one of both ends the hold, and the thaw reports which",
     thaw_by_owners, FAILS_ON_STOCK, 0},
    {"races.administrator", "expiry and an administrator's thaw: one of both ends the hold",
     thaw_by_administrators, FAILS_ON_STOCK, 0},
    {"races.reset", "expiry and reset: EINVAL, or the new deadline applies", resets, FAILS_ON_STOCK,
     0},
    {"races.freeze", "expiry and a new freeze: the filesystem stays frozen", freezes,
     FAILS_ON_STOCK, 0},
    {"races.unmount", "expiry and umount: the device becomes free", unmounts, FAILS_ON_STOCK, 0},
    {"races.unmount_lazily", "expiry, umount -l and the last close: the device becomes free",
     lazy_unmounts, FAILS_ON_STOCK, 0},
    {"races.remount_read_only", "expiry and remount,ro: EBUSY or success", read_only_remounts,
     FAILS_ON_STOCK, 0},
    {"races.remount_writable", "expiry and remount,rw: EBUSY or success", writable_remounts,
     FAILS_ON_STOCK, 0},
    {"races.sysrq", "expiry and sysrq-j", sysrq_j, FAILS_ON_STOCK, NEEDS_VM},
    {"races.sleep_over_deadline", "the machine sleeps past the deadline: expiry after the resume",
     sleep_over_deadline, FAILS_ON_STOCK, NEEDS_VM},
    {"races.sleep", "expiry and suspend and resume of the machine", sleep_at_deadline,
     FAILS_ON_STOCK, NEEDS_VM},
};
TOPIC(races);
