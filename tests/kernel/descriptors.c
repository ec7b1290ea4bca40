/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freeze descriptors: a hold that belongs to an open file. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"

enum { ENDED = POLLIN | POLLHUP };

static void freezes_and_thaws(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    struct actor* writer = FROZEN();
    WANT(0, fd_thaw(who, 0));
    RELEASED(writer);
    WANT(-ESTALE, fd_thaw(who, 0));
    WANT(-ESTALE, fd_extend(who, 0, 1000));
    WANT(-ESTALE, fd_keep(who, 0));
    WANT(0, fd_close(who, 0));
    WANT(-EINVAL, admin_thaw());
}

/* ---- closing --------------------------------------------------------------------------------- */

static int op_dup(long from, long to, long c) {
    return result_of(dup2(descriptor_in((int)from), (int)to));
}

static int op_close_number(long number, long b, long c) {
    return result_of(close((int)number));
}

static void last_close_thaws(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    struct actor* writer = FROZEN();
    WANT(200, call(who, op_dup, 0, 200, 0));
    WANT(0, fd_close(who, 0));
    CHECK(blocks(writer), "thawed by the first close of two");
    WANT(0, call(who, op_close_number, 200, 0, 0));
    RELEASED(writer);
    WANT(-EINVAL, admin_thaw());
}

static void nested_close(void) {
    struct actor *who = actor(), *other = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    struct actor* writer = FROZEN();
    WANT(0, freeze_fd(who, 1, 0, 0));
    WANT(0, freeze(other));
    WANT(0, fd_close(who, 0));
    WANT(0, fd_close(who, 1));
    CHECK(blocks(writer), "thawed while a process holds it");
    WANT(0, thaw(other));
    RELEASED(writer);
}

static int op_is_cloexec(long number, long b, long c) {
    return fcntl(descriptor_in((int)number), F_GETFD);
}

static void exec_closes(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    struct actor* writer = FROZEN();
    WANT(FD_CLOEXEC, call(who, op_is_cloexec, 0, 0, 0));
    WANT(0, actor_exec(who, op_exec));
    RELEASED(writer);
}

/* The process does not wait for the thaw, which on most filesystems must write. */
static void close_does_not_block(void) {
    struct actor *closer = actor(), *killed = actor();

    WANT(0, freeze_fd(closer, 0, 0, 0));
    WANT(0, freeze_fd(killed, 0, 0, 0));
    struct actor* writer = FROZEN();
    SETUP(suspend_without_freezing());
    WANT(0, fd_close(closer, 0));
    kill_actor(killed);
    CHECK(dies(killed, block_timeout_ms()), "blocked in exit");
    reap(killed);
    SETUP(resume());
    RELEASED(writer);
}

/* ---- death ----------------------------------------------------------------------------------- */

static void death_thaws(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    struct actor* writer = FROZEN();
    kill_actor(who);
    reap(who);
    RELEASED(writer);
    WANT(-EINVAL, admin_thaw());
}

/* A moment too early or too late, or in the middle of the freeze or of the thaw. */
static void death_at_any_point(void) {
    const char* seed_text = getenv("FREEZE_ABI_SEED");
    unsigned seed = seed_text ? (unsigned)atol(seed_text) : (unsigned)(now_ns() / 1000);
    int held = 0, rounds = 60;

    printf("#   FREEZE_ABI_SEED=%u\n", seed);
    for (int i = 0; i < rounds; i++) {
        struct actor* who = actor();
        begin(who, op_freeze_fd, 0, rand_r(&seed) % 2 ? 0 : 600000, rand_r(&seed) % 2 ? 0 : 600000);
        if (rand_r(&seed) % 2)
            sleep_until(now_ns() + rand_r(&seed) % 60000 * 1000LL);
        else
            finish(who, block_timeout_ms());
        if (finished(who)) {
            WANT(0, who->last.result);
            held++;
            if (rand_r(&seed) % 2) {
                begin(who, op_fd_thaw, 0, 0, 0);
                sleep_until(now_ns() + rand_r(&seed) % 5000 * 1000LL);
            }
        }
        kill_actor(who);
        reap(who);
        THAWED();
        WANT(-EINVAL, admin_thaw());
    }
    printf("#   %d of %d were killed when they had the hold\n", held, rounds);
}

