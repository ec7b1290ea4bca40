/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FIFREEZE_STATUS: whether a filesystem is frozen, and who holds it. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"

enum { FULL = sizeof(struct fsfreeze_holder) };
#define NO_DEADLINE UINT64_MAX

static void expect(unsigned state, unsigned holds, unsigned bdev, unsigned holders) {
    WANT(0, look());
    const struct fsfreeze_status* seen = &view->status;
    CHECK(seen->state == state, "the state is %u, expected %u", seen->state, state);
    CHECK(seen->holds == holds && seen->bdev == bdev && !seen->kernel && !seen->userspace,
          "holds %u bdev %u kernel %u userspace %u, expected %u, %u, 0 and 0", seen->holds,
          seen->bdev, seen->kernel, seen->userspace, holds, bdev);
    CHECK(seen->nr_holders == holders, "%u holders, expected %u", seen->nr_holders, holders);
    CHECK(!seen->flags, "flags %u", seen->flags);
    CHECK(view->took < (int64_t)(500 * slowness()) * 1000000, "took %.3f s", seconds(view->took));
}

static const struct fsfreeze_holder* find(pid_t pid, unsigned flags) {
    for (unsigned i = 0; i < SEEN && i < view->status.nr_holders; i++)
        if (view->holders[i].pid == pid && view->holders[i].flags == flags)
            return &view->holders[i];
    fail_at(__FILE__, __LINE__, "no holder with pid %d and flags %u", pid, flags);
}

static void counts(void) {
    struct actor *a = actor(), *b = actor();

    expect(FSFREEZE_UNFROZEN, 0, 0, 0);
    CHECK(view->status.frozen_ms == 0, "frozen for %llu ms",
          (unsigned long long)view->status.frozen_ms);
    WANT(0, freeze(a));
    expect(FSFREEZE_FROZEN, 1, 0, 1);
    WANT(0, freeze(a));
    WANT(0, freeze(b));
    sleep_ms(100);
    expect(FSFREEZE_FROZEN, 3, 0, 2);
    CHECK(view->status.frozen_ms >= 90, "frozen for %llu ms",
          (unsigned long long)view->status.frozen_ms);
    WANT(0, freeze_fd(b, 0, 0, 0));
    WANT(0, freeze_fd(b, 1, 0, 0));
    expect(FSFREEZE_FROZEN, 5, 0, 4);
    WANT(0, thaw(a));
    WANT(0, thaw(a));
    WANT(0, thaw(b));
    WANT(0, fd_close(b, 0));
    expect(FSFREEZE_FROZEN, 1, 0, 1);
    WANT(0, fd_thaw(b, 1));
    expect(FSFREEZE_UNFROZEN, 0, 0, 0);
}

static void block_devices(void) {
    struct actor* who = actor();

    SETUP(suspend());
    expect(FSFREEZE_FROZEN, 0, 1, 0);
    WANT(0, freeze(who));
    expect(FSFREEZE_FROZEN, 1, 1, 1);
    SETUP(resume());
    expect(FSFREEZE_FROZEN, 1, 0, 1);
    WANT(0, thaw(who));
    expect(FSFREEZE_UNFROZEN, 0, 0, 0);
}

static void holders(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze_for(a, 600));
    sleep_ms(200);
    WANT(0, freeze(a));
    WANT(0, freeze_fd(b, 0, 600100, 0));
    sleep_ms(200);
    expect(FSFREEZE_FROZEN, 3, 0, 2);
    const struct fsfreeze_holder* process = find(a->pid, 0);
    CHECK(process->holds == 2, "%u holds", process->holds);
    CHECK(process->age_ms >= 190 && process->age_ms < 600000, "age %llu",
          (unsigned long long)process->age_ms);
    CHECK(process->left_ms == NO_DEADLINE, "left %llu", (unsigned long long)process->left_ms);
    CHECK(!strcmp(process->comm, "freeze-abi") && !process->comment[0], "comm %s, comment %s",
          process->comm, process->comment);
    const struct fsfreeze_holder* file = find(b->pid, FSFREEZE_HOLDER_FD);
    CHECK(file->holds == 1 && !file->reserved, "%u holds", file->holds);
    CHECK(file->left_ms > 500000 && file->left_ms <= 599900, "left %llu",
          (unsigned long long)file->left_ms);
    CHECK(!strcmp(file->comment, "freeze-abi"), "comment %s", file->comment);
    /* The deadline is that of the hold which FITHAW would end. */
    WANT(0, thaw(a));
    WANT(0, look());
    process = find(a->pid, 0);
    CHECK(process->left_ms <= 600000, "left %llu", (unsigned long long)process->left_ms);
    WANT(0, thaw(a));
    WANT(0, fd_thaw(b, 0));
}

