/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which hold a thaw ends: the caller's own or, for an administrator, somebody else's. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "harness.h"

/* ---- a process that has frozen the filesystem thaws only its own holds ----------------------- */

static void own_holds_only(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    WANT(0, thaw(a));
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    for (int i = 0; i < 3; i++)
        WANT(-EINVAL, thaw(a));
    WANT(-EINVAL, reset(a, SHORT));
    CHECK(blocks(writer), "thawed by a process that has no hold left");
    WANT(0, thaw(b));
    RELEASED(writer);
}

/* Not even the hold of a process that has exited; only an administrator can. */
static void no_rescue_by_an_owner(void) {
    struct actor *a = actor(), *gone = actor();

    WANT(0, freeze(a));
    WANT(0, thaw(a));
    WANT(0, freeze(gone));
    struct actor* writer = FROZEN();
    actor_exit(gone);
    reap(gone);
    WANT(-EINVAL, thaw(a));
    CHECK(blocks(writer), "an owner thawed somebody else's hold");
    WANT(0, admin_thaw());
    RELEASED(writer);
}

/* After a failed freeze the caller is still an administrator. */
static void failed_freeze_makes_no_owner(void) {
    struct actor *a = actor(), *b = actor();

    WANT(-ERANGE, freeze_for(a, -1));
    WANT(0, freeze(b));
    WANT(0, thaw(a));
    WANT(-EINVAL, thaw(b));
}

/* ---- an administrator ------------------------------------------------------------------------ */

static void rescue_takes_the_newest(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(0, freeze(b));
    WANT(0, freeze(a));
    WANT(0, admin_thaw()); /* a's second */
    WANT(-EINVAL, thaw(a));
    WANT(0, admin_thaw()); /* b's */
    WANT(-EINVAL, thaw(b));
    CHECK(blocks(writer), "thawed by two thaws of three");
    WANT(0, thaw(a));
    RELEASED(writer);
    WANT(-EINVAL, thaw(a));
}

static void rescue_of_everything(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(0, freeze(b));
    WANT(0, admin_thaw());
    WANT(0, admin_thaw());
    RELEASED(writer);
    WANT(-EINVAL, admin_thaw());
    WANT(-EINVAL, thaw(a));
    WANT(-EINVAL, thaw(b));
}

/* @leave ends the owner of the oldest of three holds, or begins to. */
static void rescue_prefers(void (*leave)(struct actor*)) {
    struct actor *gone = actor(), *b = actor(), *c = actor();

    WANT(0, freeze(gone));
    struct actor* writer = FROZEN();
    WANT(0, freeze(b));
    WANT(0, freeze(c));
    leave(gone);
    CHECK(blocks(writer), "thawed because an owner has exited");
    WANT(0, admin_thaw());
    WANT(0, thaw(c));
    CHECK(blocks(writer), "thawed while a hold is left");
    WANT(0, thaw(b));
    RELEASED(writer);
}

static void exit_and_reap(struct actor* who) {
    actor_exit(who);
    reap(who);
}

static void kill_and_reap(struct actor* who) {
    kill_actor(who);
    reap(who);
}

/* SIGKILL while it waits for its own thaw: it cannot die, but never returns to user space. */
static void kill_blocked_on_own_freeze(struct actor* who) {
    begin(who, op_write, 0, 0, 0);
    WAITS(who);
    kill_actor(who);
    sleep_ms(50);
    CHECK(task_state(who->pid) == 'D', "the process is not blocked");
}

static void rescue_after_exit(void) {
    rescue_prefers(exit_and_reap);
}

static void rescue_after_sigkill(void) {
    rescue_prefers(kill_and_reap);
}

static void rescue_of_a_zombie(void) {
    rescue_prefers(actor_exit);
}

static void rescue_of_one_being_killed(void) {
    rescue_prefers(kill_blocked_on_own_freeze);
}

