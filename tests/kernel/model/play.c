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

static struct model model, before; /* before: as of the step before */
static struct actor* process[PROCESSES];
static struct actor* watcher;
static int watcher_mount;

/* ---- what is found --------------------------------------------------------------------------- */

/* Mounted, so that whoever sets things right gets at it. */
static void stop(void) __attribute__((noreturn));
static void stop(void) {
    if (!model.mount)
        mount_again(model.read_only ? MS_RDONLY : 0);
    _exit(FAILED);
}

static void differs(const char* format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void differs(const char* format, ...) {
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(play.finding->what, sizeof(play.finding->what), format, arguments);
    va_end(arguments);
    play.finding->differs = true;
    stop();
}

/* Nothing can be said of what came after a deadline that was not to pass yet. */
static void stop_if_overtaken(void) {
    if (!clock_overtaken(now_ns()))
        return;
    play.finding->overtaken = true;
    stop();
}

static const char* name_of(int result) {
    static char text[64];

    snprintf(text, sizeof(text), "%s", result_name(result == HELD_BACK ? BLOCKED : result));
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
    return step.verb | step.period << 8;
}

/* In the actor. */
static int op_request_packed(long request, long b, long c) {
    static const unsigned int codes[] = {[FREEZE] = FIFREEZE,
                                         [FREEZE_WITH] = FIFREEZE,
                                         [FREEZE_FOR] = FIFREEZE_TIMEOUT,
                                         [THAW] = FITHAW,
                                         [RESET] = FIFREEZE_RESET_TIMEOUT};
    enum verb verb = request & 0xff;
    enum period period = request >> 8;
    __s64 seconds = seconds_of(period);
    unsigned long argument = period == UNREADABLE ? 8 : (unsigned long)&seconds;

    (void)b, (void)c;
    return result_of(ioctl(here, codes[verb], has_period(verb) ? argument : 0));
}

static int take_request(struct step step) {
    int64_t begun = latest_tick();
    int result = step.who == PASSER_BY
                     ? elsewhere(actor, op_request_packed, packed(step), patience_ms())
                     : call(process[step.who], op_request_packed, packed(step), 0, 0);

    bool is_read = step.verb == FREEZE_WITH ? model.timeout_arg : has_period(step.verb);
    if (result == 0 && is_read)
        clock_start(step.period, begun, now_ns());
    return result;
}

/* ---- writes that wait ------------------------------------------------------------------------ */

enum { KNOWN_TO_WAIT, KNOWN_NOT_TO, UNKNOWN };

/* Where the kernel says that it sleeps. */
static int waits_for_the_thaw(pid_t pid) {
    char path[32], text[128];

    if (task_state(pid) != 'D')
        return KNOWN_NOT_TO;
    snprintf(path, sizeof(path), "/proc/%d/wchan", pid);
    if (read_file(path, text, sizeof(text)) <= 0 || !strcmp(text, "0"))
        return UNKNOWN;
    return strstr(text, "percpu") ? KNOWN_TO_WAIT : KNOWN_NOT_TO;
}

/* False if it comes to an end instead. */
static bool is_held_back(struct actor* who) {
    for (int waited = 0; waited < patience_ms() && !finished(who); waited++) {
        int waits = waits_for_the_thaw(who->pid);
        if (waits == KNOWN_TO_WAIT)
            return true;
        if (waits == UNKNOWN)
            return blocks(who);
        sleep_ms(1);
    }
    return false;
}

static int begin_write(struct actor* who) {
    begin(who, op_write, 0, 0, 0);
    return is_held_back(who) ? HELD_BACK : finish(who, 0);
}

/* ---- processes ------------------------------------------------------------------------------- */

static int start(struct actor** who) {
    *who = actor();
    return 0;
}

static int leave(struct actor* who, bool of_its_own_will) {
    bool trapped = who->busy;

    if (of_its_own_will)
        actor_exit(who);
    else
        kill_actor(who);
    return trapped || dies(who, patience_ms()) ? 0 : BLOCKED;
}

static int bury(struct actor** who) {
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
        return bury(who);
    default:
        return leave(*who, step.verb == EXIT);
    }
}

/* ---- everything else ------------------------------------------------------------------------- */

/* Where the device is suspended, the thaw may wait for the resume. */
static int press_j(void) {
    static const char* const words[] = {"Emergency", "Thaw", "complete", NULL};
    int mark = log_mark(), result = write_file("/proc/sysrq-trigger", "j"), seen = 0;

    if (result == 1 && model.suspended) {
        sleep_ms(30);
        result = resume() == 0 ? 1 : -EIO;
    }
    for (int waited = 0; waited < patience_ms() && !seen; waited += 5) {
        seen = log_count(mark, words, NULL);
        sleep_ms(seen ? 0 : 5);
    }
    close(mark);
    return result != 1 ? result : seen ? 0 : BLOCKED;
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
    return bury(&watcher);
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
    case WATCH:
        return watch();
    case UNWATCH:
        return unwatch();
    default:
        clock_wait(verb == WAIT_SOON ? SOON : LATER);
        return 0;
    }
}