static void the_gone(void) {
    open_passage();
    struct actor *process = actor(), *maker = actor(), *receiver = actor();

    WANT(0, freeze(process));
    WANT(0, freeze_fd(maker, 0, 0, 0));
    WANT(0, fd_send(maker, 0));
    WANT(0, fd_receive(receiver, 0));
    actor_exit(process);
    actor_exit(maker);
    expect(FSFREEZE_FROZEN, 2, 0, 2);
    find(process->pid, FSFREEZE_HOLDER_GONE);
    /* The descriptor has a holder, but nobody knows which process. */
    find(0, FSFREEZE_HOLDER_FD);
    WANT(0, admin_thaw());
    WANT(0, fd_thaw(receiver, 0));
}

static void pid_namespace(void) {
    struct actor *inner = in_pid_namespace(), *outer = actor();

    WANT(0, freeze(inner));
    WANT(0, freeze_fd(outer, 0, 0, 0));
    WANT(0, call(inner, op_status, SEEN, FULL, 0));
    find(1, 0);
    find(0, FSFREEZE_HOLDER_FD);
    WANT(0, look());
    find(inner->pid, 0);
    find(outer->pid, FSFREEZE_HOLDER_FD);
    WANT(0, thaw(inner));
    WANT(0, fd_thaw(outer, 0));
}

/* An ended hold, and an entry without one, are no holders. */
static void only_live_holds(void) {
    struct actor *owner = actor(), *other = actor();

    WANT(0, freeze(owner));
    WANT(0, freeze(other));
    WANT(0, thaw(other));
    WANT(0, admin_thaw());
    expect(FSFREEZE_UNFROZEN, 0, 0, 0);
    WANT(-EINVAL, thaw(owner));
}

/* The fastest of several: each is delayed by other work, but only one that blocks delays all. */
static void takes_less_than_10_ms(void) {
    struct actor* reader = actor();
    int64_t fastest = INT64_MAX;

    for (int i = 0; i < 20; i++) {
        WANT(0, call(reader, op_status, SEEN, FULL, 0));
        if (view->took < fastest)
            fastest = view->took;
        sleep_ms(5);
    }
    printf("#   took %.3f ms\n", seconds(fastest) * 1000);
    CHECK(fastest < (int64_t)(10 * slowness()) * 1000000, "took %.3f ms", seconds(fastest) * 1000);
}

/* ---- when everything else blocks ------------------------------------------------------------- */

static void stuck_freeze(void) {
    struct actor *first = actor(), *second = actor();
    struct stuck stuck = hold_up_freeze(first, op_freeze, 0);

    expect(FSFREEZE_FREEZING, 0, 0, 1);
    begin(second, op_freeze_fd, 0, 0, 600000);
    WAITS(second);
    expect(FSFREEZE_FREEZING, 0, 0, 2);
    find(first->pid, FSFREEZE_HOLDER_PENDING);
    const struct fsfreeze_holder* file =
        find(second->pid, FSFREEZE_HOLDER_PENDING | FSFREEZE_HOLDER_FD);
    CHECK(file->holds == 0 && file->left_ms <= 600000, "%u holds, left %llu", file->holds,
          (unsigned long long)file->left_ms);
    CHECK(!strcmp(file->comment, "freeze-abi"), "comment %s", file->comment);
    takes_less_than_10_ms();
    kill_actor(second);
    reap(second);
    expect(FSFREEZE_FREEZING, 0, 0, 1);
    finish_and_thaw(first, &stuck);
    expect(FSFREEZE_UNFROZEN, 0, 0, 0);
}

/* A thaw that waits for the device does not block the status. */
static void suspended_device(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    SETUP(suspend_without_freezing());
    WANT(0, fd_close(who, 0));
    takes_less_than_10_ms();
    SETUP(resume());
    THAWED();
    expect(FSFREEZE_UNFROZEN, 0, 0, 0);
}

static void many_holds(void) {
    struct actor* who = actor();

    WANT(0, repeat(who, FIFREEZE, 65536));
    takes_less_than_10_ms();
    CHECK(view->status.holds == 65536 && view->status.nr_holders == 1, "%u holds, %u holders",
          view->status.holds, view->status.nr_holders);
    WANT(-EOVERFLOW, freeze_fd(who, 0, 0, 0));
    WANT(0, repeat(who, FITHAW, 65536));
    expect(FSFREEZE_UNFROZEN, 0, 0, 0);
}