static void forked_child_shares(void) {
    struct actor* parent = actor();

    WANT(0, freeze_fd(parent, 0, 0, 0));
    struct actor* writer = FROZEN();
    struct actor* child = actor_forked_by(parent);
    kill_actor(parent);
    reap(parent);
    CHECK(blocks(writer), "thawed while the child has the descriptor");
    WANT(0, fd_thaw(child, 0));
    RELEASED(writer);
}

/* ---- passing --------------------------------------------------------------------------------- */

static void passed_over_a_socket(void) {
    open_passage();
    struct actor *sender = actor(), *receiver = actor();

    WANT(0, freeze_fd(sender, 0, 0, 0));
    struct actor* writer = FROZEN();
    WANT(0, fd_send(sender, 0));
    actor_exit(sender);
    reap(sender);
    WANT(0, fd_receive(receiver, 1));
    CHECK(blocks(writer), "thawed because the sender has exited");
    WANT(0, fd_thaw(receiver, 1));
    RELEASED(writer);
}

/* Nobody receives it. */
static void lost_in_transit(void) {
    open_passage();
    struct actor *sender = actor(), *other = actor();

    WANT(0, freeze_fd(sender, 0, 0, 0));
    WANT(0, fd_send(sender, 0));
    actor_exit(sender);
    reap(sender);
    WANT(0, call(other, op_close_passage, 0, 0, 0));
    op_close_passage(0, 0, 0); /* the test's own copies */
    THAWED();
}

static int op_become_nobody(long a, long b, long c) {
    return result_of(setuid(65534));
}

/* Whoever has the descriptor can use it. */
static void needs_no_privilege(void) {
    open_passage();
    struct actor *maker = actor(), *nobody = actor();

    WANT(0, call(nobody, op_become_nobody, 0, 0, 0));
    WANT(-EPERM, freeze_fd(nobody, 0, 0, 0));
    WANT(0, freeze_fd(maker, 0, 0, 0));
    WANT(0, fd_send(maker, 0));
    WANT(0, fd_receive(nobody, 0));
    WANT(0, fd_extend(nobody, 0, 600000));
    WANT(0, fd_thaw(nobody, 0));
    WANT(-ESTALE, fd_thaw(maker, 0));
    THAWED();
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static void expires(void) {
    struct actor* who = actor();
    const int timeout = SHORT * 1000;

    WANT(0, freeze_fd(who, 0, timeout, 0));
    struct report start = who->last;
    struct actor* writer = FROZEN();
    WANT(ENDED, fd_poll(who, 0, timeout + block_timeout_ms()));
    int64_t told = who->last.ended;
    RELEASED_AFTER(writer, &start, timeout / 1000);
    CHECK(told - start.ended < (timeout + (int64_t)(800 * slowness())) * 1000000,
          "poll() reports %.3f s after the freeze", seconds(told - start.ended));
    WANT(-ESTALE, fd_extend(who, 0, 1000));
    WANT(-ESTALE, fd_keep(who, 0));
    WANT(-ESTALE, fd_thaw(who, 0));
    WANT(ENDED, fd_poll(who, 0, 0));
}

/* There is no minimum. */
static void one_millisecond(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 1, 0));
    WANT(ENDED, fd_poll(who, 0, block_timeout_ms()));
    WANT(-ESTALE, fd_thaw(who, 0));
    THAWED();
}

static void huge_timeouts(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, -1, -1));
    struct actor* writer = FROZEN();
    WANT(0, fd_extend(who, 0, -1));
    sleep_ms(300);
    STILL_FROZEN(writer);
    WANT(0, fd_poll(who, 0, 0));
    WANT(0, fd_thaw(who, 0));
    RELEASED(writer);
}

static void extends(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 600000, 0));
    struct actor* writer = FROZEN();
    WANT(0, fd_extend(who, 0, 0));
    WANT(0, fd_extend(who, 0, SHORT * 1000));
    struct report start = who->last;
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-ESTALE, fd_extend(who, 0, 2000));
}