/* The newest hold has no deadline, so the thaw at the deadline shows which one is left. */
static void rescue_takes_the_newest_of_the_gone(void) {
    struct actor *timed = actor(), *later = actor(), *alive = actor();

    WANT(0, freeze_for(timed, SHORT));
    struct report start = timed->last;
    struct actor* writer = FROZEN();
    WANT(0, freeze(later));
    WANT(0, freeze(alive));
    actor_exit(timed);
    actor_exit(later);
    WANT(0, admin_thaw());
    WANT(0, thaw(alive));
    RELEASED_AFTER(writer, &start, SHORT);
}

static void owner_exits(void) {
    struct actor* owner = actor();

    WANT(0, freeze(owner));
    struct actor* writer = FROZEN();
    exit_and_reap(owner);
    CHECK(blocks(writer), "thawed by its owner's exit");
    WANT(0, admin_thaw());
    RELEASED(writer);
    WANT(-EINVAL, admin_thaw());
}

/* ---- the end of a hold is reported to its owner once ----------------------------------------- */

static void told_once(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(0, freeze(a));
    WANT(0, admin_thaw()); /* a's second */
    WANT(0, freeze(b));
    WANT(-EINVAL, thaw(a));
    WANT(0, thaw(a));
    CHECK(blocks(writer), "thawed while b has a hold");
    WANT(-EINVAL, thaw(a));
    WANT(0, thaw(b));
    RELEASED(writer);
}

static void ended_hold_in_the_middle(void) {
    struct actor* a = actor();

    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(0, freeze(a));
    WANT(0, admin_thaw());
    WANT(0, freeze(a));
    WANT(0, thaw(a));
    WANT(-EINVAL, thaw(a));
    CHECK(blocks(writer), "thawed while a hold is left");
    WANT(0, thaw(a));
    RELEASED(writer);
    WANT(-EINVAL, thaw(a));
}

/* EINVAL from a reset does not count as the report. */
static void reset_forgets_nothing(void) {
    struct actor* a = actor();

    WANT(0, freeze(a));
    struct actor* writer = FROZEN();
    WANT(0, freeze(a));
    WANT(0, admin_thaw());
    WANT(-EINVAL, reset(a, 600));
    WANT(-EINVAL, reset(a, 600));
    WANT(-EINVAL, thaw(a));
    WANT(0, reset(a, 600));
    WANT(0, thaw(a));
    RELEASED(writer);
    WANT(-EINVAL, reset(a, 600));
}

static void new_freeze_forgets_the_ended(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    WANT(0, admin_thaw());
    WANT(0, freeze(a));
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    WANT(0, thaw(a));
    WANT(-EINVAL, thaw(a));
    CHECK(blocks(writer), "thawed while b has a hold");
    WANT(0, thaw(b));
    RELEASED(writer);
}

/* ---- reset chooses the same hold as thaw ----------------------------------------------------- */

static void reset_by_an_administrator(void) {
    struct actor *gone = actor(), *alive = actor();

    WANT(-EINVAL, admin_reset(SHORT));
    WANT(0, freeze(gone));
    WANT(0, freeze(alive));
    struct actor* writer = FROZEN();
    actor_exit(gone);
    WANT(0, admin_reset(SHORT));
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    WANT(0, thaw(alive)); /* the deadline was on the other hold */
    RELEASED(writer);
    WANT(-EINVAL, admin_reset(SHORT));
}

static void reset_takes_ones_own(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    WANT(0, freeze(b));
    WANT(0, reset(a, SHORT));
    struct report start = a->last;
    struct actor* writer = FROZEN();
    WANT(0, thaw(b));
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, thaw(a));
}

/* ---- owners are processes -------------------------------------------------------------------- */

static void forked_child_is_another(void) {
    struct actor* parent = actor();

    WANT(0, freeze(parent));
    struct actor* writer = FROZEN();
    WANT(0, freeze(parent));
    struct actor* child = actor_forked_by(parent);
    WANT(0, thaw(child)); /* as an administrator */
    WANT(-EINVAL, thaw(parent));
    CHECK(blocks(writer), "thawed while the parent has a hold");
    WANT(0, freeze(child)); /* an owner from now on */
    WANT(0, thaw(child));
    WANT(-EINVAL, thaw(child));
    WANT(0, thaw(parent));
    RELEASED(writer);
}