static int op_many_descriptors(long count, long b, long c) {
    struct rlimit limit = {(rlim_t)count + 100, (rlim_t)count + 100};
    struct fsfreeze_args args = {.comment = "many"};

    if (setrlimit(RLIMIT_NOFILE, &limit))
        return -errno;
    for (long i = 0; i < count; i++)
        if (ioctl(here, FIFREEZE_FD, &args) < 0)
            return -errno;
    return 0;
}

/* Each is a holder. */
static void many_descriptors(void) {
    struct actor* who = actor();
    const int many = debugging_kernel() ? 3000 : 65536;

    begin(who, op_many_descriptors, many, 0, 0);
    WANT(0, finish(who, 10 * block_timeout_ms()));
    takes_less_than_10_ms();
    CHECK(view->status.holds == (unsigned)many && view->status.nr_holders == (unsigned)many,
          "%u holds, %u holders", view->status.holds, view->status.nr_holders);
    kill_actor(who);
    CHECK(dies(who, 10 * block_timeout_ms()), "the holder does not die");
    reap(who);
    THAWED();
    expect(FSFREEZE_UNFROZEN, 0, 0, 0);
}

/* ---- privilege and sizes --------------------------------------------------------------------- */

static int op_become_nobody(long a, long b, long c) {
    return result_of(setuid(65534));
}

static void privilege(void) {
    struct actor *who = actor(), *nobody = actor();

    WANT(0, freeze(who));
    WANT(0, call(nobody, op_become_nobody, 0, 0, 0));
    WANT(-EPERM, call(nobody, op_status, 1, FULL, 0));
    WANT(0, call(nobody, op_status, 0, 0, 0));
    CHECK(view->status.state == FSFREEZE_FROZEN && view->status.holds == 1 &&
              view->status.nr_holders == 1,
          "state %u, %u holds, %u holders", view->status.state, view->status.holds,
          view->status.nr_holders);
    WANT(0, thaw(who));
}

static void fewer_than_there_are(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    WANT(0, freeze(b));
    WANT(0, call(a, op_status, 1, FULL, 0));
    CHECK(view->status.nr_holders == 2, "%u holders", view->status.nr_holders);
    CHECK(view->holders[0].holds == 1 && view->holders[1].holds == UINT32_MAX,
          "more than one holder was written");
    WANT(0, thaw(a));
    WANT(0, thaw(b));
}

/* The structures of other versions, of entries with 24 and with 96 bytes. */
static void other_sizes(void) {
    struct actor* who = actor();
    const unsigned char* bytes = (const unsigned char*)view->holders;

    WANT(0, freeze(who));
    WANT(0, call(who, op_status, 2, 24, 0));
    CHECK(view->holders[0].holds == 1, "%u holds", view->holders[0].holds);
    CHECK(bytes[24] == 0xff, "wrote beyond a short entry");
    WANT(0, call(who, op_status, 2, 96, 0));
    CHECK(view->holders[0].holds == 1 && bytes[95] == 0 && bytes[96] == 0xff,
          "a long entry is not padded with zeros");
    WANT(-EINVAL, call(who, op_status, 1, 0, 0));
    WANT(0, thaw(who));
}

static int op_sizes_of_status(long a, long b, long c) {
    struct {
        struct fsfreeze_status status;
        __u64 more;
    } longer = {.more = 1};
    const unsigned long code = _IOC(_IOC_READ | _IOC_WRITE, 0x15, 17, sizeof(longer));

    WANT(-E2BIG, result_of(ioctl(here, code, &longer)));
    longer.more = 0;
    WANT(0, result_of(ioctl(here, code, &longer)));
    CHECK(longer.status.state == FSFREEZE_UNFROZEN && longer.more == 0, "a longer structure");
    longer.status = (struct fsfreeze_status){.flags = 1};
    WANT(-EINVAL, result_of(ioctl(here, FIFREEZE_STATUS, &longer.status)));
    WANT(-EFAULT, result_of(ioctl(here, FIFREEZE_STATUS, NULL)));
    longer.status = (struct fsfreeze_status){.holds = 7, .bdev = 7};
    WANT(0, result_of(ioctl(here, _IOC(_IOC_READ | _IOC_WRITE, 0x15, 17, 12), &longer.status)));
    CHECK(longer.status.holds == 0 && longer.status.bdev == 7, "a shorter structure");
    return 0;
}

static void other_sizes_of_the_status(void) {
    WANT(0, call(actor(), op_sizes_of_status, 0, 0, 0));
}

/* ---- at any moment --------------------------------------------------------------------------- */