static void extend_takes_the_deadline_away(void) {
    struct actor* who = actor();
    const int timeout = SHORT * 1000;

    WANT(0, freeze_fd(who, 0, timeout, 0));
    WANT(0, fd_extend(who, 0, 0));
    struct actor* writer = FROZEN();
    sleep_ms(timeout + 500);
    STILL_FROZEN(writer);
    WANT(0, fd_poll(who, 0, 0));
    WANT(0, fd_thaw(who, 0));
    RELEASED(writer);
}

static void no_event_by_ones_own(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    WANT(0, freeze_fd(who, 1, 0, 0));
    WANT(0, fd_thaw(who, 0));
    WANT(0, fd_keep(who, 1));
    WANT(0, fd_poll(who, 0, 100));
    WANT(0, fd_poll(who, 1, 100));
    WANT(0, thaw(who));
    WANT(0, fd_poll(who, 1, 100));
    THAWED();
}

/* ---- keep ------------------------------------------------------------------------------------ */

static void keeps(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    WANT(0, fd_keep(who, 0));
    struct actor* writer = FROZEN();
    WANT(-ESTALE, fd_thaw(who, 0));
    WANT(0, fd_close(who, 0));
    CHECK(blocks(writer), "the close thawed a hold that was kept");
    WANT(0, thaw(who));
    RELEASED(writer);
    WANT(-EINVAL, thaw(who));
}

static void keeps_beyond_exit(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    WANT(0, fd_keep(who, 0));
    struct actor* writer = FROZEN();
    actor_exit(who);
    reap(who);
    CHECK(blocks(writer), "the exit thawed a hold that was kept");
    WANT(0, admin_thaw());
    RELEASED(writer);
}

static void keeps_the_deadline(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, SHORT * 1000, 0));
    struct report start = who->last;
    struct actor* writer = FROZEN();
    WANT(0, fd_keep(who, 0));
    WANT(0, fd_close(who, 0));
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, thaw(who));
}

/* The hold becomes that of the process that calls, not of the one that froze. */
static void kept_by_another(void) {
    open_passage();
    struct actor *maker = actor(), *keeper = actor();

    WANT(0, freeze_fd(maker, 0, 0, 0));
    WANT(0, fd_send(maker, 0));
    WANT(0, fd_receive(keeper, 0));
    WANT(0, fd_keep(keeper, 0));
    struct actor* writer = FROZEN();
    actor_exit(maker);
    CHECK(blocks(writer), "thawed by the maker's exit");
    WANT(0, thaw(keeper));
    RELEASED(writer);
}

/* ---- others ---------------------------------------------------------------------------------- */

static void rescued(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    struct actor* writer = FROZEN();
    WANT(0, admin_thaw());
    RELEASED(writer);
    WANT(ENDED, fd_poll(who, 0, 0));
    WANT(-ESTALE, fd_thaw(who, 0));
}

/* A descriptor whose maker has exited is not gone: somebody has it. */
static void rescue_prefers_the_gone(void) {
    open_passage();
    struct actor *maker = actor(), *receiver = actor(), *gone = actor();

    WANT(0, freeze(gone));
    struct actor* writer = FROZEN();
    actor_exit(gone);
    WANT(0, freeze_fd(maker, 0, 0, 0));
    WANT(0, fd_send(maker, 0));
    WANT(0, fd_receive(receiver, 0));
    actor_exit(maker);
    WANT(0, admin_thaw());
    WANT(0, fd_poll(receiver, 0, 0));
    CHECK(blocks(writer), "thawed although a descriptor holds it");
    WANT(0, fd_thaw(receiver, 0));
    RELEASED(writer);
}

static void an_owner_takes_none(void) {
    struct actor *owner = actor(), *holder = actor();

    WANT(0, freeze(owner));
    WANT(0, freeze_fd(owner, 0, 0, 0));
    WANT(0, freeze_fd(holder, 0, 0, 0));
    WANT(0, thaw(owner));
    WANT(-EINVAL, thaw(owner));
    WANT(-EINVAL, reset(owner, 600));
    WANT(0, fd_thaw(owner, 0));
    WANT(0, fd_thaw(holder, 0));
    THAWED();
}