static int take_for_real(struct step step) {
    if (step.verb <= RESET)
        return take_request(step);
    return has_process(step.verb) ? take_process_step(step) : take_common_step(step.verb);
}

/* ---- is it as foretold? ---------------------------------------------------------------------- */

static void look_at_process(int i) {
    enum life was = before.process[i].life, is = model.process[i].life;
    bool waits = is == TRAPPED || is == DOOMED, waited = was == TRAPPED || was == DOOMED;

    if (is == TRAPPED && finished(process[i]))
        differs("the write of %c, which has to wait, came to %s", 'a' + i,
                name_of(process[i]->last.result));
    if (is == DOOMED && task_state(process[i]->pid) != 'D')
        differs("%c, which waits and is being killed, is let go", 'a' + i);
    if (waits || !waited)
        return;
    if (is == ALIVE && finish(process[i], patience_ms()) != 0)
        differs("the write of %c, which has waited: %s, not 0", 'a' + i,
                name_of(finish(process[i], 0)));
    if (is == ZOMBIE && !dies(process[i], patience_ms()))
        differs("%c, which was being killed, is not let go", 'a' + i);
}

static void expect_held_back(void) {
    if (!watcher->busy && begin_write(watcher) != HELD_BACK)
        differs("not frozen: a write came to %s", name_of(watcher->last.result));
    if (finished(watcher) || (task_state(watcher->pid) != 'D' && !is_held_back(watcher)))
        differs("not frozen: the write that has to wait came to %s", name_of(watcher->last.result));
}

/* What the watcher has open is the present mount. */
static int op_move(long a, long b, long c) {
    int old = here;

    (void)a, (void)b, (void)c;
    int result = op_reopen(0, 0, 0);
    close(old);
    return result;
}

static void expect_let_through(void) {
    int result = watcher->busy ? finish(watcher, patience_ms()) : 0;

    if (result == 0 && watcher_mount != model.watcher.mount) {
        result = call(watcher, op_move, 0, 0, 0);
        watcher_mount = model.watcher.mount;
    }
    if (result == 0 && !model.read_only)
        result = call(watcher, op_write, 0, 0, 0);
    if (result != 0)
        differs("frozen still: a write: %s", name_of(result));
}

/* A remount that changes nothing is EBUSY while frozen. */
static void remount_in_vain(void) {
    int expected = model_frozen(&model) ? -EBUSY : 0;
    int result = mount_again(MS_REMOUNT | (model.read_only ? MS_RDONLY : 0));

    if (result != expected)
        differs("%s: a remount: %s", expected ? "not frozen" : "frozen still", name_of(result));
}

static int open_device(void) {
    return elsewhere(actor_outside, op_open_exclusively, 0, patience_ms());
}

/* While there is a superblock, the device is its own. It goes a moment after the last use. */
static void look_for_superblock(void) {
    int result = open_device();

    if (model_has_superblock(&model)) {
        if (result != -EBUSY)
            differs("not frozen: the superblock is gone; opening its device: %s", name_of(result));
        return;
    }
    for (int waited = 0; result == -EBUSY && waited < 1500 * slowness(); waited += 20) {
        sleep_ms(20);
        result = open_device();
    }
    if (result != 0)
        differs("the superblock is not gone; opening its device: %s", name_of(result));
}

static void look_at_filesystem(void) {
    if (model.suspended && !model.world.dm_freezes)
        return; /* whatever does I/O waits */
    if (model.watcher.life && model_holds_writes_back(&model))
        expect_held_back();
    else if (model.watcher.life)
        expect_let_through();
    if ((!model.watcher.life || model.read_only) && model.mount && !model_is_open_elsewhere(&model))
        remount_in_vain();
    if (!model.mount && !model_is_open(&model))
        look_for_superblock();
}

static void take(struct step step) {
    before = model;
    int result = take_for_real(step);
    stop_if_overtaken();
    int expected = model_take(&model, step);
    if (result != expected) {
        char wanted[64];
        snprintf(wanted, sizeof(wanted), "%s", name_of(expected));
        differs("%s, not %s", name_of(result), wanted);
    }
    for (int i = 0; i < PROCESSES; i++)
        look_at_process(i);
    look_at_filesystem();
}

void play_script(void) {
    model_begin(&model, play.world, play.mistake);
    clock_set(play.soon);
    for (int i = 0; i < PROCESSES; i++)
        start(&process[i]);
    watch();
    for (int i = 0; i < play.script->count; i++) {
        play.finding->at = i;
        take(play.script->steps[i]);
    }
}
