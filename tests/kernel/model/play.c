/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "../runner.h"
#include "clock.h"
#include "play.h"

struct play play;

struct model model;
struct actor* process[PROCESSES];
static struct model before; /* as of the step before */
static struct actor* watcher;
static int watcher_mount;

/* ---- findings -------------------------------------------------------------------------------- */

/* Mounted, so that the clean-up can reach it. */
static void __attribute__((noreturn)) stop(void) {
    if (!model.mount)
        mount_again(model.read_only ? MS_RDONLY : 0);
    _exit(FAILED);
}

void differs(const char* format, ...) {
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(play.finding->what, sizeof(play.finding->what), format, arguments);
    va_end(arguments);
    play.finding->differs = true;
    stop();
}

/* Results after a deadline that passed too early prove nothing. */
static void stop_if_too_late(void) {
    if (!clock_is_late(now_ns()))
        return;
    play.finding->too_late = true;
    stop();
}

const char* name_of(int result) {
    static char text[64];

    snprintf(text, sizeof(text), "%s", result_name(result == BLOCKS ? BLOCKED : result));
    return text;
}

/* ---- requests -------------------------------------------------------------------------------- */

static int64_t seconds_of(enum period period) {
    static const int64_t fixed[PERIODS] = {[ONE] = 1, [TEN_MINUTES] = 600, [NEGATIVE] = -1};

    if (period == SOON || period == LATER)
        return clock_timeout(period);
    return fixed[period];
}

static long packed(struct step step) {
    return step.verb | step.period << 8 | step.number << 16;
}

/* In the actor. */
static int op_request_packed(long request, long b, long c) {
    static const unsigned int codes[] = {[FREEZE] = FIFREEZE,
                                         [FREEZE_WITH] = FIFREEZE,
                                         [FREEZE_FOR] = FIFREEZE_TIMEOUT,
                                         [THAW] = FITHAW,
                                         [RESET] = FIFREEZE_RESET_TIMEOUT};
    enum verb verb = request & 0xff;
    enum period period = request >> 8 & 0xff;
    __s64 seconds = seconds_of(period);
    unsigned long argument = period == UNREADABLE ? 8 : (unsigned long)&seconds;

    return result_of(ioctl(here, codes[verb], has_period(verb) ? argument : 0));
}

/* In the actor. */
static int op_fd_request(long request, long acquire_ms, long c) {
    enum verb verb = request & 0xff;
    enum period period = request >> 8 & 0xff;
    long number = request >> 16;
    __u64 ms = (__u64)(period == ONE ? 1 : seconds_of(period) * 1000);

    if (period == NEGATIVE)
        ms = UINT64_MAX;
    if (verb == FD_EXTEND)
        return result_of(ioctl(descriptor_in((int)number), FSFREEZE_EXTEND,
                               period == UNREADABLE ? 8 : (unsigned long)&ms));
    if (period == UNREADABLE)
        return result_of(ioctl(here, FIFREEZE_FD, 8));
    return op_freeze_fd(number, (long)ms, acquire_ms);
}

static bool reads_argument(struct step step) {
    return step.verb == FREEZE_WITH ? model.timeout_arg : has_period(step.verb);
}

/* A freeze that waits for a stuck writer. */
static int begin_freeze(struct step step) {
    struct actor* who = process[step.who];

    if (step.verb == FREEZE_FD)
        begin(who, op_fd_request, packed(step), 0, 0);
    else
        begin(who, op_request_packed, packed(step), 0, 0);
    return blocks(who) ? BLOCKS : who->last.result;
}

static int take_fd_request(struct step step) {
    bool stuck = step.verb == FREEZE_FD_WITHIN && model.writer == STUCK;

    return call(process[step.who], op_fd_request, packed(step), stuck ? 150 : 600000, 0);
}