/* Who has only a descriptor is an administrator for FITHAW. */
static void makes_no_entry(void) {
    struct actor *holder = actor(), *other = actor();

    WANT(0, freeze_fd(holder, 0, 0, 0));
    WANT(0, freeze(other));
    WANT(0, thaw(holder));
    WANT(-EINVAL, thaw(other));
    WANT(0, fd_thaw(holder, 0));
    THAWED();
}

static void always_nests(void) {
    struct actor *who = actor(), *other = actor();

    CHECK(write_file(FREEZE_NEST, "0") > 0, "no %s", FREEZE_NEST);
    WANT(0, freeze(other));
    WANT(0, freeze_fd(who, 0, 0, 0));
    WANT(0, freeze_fd(who, 1, 0, 0));
    WANT(0, thaw(other));
    WANT(-EBUSY, freeze(other));
    WANT(0, fd_thaw(who, 0));
    WANT(0, fd_thaw(who, 1));
    THAWED();
}

static void sysrq_j(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze_fd(a, 0, 0, 0));
    WANT(0, freeze_fd(b, 0, 600000, 0));
    struct actor* writer = FROZEN();
    press_sysrq_j();
    RELEASED(writer);
    WANT(ENDED, fd_poll(a, 0, 0));
    WANT(-ESTALE, fd_thaw(a, 0));
    WANT(0, freeze(a));
    WANT(0, fd_close(b, 0));
    writer = FROZEN();
    WANT(0, thaw(a));
    RELEASED(writer);
}

/* ---- block devices --------------------------------------------------------------------------- */

static void with_device_mapper(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    struct actor* writer = FROZEN();
    SETUP(suspend());
    WANT(0, fd_thaw(who, 0));
    CHECK(blocks(writer), "a descriptor thawed a suspended device's filesystem");
    WANT(0, freeze_fd(who, 1, 0, 0));
    SETUP(resume());
    CHECK(blocks(writer), "the resume thawed a descriptor's hold");
    WANT(0, fd_close(who, 1));
    RELEASED(writer);
    check_suspend_freezes();
}

static void unmounted(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    WANT(0, call(who, op_close, 0, 0, 0));
    WANT(0, unmount_now(0));
    WANT(-EBUSY, open_exclusively());
    WANT(0, fd_close(who, 0));
    for (int i = 0; i < 100 && open_exclusively() == -EBUSY; i++)
        sleep_ms(20);
    WANT(0, open_exclusively());
    WANT(0, mount_again(0));
    THAWED();
}

/* The descriptor of a hold that has ended does not keep the filesystem alive. */
static void unmounted_after_the_end(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 200, 0));
    WANT(ENDED, fd_poll(who, 0, block_timeout_ms()));
    WANT(0, call(who, op_close, 0, 0, 0));
    WANT(0, unmount_now(0));
    WANT(0, open_exclusively());
    WANT(-ESTALE, fd_thaw(who, 0));
    WANT(0, mount_again(0));
    WANT(0, fd_close(who, 0));
    THAWED();
}

static void expires_after_the_unmount(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, SHORT * 1000, 0));
    WANT(0, call(who, op_close, 0, 0, 0));
    WANT(0, unmount_now(0));
    WANT(ENDED, fd_poll(who, 0, SHORT * 1000 + block_timeout_ms()));
    for (int i = 0; i < 100 && open_exclusively() == -EBUSY; i++)
        sleep_ms(20);
    WANT(0, open_exclusively());
    WANT(-ESTALE, fd_thaw(who, 0));
    WANT(0, mount_again(0));
    THAWED();
}

/* ---- the argument ---------------------------------------------------------------------------- */

struct longer {
    struct fsfreeze_args args;
    __u64 more;
};