static int op_watch(long end, long b, long c) {
    const struct fsfreeze_status* seen = &view->status;
    long states = 0;

    while (now_ns() < end) {
        int result = op_status(SEEN, FULL, 0);
        if (result)
            return result;
        unsigned references = seen->holds + seen->bdev + seen->kernel + seen->userspace, held = 0;
        CHECK(seen->state <= FSFREEZE_FROZEN, "state %u", seen->state);
        CHECK(seen->state != FSFREEZE_FROZEN || references, "frozen by nobody");
        CHECK(seen->state == FSFREEZE_FROZEN || !seen->holds, "%u holds in state %u", seen->holds,
              seen->state);
        CHECK(seen->state == FSFREEZE_FROZEN || !seen->frozen_ms, "not frozen for %llu ms",
              (unsigned long long)seen->frozen_ms);
        CHECK(seen->nr_holders <= SEEN, "%u holders", seen->nr_holders);
        for (unsigned i = 0; i < seen->nr_holders; i++)
            held += view->holders[i].holds;
        CHECK(held == seen->holds, "%u holds of holders, %u in all", held, seen->holds);
        states |= 1L << seen->state;
    }
    operation_value = states;
    return 0;
}

static int op_freeze_and_thaw_until(long end, long b, long c) {
    for (unsigned i = 0; now_ns() < end; i++) {
        int result = i % 3 ? op_freeze_fd(0, i % 2 ? 0 : 3, 0) : op_freeze(0, 0, 0);
        if (result)
            return result;
        sleep_until(now_ns() + (int64_t)(i % 7) * 1000000);
        result = i % 3 == 0 ? op_thaw(0, 0, 0) : i % 3 == 1 ? op_fd_thaw(0, 0, 0) : 0;
        if (result && result != -ESTALE)
            return result;
        if (i % 3)
            op_fd_close(0, 0, 0);
        sleep_until(now_ns() + (int64_t)(i % 5) * 1000000);
    }
    return 0;
}

static long watch_freezers(struct actor* watcher, struct actor* const freezer[3]) {
    const int time = (int)(3 * SHORT * slowness());
    int64_t end = now_ns() + time * 1000000000LL;

    for (int i = 0; i < 3; i++)
        begin(freezer[i], op_freeze_and_thaw_until, end, 0, 0);
    begin(watcher, op_watch, end, 0, 0);
    for (int i = 0; i < 3; i++)
        WANT(0, finish(freezer[i], time * 1000 + 2 * block_timeout_ms()));
    WANT(0, finish(watcher, block_timeout_ms()));
    return watcher->last.value;
}

/* Again until all states were seen, on a busy machine. */
static void at_any_moment(void) {
    struct actor* watcher = actor();
    struct actor* freezer[3] = {actor(), actor(), actor()};
    const long all = 1 << FSFREEZE_UNFROZEN | 1 << FSFREEZE_FREEZING | 1 << FSFREEZE_FROZEN;
    long seen = 0;

    for (int round = 0; round < 4 && seen != all; round++)
        seen |= watch_freezers(watcher, freezer);
    printf("#   states seen: %lx\n", (unsigned long)seen);
    CHECK(seen & 1 << FSFREEZE_FROZEN, "never frozen");
}

#define T(name, what, needs)                                                                       \
    static void with_view_##name(void) {                                                           \
        open_view();                                                                               \
        name();                                                                                    \
    }
#define TESTS                                                                                      \
    T(counts, "the state and the number of holds", 0)                                              \
    T(block_devices, "the freezes of block devices", NEEDS_DM_FREEZE)                              \
    T(holders, "each process and each descriptor is a holder", 0)                                  \
    T(the_gone, "holders that are gone", 0)                                                        \
    T(pid_namespace, "pids are those of the caller's pid namespace, or 0", 0)                      \
    T(only_live_holds, "neither ended holds nor empty entries are holders", 0)                     \
    T(stuck_freeze, "freezes in progress are holders, and do not block the status", 0)             \
    T(suspended_device, "a suspended device does not block the status", NEEDS_DM)                  \
    T(many_holds, "the status of 65536 holds takes less than 10 ms", 0)                            \
    T(many_descriptors, "so does that of 65536 descriptors", 0)                                    \
    T(privilege, "only the holders need privilege", 0)                                             \
    T(fewer_than_there_are, "an array that is too short for all holders", 0)                       \
    T(other_sizes, "entries of other sizes", 0)                                                    \
    T(other_sizes_of_the_status, "other sizes of the status; EINVAL, E2BIG, EFAULT", 0)            \
    T(at_any_moment, "the status is consistent at any moment", 0)

TESTS
#undef T
#define T(name, what, needs)                                                                       \
    {"status." #name, what, with_view_##name, FAILS_ON_STOCK, NEEDS_DESCRIPTORS | (needs)},

static const struct test status_tests[] = {TESTS};
TOPIC(status);