static void keeps_through(operation* exec) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    WANT(0, actor_exec(a, exec));
    WANT(0, thaw(a));
    WANT(-EINVAL, thaw(a));
    CHECK(blocks(writer), "thawed while b has a hold");
    WANT(0, thaw(b));
    RELEASED(writer);
}

static void exec_keeps(void) {
    keeps_through(op_exec);
}

static void exec_from_a_thread_keeps(void) {
    keeps_through(op_exec_from_thread);
}

static void* in_thread(void* op) {
    return (void*)(intptr_t)(*(operation**)op)(0, 0, 0);
}

static int in_another_thread(operation* op) {
    pthread_t thread;
    void* result;

    if (pthread_create(&thread, NULL, in_thread, &op) || pthread_join(thread, &result))
        return -EAGAIN;
    return (int)(intptr_t)result;
}

static int op_freeze_in_thread(long a, long b, long c) {
    return in_another_thread(op_freeze);
}

static int op_thaw_in_thread(long a, long b, long c) {
    return in_another_thread(op_thaw);
}

static void threads_share(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    WANT(0, call(a, op_freeze_in_thread, 0, 0, 0));
    WANT(0, call(a, op_freeze_in_thread, 0, 0, 0));
    WANT(0, thaw(a));
    WANT(0, call(a, op_thaw_in_thread, 0, 0, 0));
    WANT(-EINVAL, call(a, op_thaw_in_thread, 0, 0, 0));
    CHECK(blocks(writer), "thawed while b has a hold");
    WANT(0, thaw(b));
    RELEASED(writer);
}

static int op_leader_exits(long a, long b, long c) {
    serve_in_place_of_leader();
}

/* Its first thread has exited and /proc shows a zombie, but the process is alive. */
static void lives_without_its_leader(void) {
    struct actor *a = actor(), *b = actor();

    WANT(0, freeze(a));
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    WANT(0, call(a, op_leader_exits, 0, 0, 0));
    CHECK(dies(a, block_timeout_ms()), "the first thread is still alive");
    WANT(0, admin_thaw()); /* b's, the newest */
    WANT(-EINVAL, thaw(b));
    CHECK(blocks(writer), "thawed while a has a hold");
    begin(a, op_thaw, 0, 0, 0);
    for (int i = 0; i < 500 && !finished(a); i++)
        sleep_ms(10);
    CHECK(!a->busy, "the second thread does not answer");
    WANT(0, a->last.result);
    RELEASED(writer);
}

/* Another process gets the same pid. */
static void pid_reused(void) {
    struct actor *a = actor(), *b = actor();
    pid_t pid = a->pid;

    WANT(0, freeze(a));
    WANT(0, thaw(a));
    WANT(0, freeze(b));
    struct actor* writer = FROZEN();
    exit_and_reap(a);
    struct actor* heir = actor_with_pid(pid);
    CHECK(heir->pid == pid, "the new process is %d, not %d", heir->pid, pid);
    WANT(0, thaw(heir)); /* as an administrator */
    RELEASED(writer);
    WANT(-EINVAL, thaw(b));
}

/* ---- the time of a rescue -------------------------------------------------------------------- */

static double taken_by(struct actor* who) {
    return seconds(who->last.ended - who->last.begun);
}

/* The kernel must not visit all holds for each thaw. A busy machine gets three tries. */
static void rescue_of_many(void) {
    const int many = debugging_kernel() ? 3000 : 20000;
    struct actor *owner = actor(), *administrator = actor();
    double own = 0, rescue = 0;
    bool fast = false;

    for (int i = 0; i < 3 && !fast; i++) {
        WANT(0, repeat(owner, FIFREEZE, many));
        WANT(0, repeat(owner, FITHAW, many));
        own = taken_by(owner);
        WANT(0, repeat(owner, FIFREEZE, many));
        WANT(0, repeat(administrator, FITHAW, many));
        rescue = taken_by(administrator);
        fast = rescue < 4 * own + 0.1;
        THAWED();
    }
    CHECK(fast, "%d thaws: by their owner %.3f s, by an administrator %.3f s", many, own, rescue);
}