static int take_request(struct step step) {
    int64_t begun = latest_tick();
    int result;

    if (model.writer == STUCK && step.verb != THAW && step.verb != RESET &&
        step.verb != FREEZE_FD_WITHIN && step.verb <= FREEZE_FD)
        return begin_freeze(step);
    if (step.verb >= FREEZE_FD)
        result = take_fd_request(step);
    else if (step.who == ADMIN)
        result = elsewhere(actor, op_request_packed, packed(step), block_timeout_ms());
    else
        result = call(process[step.who], op_request_packed, packed(step), 0, 0);
    if (result == 0 && reads_argument(step))
        clock_start(step.period, begun, now_ns());
    return result;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* The other operation is killed at some moment. */
static int die_within(struct actor* who, operation* op, long number) {
    unsigned seed = (unsigned)play.finding->at;

    begin(who, op, number, 0, 0);
    sleep_until(now_ns() + rand_r(&seed) % 30 * (rand_r(&seed) % 1000) * 1000LL);
    kill_actor(who);
    return dies(who, block_timeout_ms()) ? 0 : BLOCKED;
}

static int fork_actor(struct actor* parent) {
    int child = 0;

    while (process[child])
        child++;
    process[child] = actor_forked_by(parent);
    return 0;
}

static int take_file_step(struct step step) {
    struct actor* who = process[step.who];

    switch ((enum verb)step.verb) {
    case FD_THAW:
        return fd_thaw(who, step.number);
    case FD_KEEP:
        return fd_keep(who, step.number);
    case FD_POLL:
        return fd_poll(who, step.number, 0);
    case FD_CLOSE:
        return fd_close(who, step.number);
    case FD_DUP:
        return call(who, op_fd_dup, step.number, !step.number, 0);
    case FD_SEND:
        return fd_send(who, step.number);
    case FD_RECEIVE:
        return fd_receive(who, step.number);
    case DIE_FREEZING:
        return die_within(who, op_freeze_fd, NUMBERS);
    case DIE_THAWING:
        return die_within(who, op_fd_thaw, step.number);
    case FORK:
        return fork_actor(who);
    default: /* FD_EXTEND */
        return take_request(step);
    }
}

/* The sender may have closed its own. */
static int op_lose(long a, long b, long c) {
    int result = op_fd_receive(0, 0, 0);

    return result ? result : op_fd_close(0, 0, 0);
}

/* ---- a stuck writer -------------------------------------------------------------------------- */

static struct actor* splicing;

static int stick(void) {
    splicing = splicing_writer();
    return 0;
}

/* If somebody freezes, it may be able to exit only after the thaw. */
static int unstick(void) {
    int64_t begun = latest_tick();

    kill_actor(splicing);
    for (int i = 0; i < model.waiters; i++) {
        int result = finish(process[model.waiting[i]], block_timeout_ms());
        const struct step step = model.process[model.waiting[i]].waiting;
        if (result == 0 && reads_argument(step))
            clock_start(step.period, begun, now_ns());
    }
    return 0;
}

/* ---- writes that block ----------------------------------------------------------------------- */

/* False if it finishes instead. */
static bool blocks_on_freeze(struct actor* who) {
    for (int waited = 0; waited < block_timeout_ms() && !finished(who); waited++) {
        enum sleeping sleeping =
            task_state(who->pid) == 'D' ? sleeps_on_freeze(who->pid) : SLEEPS_ELSEWHERE;
        if (sleeping == SLEEPS_ON_FREEZE)
            return true;
        if (sleeping == SLEEP_UNKNOWN)
            return blocks(who);
        sleep_ms(1);
    }
    return false;
}

static int begin_write(struct actor* who) {
    begin(who, op_write, 0, 0, 0);
    return blocks_on_freeze(who) ? BLOCKS : finish(who, 0);
}

/* ---- processes ------------------------------------------------------------------------------- */

static int start(struct actor** who) {
    *who = actor();
    return 0;
}

static int end_process(struct actor* who, bool by_exit, bool blocked) {
    if (by_exit)
        actor_exit(who);
    else
        kill_actor(who);
    return blocked || dies(who, block_timeout_ms()) ? 0 : BLOCKED;
}

static int reap_and_free(struct actor** who) {
    reap(*who);
    close((*who)->channel);
    close((*who)->offspring);
    free(*who);
    *who = NULL;
    return 0;
}

static int take_process_step(struct step step) {
    struct actor** who = &process[step.who];

    switch ((enum verb)step.verb) {
    case WRITE:
        return begin_write(*who);
    case OPEN:
        return call(*who, op_reopen, 0, 0, 0);
    case CLOSE:
        return call(*who, op_close, 0, 0, 0);
    case START:
        return start(who);
    case REAP:
        return reap_and_free(who);
    default:
        return end_process(*who, step.verb == EXIT,
                           model.process[step.who].state == BLOCKED_IN_WRITE);
    }
}

/* ---- everything else ------------------------------------------------------------------------- */

/* If the device is suspended, the thaw may wait for the resume. */
static int press_j(void) {
    int mark = mark_log(), result = write_file("/proc/sysrq-trigger", "j");

    if (result == 1 && model.suspended) {
        sleep_ms(30);
        result = resume() == 0 ? 1 : -EIO;
    }
    bool ended = log_wait(mark, emergency_thaw_complete, NULL, block_timeout_ms());
    close(mark);
    return result != 1 ? result : ended ? 0 : BLOCKED;
}

static int set(const char* path, bool value) {
    int result = write_file(path, value ? "1" : "0");

    return result > 0 ? 0 : result;
}

static int watch(void) {
    watcher = actor();
    watcher_mount = model.mount;
    return 0;
}

static int unwatch(void) {
    kill_actor(watcher);
    return reap_and_free(&watcher);
}

static int take_common_step(enum verb verb) {
    switch (verb) {
    case SUSPEND:
        return suspend();
    case RESUME:
        return resume();
    case MOUNT:
        return mount_again(model.read_only ? MS_RDONLY : 0);
    case UNMOUNT:
        return unmount_now(0);
    case UNMOUNT_LAZILY:
        return unmount_now(MNT_DETACH);
    case REMOUNT_RO:
        return mount_again(MS_REMOUNT | MS_RDONLY);
    case REMOUNT_RW:
        return mount_again(MS_REMOUNT);
    case SYSRQ_J:
        return press_j();
    case NEST:
    case NO_NEST:
        return set(FREEZE_NEST, verb == NEST);
    case TIMEOUT_ARG:
    case NO_TIMEOUT_ARG:
        return set(FREEZE_TIMEOUT_ARG, verb == TIMEOUT_ARG);
    case LOSE:
        return call_helper(op_lose, 0);
    case STICK:
        return stick();
    case UNSTICK:
        return unstick();
    case WATCH:
        return watch();
    case UNWATCH:
        return unwatch();
    default:
        clock_wait(verb == WAIT_SOON ? SOON : LATER);
        return 0;
    }
}

static int execute(struct step step) {
    if (step.verb <= FREEZE_FD_WITHIN)
        return take_request(step);
    if (step.verb <= FORK)
        return take_file_step(step);
    return has_process(step.verb) ? take_process_step(step) : take_common_step(step.verb);
}

/* ---- comparison with the model --------------------------------------------------------------- */

static void check_process(int i) {
    enum process_state was = before.process[i].state, is = model.process[i].state;
    bool blocked = is == BLOCKED_IN_WRITE || is == BEING_KILLED;
    bool was_blocked = was == BLOCKED_IN_WRITE || was == BEING_KILLED;

    if (was == FREEZING && is == ALIVE &&
        finish(process[i], block_timeout_ms()) != model.process[i].result)
        differs("the freeze of %c, which was blocked, returned %s", 'a' + i,
                name_of(finish(process[i], 0)));
    if (is == FREEZING && finished(process[i]))
        differs("the freeze of %c, which must block, returned %s", 'a' + i,
                name_of(process[i]->last.result));
    if (is == BLOCKED_IN_WRITE && finished(process[i]))
        differs("the write of %c, which must block, returned %s", 'a' + i,
                name_of(process[i]->last.result));
    if (is == BEING_KILLED && task_state(process[i]->pid) != 'D')
        differs("%c, which is blocked and being killed, is released", 'a' + i);
    if (blocked || !was_blocked)
        return;
    if (is == ALIVE && finish(process[i], block_timeout_ms()) != 0)
        differs("the write of %c, which was blocked, returned %s, expected 0", 'a' + i,
                name_of(finish(process[i], 0)));
    if (is == ZOMBIE && !dies(process[i], block_timeout_ms()))
        differs("%c, which was being killed, is not released", 'a' + i);
}

static void expect_blocked(void) {
    /* In the gap, it either succeeded or waits for the next freezer. */
    if (model.gap && watcher->busy && !blocks_on_freeze(watcher) && finish(watcher, 0) == 0)
        begin_write(watcher);
    if (!watcher->busy && begin_write(watcher) != BLOCKS)
        differs("not frozen: a write returned %s", name_of(watcher->last.result));
    if (finished(watcher) || (task_state(watcher->pid) != 'D' && !blocks_on_freeze(watcher)))
        differs("not frozen: the blocked write returned %s", name_of(watcher->last.result));
}

/* Makes the watcher open the present mount. */
static int op_move(long a, long b, long c) {
    int old = here;

    int result = op_reopen(0, 0, 0);
    close(old);
    return result;
}

static void expect_not_blocked(void) {
    int result = watcher->busy ? finish(watcher, block_timeout_ms()) : 0;

    if (result == 0 && watcher_mount != model.watcher.mount) {
        result = call(watcher, op_move, 0, 0, 0);
        watcher_mount = model.watcher.mount;
    }
    if (result == 0 && !model.read_only)
        result = call(watcher, op_write, 0, 0, 0);
    if (result != 0)
        differs("still frozen: a write returned %s", name_of(result));
}

/* A remount that changes nothing returns EBUSY while frozen. */
static void check_remount(void) {
    int expected = model_frozen(&model) || model_freezing(&model) ? -EBUSY : 0;
    int result = mount_again(MS_REMOUNT | (model.read_only ? MS_RDONLY : 0));

    if (result != expected)
        differs("%s: a remount returned %s", expected ? "not frozen" : "still frozen",
                name_of(result));
}

/* The superblock keeps its device busy, until a moment after its last use. */
static void check_superblock(void) {
    int result = open_exclusively();

    if (model_has_superblock(&model)) {
        if (result != -EBUSY)
            differs("not frozen: the superblock is gone; opening its device returned %s",
                    name_of(result));
        return;
    }
    for (int waited = 0; result == -EBUSY && waited < 1500 * slowness(); waited += 20) {
        sleep_ms(20);
        result = open_exclusively();
    }
    if (result != 0)
        differs("the superblock is not gone; opening its device returned %s", name_of(result));
}

static void check_filesystem(void) {
    if (model.suspended && !model.world.dm_freezes)
        return; /* all I/O waits */
    if (model.watcher.state && model_blocks_writes(&model))
        expect_blocked();
    else if (model.watcher.state)
        expect_not_blocked();
    if ((!model.watcher.state || model.read_only) && model.mount &&
        !model_is_open_elsewhere(&model))
        check_remount();
    if (!model.mount && !model_is_open(&model))
        check_superblock();
}

static void take(struct step step) {
    before = model;
    clock_begin_step();
    int result = execute(step);
    stop_if_too_late();
    int expected = model_take(&model, step);
    if (result != expected) {
        char wanted[64];
        snprintf(wanted, sizeof(wanted), "%s", name_of(expected));
        differs("%s, expected %s", name_of(result), wanted);
    }
    if (model.world.descriptors)
        compare_status(step, &before);
    stop_if_too_late();
    for (int i = 0; i < PROCESSES; i++)
        check_process(i);
    if (before.writer && !model.writer)
        reap_and_free(&splicing);
    check_filesystem();
}

void play_script(void) {
    model_begin(&model, play.world, play.mistake);
    clock_set(play.soon);
    open_passage();
    open_view();
    for (int i = 0; i < PROCESSES; i++)
        start(&process[i]);
    watch();
    for (int i = 0; i < play.script->count; i++) {
        play.finding->at = i;
        take(play.script->steps[i]);
    }
}