static int op_bad_arguments(long a, long b, long c) {
    struct longer longer = {.more = 1};
    struct fsfreeze_args args = {.flags = 1};
    const unsigned long code = _IOC(_IOC_WRITE, 0x15, 16, sizeof(longer));

    WANT(-EINVAL, result_of(ioctl(here, FIFREEZE_FD, &args)));
    args = (struct fsfreeze_args){.reserved = 1};
    WANT(-EINVAL, result_of(ioctl(here, FIFREEZE_FD, &args)));
    args = (struct fsfreeze_args){.flags = 0};
    memset(args.comment, 'x', sizeof(args.comment));
    WANT(-EINVAL, result_of(ioctl(here, FIFREEZE_FD, &args)));
    WANT(-EFAULT, result_of(ioctl(here, FIFREEZE_FD, NULL)));
    WANT(-EFAULT, result_of(ioctl(here, FIFREEZE_FD, 16)));
    WANT(-E2BIG, result_of(ioctl(here, code, &longer)));
    return 0;
}

static void bad_arguments(void) {
    struct actor* who = actor();

    WANT(0, call(who, op_bad_arguments, 0, 0, 0));
    WANT(-EINVAL, admin_thaw());
    WANT(0, freeze_fd(who, 0, 0, 0));
    WANT(-EFAULT, request(who, FIFREEZE_FD, 16));
    WANT(0, fd_thaw(who, 0));
}

static int op_bad_requests(long number, long b, long c) {
    const int fd = descriptor_in((int)number);
    char byte;

    WANT(-EFAULT, result_of(ioctl(fd, FSFREEZE_EXTEND, NULL)));
    WANT(-ENOTTY, result_of(ioctl(fd, _IO(0x15, 21), NULL)));
    WANT(-EOPNOTSUPP, result_of(ioctl(fd, FIFREEZE, 0)));
    WANT(-EINVAL, result_of(read(fd, &byte, 1)));
    WANT(-EINVAL, result_of(write(fd, &byte, 1)));
    return 0;
}

static void bad_requests(void) {
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 0, 0));
    WANT(0, call(who, op_bad_requests, 0, 0, 0));
    WANT(0, fd_thaw(who, 0));
}

static int op_other_sizes(long a, long b, long c) {
    struct longer longer = {.args.timeout_ms = 0};

    int fd = ioctl(here, _IOC(_IOC_WRITE, 0x15, 16, sizeof(longer)), &longer);
    CHECK(fd >= 0, "a longer structure: %s", result_name(-errno));
    close(fd);
    fd = ioctl(here, _IOC(_IOC_WRITE, 0x15, 16, 16), &longer);
    CHECK(fd >= 0, "a shorter structure: %s", result_name(-errno));
    int result = result_of(ioctl(fd, FSFREEZE_THAW, 0));
    close(fd);
    return result;
}

static void other_sizes(void) {
    struct actor* who = actor();

    WANT(0, call(who, op_other_sizes, 0, 0, 0));
    THAWED();
}

/* ---- fdinfo ---------------------------------------------------------------------------------- */

static int op_fdinfo(long number, long text, long c) {
    char path[64], info[1024];

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", descriptor_in((int)number));
    int result = read_file(path, info, sizeof(info));
    if (result < 0)
        return result;
    return strstr(info, (const char*)text) != NULL;
}

static int shows(struct actor* who, const char* text) {
    return call(who, op_fdinfo, 0, (long)text, 0);
}