static const struct test owners_tests[] = {
    {"owners.own_holds_only", "a process that has frozen cannot thaw another's hold",
     own_holds_only, FAILS_ON_STOCK, 0},
    {"owners.no_rescue_by_an_owner",
     "a process that has frozen cannot thaw the hold of one that exited", no_rescue_by_an_owner,
     FAILS_ON_STOCK, 0},
    {"owners.failed_freeze_makes_no_owner", "a failed freeze leaves its caller an administrator",
     failed_freeze_makes_no_owner, FAILS_ON_STOCK, 0},
    {"owners.rescue_takes_the_newest", "an administrator thaws the newest hold of any process",
     rescue_takes_the_newest, FAILS_ON_STOCK, 0},
    {"owners.rescue_of_everything", "an administrator can thaw all holds, one after another",
     rescue_of_everything, FAILS_ON_STOCK, 0},
    {"owners.rescue_after_exit", "an administrator first thaws holds of a process that has exited",
     rescue_after_exit, FAILS_ON_STOCK, 0},
    {"owners.rescue_after_sigkill",
     "an administrator first thaws holds of a process that was killed", rescue_after_sigkill,
     FAILS_ON_STOCK, 0},
    {"owners.rescue_of_a_zombie", "an administrator first thaws holds of a zombie",
     rescue_of_a_zombie, FAILS_ON_STOCK, 0},
    {"owners.rescue_of_one_being_killed",
     "an administrator first thaws holds of a process in D with SIGKILL pending",
     rescue_of_one_being_killed, FAILS_ON_STOCK, 0},
    {"owners.rescue_newest_of_the_gone",
     "of several exited owners, an administrator thaws the newest hold first",
     rescue_takes_the_newest_of_the_gone, FAILS_ON_STOCK, 0},
    {"owners.rescue_of_many", "an administrator's thaw is as fast as the owner's, with many holds",
     rescue_of_many, FAILS_ON_STOCK, 0},
    {"owners.owner_exits", "a freeze stays when its process exits", owner_exits, SAME_ON_STOCK, 0},
    {"owners.told_once", "the owner of an ended hold gets EINVAL, once", told_once, FAILS_ON_STOCK,
     0},
    {"owners.ended_hold_in_the_middle",
     "an ended hold keeps its place among the owner's other holds", ended_hold_in_the_middle,
     FAILS_ON_STOCK, 0},
    {"owners.reset_forgets_nothing", "reset of an ended hold returns EINVAL and does not remove it",
     reset_forgets_nothing, FAILS_ON_STOCK, 0},
    {"owners.new_freeze_forgets_the_ended", "a new freeze removes the owner's ended holds",
     new_freeze_forgets_the_ended, FAILS_ON_STOCK, 0},
    {"owners.reset_by_an_administrator",
     "an administrator's reset affects the hold that its thaw would end", reset_by_an_administrator,
     FAILS_ON_STOCK, 0},
    {"owners.reset_takes_ones_own", "an owner's reset affects its own hold", reset_takes_ones_own,
     FAILS_ON_STOCK, 0},
    {"owners.forked_child_is_another", "a forked child is a different owner",
     forked_child_is_another, FAILS_ON_STOCK, 0},
    {"owners.exec_keeps", "holds survive an exec", exec_keeps, FAILS_ON_STOCK, 0},
    {"owners.exec_from_a_thread_keeps", "holds survive an exec by a thread that is not the leader",
     exec_from_a_thread_keeps, FAILS_ON_STOCK, 0},
    {"owners.threads_share", "the threads of a process share its holds", threads_share,
     FAILS_ON_STOCK, 0},
    {"owners.lives_without_its_leader", "a process whose leader has exited still owns its holds",
     lives_without_its_leader, FAILS_ON_STOCK, 0},
    {"owners.pid_reused", "a later process with the same pid is not the owner", pid_reused,
     SAME_ON_STOCK, 0},
};
TOPIC(owners);
