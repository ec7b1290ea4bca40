/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezes that cannot complete, and are given up: nothing is frozen, and writers continue. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* ---- steps that cannot be interrupted --------------------------------------------------------- */

enum { DELAY = 100 }; /* milliseconds that the device takes for each request */

static void slow_device(void) {
    char slow[200];

    snprintf(slow, sizeof(slow), "%s %llu %d", disk_path(), (unsigned long long)slice_start(),
             DELAY);
    SETUP(load_table("delay", slow));
    discard_volume(); /* the next test wants a fast one */
}

/* Waits for the other kind of writers that a freeze stops. */
static int op_fault(long a, long b, long c) {
    int fd = openat(here, "faulted", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, 4096))
        return -errno;
    char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED)
        return -errno;
    page[0] = 'x';
    munmap(page, 4096);
    return 0;
}

/* Also makes the next freeze write. */
static void writers_continue(struct actor* writer) {
    begin(writer, op_write, 0, 0, 0);
    WANT(0, finish(writer, 2 * block_timeout_ms()));
    begin(writer, op_fault, 0, 0, 0);
    WANT(0, finish(writer, 2 * block_timeout_ms()));
}

/* The limit passes while the freeze waits for the device, at a later step each time. */
static void limit_at_any_step(void) {
    struct actor *who = actor(), *writer = actor();
    int given_up = 0, done = 0;

    slow_device();
    for (int limit = DELAY / 2; limit < 60 * DELAY && done < 2; limit += DELAY / 2) {
        writers_continue(writer);
        begin(who, op_freeze_fd, 0, 0, limit);
        int result = finish(who, limit + 4 * block_timeout_ms());
        double took = seconds(who->last.ended - who->last.begun) * 1000;
        if (result == 0) {
            CHECK(took <= limit + 20 + 20 * slowness(), "frozen after %.0f ms, the limit was %d ms",
                  took, limit);
            WANT(0, fd_thaw(who, 0));
            done++;
        } else {
            WANT(-ETIMEDOUT, result);
            CHECK(took >= limit, "gave up after %.0f ms, before the limit of %d ms", took, limit);
            given_up++;
        }
        WANT(-EINVAL, admin_thaw());
    }
    writers_continue(writer);
    printf("#   %d freezes were given up, %d were not\n", given_up, done);
    CHECK(given_up && done, "only one outcome was seen");
}

/* A hold belongs to a killed process only if its freeze was complete before. */
static void killed_at_any_step(void) {
    struct actor* writer = actor();
    int undone = 0, done = 0;

    slow_device();
    for (int after = DELAY / 2; after < 60 * DELAY && done < 2; after += DELAY / 2) {
        writers_continue(writer);
        struct actor* who = actor();
        begin(who, op_freeze, 0, 0, 0);
        sleep_ms(after);
        kill_actor(who);
        CHECK(dies(who, 4 * block_timeout_ms()), "SIGKILL after %d ms does not end the freeze",
              after);
        bool complete = finish(who, 0) == 0;
        reap(who);
        WANT(complete ? 0 : -EINVAL, admin_thaw());
        done += complete;
        undone += !complete;
    }
    writers_continue(writer);
    WANT(-EINVAL, admin_thaw());
    printf("#   %d were killed in time, %d were not\n", undone, done);
    CHECK(undone && done, "only one outcome was seen");
}

static void releases_the_device(void) {
    struct actor *who = actor(), *splicing = splicing_writer();

    WANT(-ETIMEDOUT, freeze_fd(who, 0, 0, 100));
    kill_actor(splicing);
    CHECK(dies(splicing, block_timeout_ms()), "a stuck writer does not die");
    reap(splicing);
    WANT(0, call(who, op_close, 0, 0, 0));
    WANT(0, unmount_now(0));
    for (int i = 0; i < 100 && open_exclusively() == -EBUSY; i++)
        sleep_ms(20);
    WANT(0, open_exclusively());
    WANT(0, mount_again(0));
    THAWED();
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

static void finish_and_resume(struct actor* mapper, struct stuck* stuck) {
    release_stuck_writer(stuck);
    WANT(0, finish(mapper, block_timeout_ms()));
    struct actor* writer = FROZEN();
    SETUP(resume());
    RELEASED(writer);
    nothing_is_frozen();
    check_suspend_freezes();
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
    finish_and_resume(mapper, &stuck);
}

/* It waits in the VFS, not among the freezes by ioctl. */
static void device_mapper_takes_over(void) {
    struct actor *mapper = actor_outside(), *first = actor();
    struct stuck stuck = hold_up_freeze(first, op_freeze, 0);

    begin(mapper, op_suspend, 0, 0, 0);
    WAITS(mapper);
    kill_actor(first);
    CHECK(dies(first, block_timeout_ms()), "SIGKILL does not end the freeze");
    WAITS(mapper);
    finish_and_resume(mapper, &stuck);
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
    T(device_mapper_takes_over, "device-mapper's freeze continues when one by ioctl gives up",
      NEEDS_DM_FREEZE),
    T(limit_at_any_step, "no freeze succeeds after its limit, whichever step is slow", NEEDS_DM),
    T(killed_at_any_step, "no killed process leaves a hold, whichever step is slow", NEEDS_DM),
    T(releases_the_device, "the filesystem can be unmounted after a freeze was given up", 0),
    T(many_times, "giving up again and again, against writers and other freezers", 0),
};
TOPIC(giving_up);