static void fdinfo(void) {
    static char type[64]; /* before the actor is made, which has a copy */
    snprintf(type, sizeof(type), "fsfreeze-type:\t%s\n", volume.type);
    struct actor* who = actor();

    WANT(0, freeze_fd(who, 0, 600000, 0));
    WANT(1, shows(who, type));
    WANT(1, shows(who, "fsfreeze-dev:\t"));
    WANT(1, shows(who, "fsfreeze-state:\theld\n"));
    WANT(1, shows(who, "fsfreeze-held-ms:\t"));
    /* Now less, unless no tick has passed yet. */
    CHECK(shows(who, "fsfreeze-left-ms:\t5") == 1 || shows(who, "fsfreeze-left-ms:\t600000") == 1,
          "not the time left");
    WANT(1, shows(who, "fsfreeze-comment:\tfreeze-abi\n"));
    WANT(0, fd_thaw(who, 0));
    WANT(1, shows(who, "fsfreeze-state:\tthawed\n"));
    WANT(0, shows(who, "fsfreeze-left-ms:"));
    WANT(0, freeze_fd(who, 0, 0, 0));
    WANT(0, shows(who, "fsfreeze-left-ms:"));
    WANT(0, admin_thaw());
    WANT(1, shows(who, "fsfreeze-state:\tthawed by an administrator\n"));
    WANT(0, freeze_fd(who, 0, 1, 0));
    WANT(ENDED, fd_poll(who, 0, block_timeout_ms()));
    WANT(1, shows(who, "fsfreeze-state:\texpired\n"));
    WANT(0, freeze_fd(who, 0, 0, 0));
    WANT(0, fd_keep(who, 0));
    WANT(1, shows(who, "fsfreeze-state:\tkept\n"));
    WANT(0, thaw(who));
}

#define T(name, what, needs)                                                                       \
    { "descriptors." #name, what, name, FAILS_ON_STOCK, NEEDS_DESCRIPTORS | (needs) }

static const struct test descriptors_tests[] = {
    T(freezes_and_thaws, "a descriptor freezes and thaws, once", 0),
    T(last_close_thaws, "the last close of a descriptor thaws, not an earlier one", 0),
    T(nested_close, "closing a descriptor leaves other holds", 0),
    T(exec_closes, "an exec closes the descriptor, which thaws", 0),
    T(close_does_not_block, "neither close() nor exit waits for the thaw", NEEDS_DM),
    T(death_thaws, "SIGKILL of the holder thaws", 0),
    T(death_at_any_point, "SIGKILL of the holder leaves nothing frozen, whenever it comes", 0),
    T(forked_child_shares, "a forked child has the same hold", 0),
    T(passed_over_a_socket, "a descriptor passed over a socket outlives its sender", 0),
    T(lost_in_transit, "a descriptor that nobody receives is closed with the socket", 0),
    T(needs_no_privilege, "the operations on a descriptor need no privilege", 0),
    T(expires, "the deadline ends the hold: poll() reports it, the rest is ESTALE", 0),
    T(one_millisecond, "a timeout of 1 ms is one", 0),
    T(huge_timeouts, "huge timeouts are clamped", 0),
    T(extends, "extend moves the deadline", 0),
    T(extend_takes_the_deadline_away, "extend by 0 removes the deadline", 0),
    T(no_event_by_ones_own, "poll() does not report what the holder has done itself", 0),
    T(keeps, "a kept hold belongs to the process", 0),
    T(keeps_beyond_exit, "a kept hold outlives its process", 0),
    T(keeps_the_deadline, "a kept hold has the same deadline", 0),
    T(kept_by_another, "a hold is kept for the process that asks for it", 0),
    T(rescued, "an administrator ends the hold of a descriptor: poll() and ESTALE", 0),
    T(rescue_prefers_the_gone, "a descriptor whose maker has exited is not gone", 0),
    T(an_owner_takes_none, "FITHAW by an owner never ends the hold of a descriptor", 0),
    T(makes_no_entry, "who has only a descriptor is an administrator", 0),
    T(always_nests, "a descriptor nests although fs.freeze_nest is 0", ALONE),
    T(sysrq_j, "sysrq-j ends the holds of descriptors", NEEDS_VM),
    T(with_device_mapper, "descriptors and a suspended device do not end each other's freeze",
      NEEDS_DM_FREEZE),
    T(unmounted, "closing the descriptor after the unmount releases the device", 0),
    T(unmounted_after_the_end, "a descriptor without a hold does not keep the device busy", 0),
    T(expires_after_the_unmount, "the deadline applies after the unmount", 0),
    T(bad_arguments, "bad arguments: EINVAL, EFAULT, E2BIG", 0),
    T(bad_requests, "requests that a descriptor does not have", 0),
    T(other_sizes, "shorter and longer arguments", 0),
    T(fdinfo, "fdinfo shows the filesystem, the state, times and the comment", 0),
};
TOPIC(descriptors);
