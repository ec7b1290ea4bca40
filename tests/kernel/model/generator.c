/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "generator.h"

/*
 * Waiting for a deadline costs seconds, so timeouts that expire are rare but come several at a
 * time. Only a few steps may pass from then until the wait, so that a slow machine makes them in
 * time. When holds have ended, their owners often ask about them.
 */
enum {
    TIMEOUTS_ONE_IN = 16,   /* of all requests with a period */
    STEPS_WITHIN_SHORT = 9, /* from the first timeout to the wait */
    STEPS_BETWEEN_WAITS = 5,
    STEPS_AFTER_END = 6,
    ALL_CLOSE_ONE_IN = 70,
    SELF_BLOCK_ONE_IN = 120,
    SAME_PROCESS_ONE_IN = 3,
    MANY_HOLDS = 8,
};

struct generator {
    uint64_t state;
    struct model model;
    struct script script;
    int since_timeout; /* steps; negative: no timer is running */
    bool waited_short;
    int since_end;
    unsigned char last_who;
};

/* splitmix64 */
static uint64_t next_random(struct generator* g) {
    uint64_t z = g->state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static unsigned below(struct generator* g, unsigned limit) {
    return (unsigned)(next_random(g) % limit);
}

static bool one_in(struct generator* g, unsigned n) {
    return below(g, n) == 0;
}

/* ---- one step -------------------------------------------------------------------------------- */

static const unsigned char weights[VERBS] = {
    [FREEZE] = 40,        [FREEZE_WITH] = 28, [FREEZE_FOR] = 20, [THAW] = 80,
    [RESET] = 24,         [WRITE] = 8,        [OPEN] = 60,       [CLOSE] = 5,
    [START] = 60,         [EXIT] = 8,         [KILL] = 10,       [REAP] = 30,
    [SUSPEND] = 14,       [RESUME] = 24,      [MOUNT] = 2,       [UNMOUNT] = 5,
    [UNMOUNT_LAZILY] = 4, [REMOUNT_RO] = 4,   [REMOUNT_RW] = 8,  [SYSRQ_J] = 2,
    [NEST] = 4,           [NO_NEST] = 4,      [TIMEOUT_ARG] = 4, [NO_TIMEOUT_ARG] = 3,
    [WATCH] = 40,         [UNWATCH] = 1,      [FREEZE_FD] = 50,  [FREEZE_FD_WITHIN] = 30,
    [FD_THAW] = 40,       [FD_EXTEND] = 24,   [FD_KEEP] = 16,    [FD_POLL] = 30,
    [FD_CLOSE] = 20,      [FD_DUP] = 16,      [FD_SEND] = 14,    [FD_RECEIVE] = 60,
    [DIE_FREEZING] = 6,   [DIE_THAWING] = 10, [FORK] = 10,       [LOSE] = 8,
    [STICK] = 30,         [UNSTICK] = 20,
};

static unsigned weight(const struct generator* g, enum verb verb) {
    const struct model* model = &g->model;

    if (verb == THAW && model_live_holds(model) > MANY_HOLDS)
        return 3 * weights[verb];
    if (verb == MOUNT && !model->mount)
        return 60 * weights[verb];
    if ((verb == NEST && model->nest) || (verb == TIMEOUT_ARG && model->timeout_arg) ||
        (verb == NO_NEST && !model->nest) || (verb == NO_TIMEOUT_ARG && !model->timeout_arg) ||
        (verb == REMOUNT_RW && !model->read_only))
        return 1;
    return weights[verb];
}

static enum verb random_verb(struct generator* g) {
    unsigned total = 0;

    for (int verb = 0; verb < VERBS; verb++)
        total += weight(g, (enum verb)verb);
    unsigned at = below(g, total);
    int verb = 0;
    while (at >= weight(g, (enum verb)verb))
        at -= weight(g, (enum verb)verb++);
    return (enum verb)verb;
}

static enum period random_period(struct generator* g) {
    static const enum period endless[] = {ZERO,        ONE,         ZERO,     TEN_MINUTES, ONE,
                                          TEN_MINUTES, TEN_MINUTES, NEGATIVE, UNREADABLE};
    bool timers_run = g->since_timeout >= 0;

    if (timers_run ? !one_in(g, 3) : one_in(g, TIMEOUTS_ONE_IN))
        return g->waited_short || one_in(g, 2) ? LATER : SOON;
    return endless[below(g, sizeof(endless) / sizeof(endless[0]))];
}

/* Often the same process again, so that it has several holds. */
static unsigned char random_process(struct generator* g, bool or_admin) {
    if (!one_in(g, SAME_PROCESS_ONE_IN) || (g->last_who == ADMIN && !or_admin))
        g->last_who = (unsigned char)below(g, or_admin ? PROCESSES + 1 : PROCESSES);
    return g->last_who;
}

/* Preferably one with an ended hold. */
static unsigned char process_that_asks(struct generator* g) {
    unsigned first = below(g, PROCESSES);

    for (unsigned i = 0; i < PROCESSES; i++) {
        unsigned who = (first + i) % PROCESSES;
        if (model_has_ended_hold(&g->model, &g->model.process[who]))
            return g->last_who = (unsigned char)who;
    }
    return random_process(g, false);
}

/* Preferably one that the process has, or one that it does not have. */
static unsigned char random_number(struct generator* g, struct step step) {
    bool makes = step.verb <= FREEZE_FD_WITHIN || step.verb == FD_RECEIVE;
    unsigned char number = (unsigned char)below(g, NUMBERS);

    if (step.who != ADMIN && !g->model.process[step.who].fd[number] != makes)
        return !number;
    return number;
}

static struct step random_step(struct generator* g) {
    static const enum verb with_timer[] = {FREEZE_FOR, FREEZE_FOR, RESET, FREEZE_FD, FD_EXTEND};
    unsigned timers = g->model.world.descriptors ? 5 : 3;
    struct step step = {.verb = (unsigned char)random_verb(g)};

    if (g->since_timeout >= 0 && one_in(g, 2))
        step.verb = (unsigned char)with_timer[below(g, timers)];
    bool asks = g->since_timeout < 0 && g->since_end < STEPS_AFTER_END && one_in(g, 3);
    if (asks)
        return (struct step){THAW, process_that_asks(g), 0, 0};
    if (has_process(step.verb))
        step.who = random_process(g, step.verb <= RESET);
    if (has_number(step.verb))
        step.number = random_number(g, step);
    if (has_period(step.verb))
        step.period = (unsigned char)random_period(g);
    return step;
}

/* ---- scripts --------------------------------------------------------------------------------- */

static void count_since_timeout(struct generator* g) {
    const bool* running = g->model.running;

    if (!running[IN_SHORT] && !running[IN_LONG]) {
        g->since_timeout = -1;
        g->waited_short = false;
    } else {
        g->since_timeout++;
    }
}

/* Other than by their owners. */
static bool ends_holds(struct step step) {
    return step.verb >= WAIT_SOON || step.verb == SYSRQ_J ||
           (step.verb == THAW && step.who == ADMIN);
}

static bool take(struct generator* g, struct step step) {
    if (!model_allows(&g->model, step))
        return false;
    model_take(&g->model, step);
    script_add(&g->script, step);
    count_since_timeout(g);
    g->since_end = ends_holds(step) ? 0 : g->since_end + 1;
    return true;
}

static void take_verb(struct generator* g, enum verb verb) {
    take(g, (struct step){.verb = (unsigned char)verb});
}

static void take_all(struct generator* g, enum verb verb) {
    for (int who = 0; who < PROCESSES; who++)
        take(g, (struct step){(unsigned char)verb, (unsigned char)who, 0, 0});
}

static void wait_when_due(struct generator* g) {
    const bool* running = g->model.running;
    int limit = g->waited_short ? STEPS_BETWEEN_WAITS : STEPS_WITHIN_SHORT;

    if (g->since_timeout < limit)
        return;
    if (running[IN_SHORT] && !g->waited_short) {
        g->waited_short = true;
        g->since_timeout = 0;
        take_verb(g, WAIT_SOON);
    } else {
        take_verb(g, running[IN_LONG] ? WAIT_LATER : WAIT_SOON);
    }
}

/* No process has it open, so that it can be unmounted and the superblock may go away. */
static void close_and_unmount(struct generator* g) {
    take_verb(g, UNWATCH);
    if (one_in(g, 2))
        take(g, (struct step){FREEZE, (unsigned char)below(g, PROCESSES + 1), 0, 0});
    take_all(g, CLOSE);
    take_verb(g, UNMOUNT);
}

/* A freezer writes to its own frozen filesystem and is killed; its hold is not the newest. */
static void block_on_own_freeze(struct generator* g) {
    unsigned char who = (unsigned char)below(g, PROCESSES);
    unsigned char other = (unsigned char)((who + 1 + below(g, PROCESSES - 1)) % PROCESSES);

    take(g, (struct step){FREEZE, who, 0, 0});
    take(g, (struct step){FREEZE, other, 0, 0});
    take(g, (struct step){WRITE, who, 0, 0});
    take(g, (struct step){KILL, who, 0, 0});
    take(g, (struct step){THAW, ADMIN, 0, 0});
    take(g, (struct step){THAW, other, 0, 0});
}

/* The maker of a descriptor is killed; another process has the descriptor, and a newer hold. */
static void pass_on_and_die(struct generator* g) {
    unsigned char who = (unsigned char)below(g, PROCESSES);
    unsigned char other = (unsigned char)((who + 1 + below(g, PROCESSES - 1)) % PROCESSES);

    take(g, (struct step){FREEZE_FD, who, ZERO, 0});
    take(g, (struct step){FD_SEND, who, ZERO, 0});
    take(g, (struct step){KILL, who, ZERO, 0});
    take(g, (struct step){FD_RECEIVE, other, ZERO, 1});
    take(g, (struct step){FREEZE, other, ZERO, 0});
    take(g, (struct step){THAW, ADMIN, ZERO, 0});
    take(g, (struct step){FD_POLL, other, ZERO, 1});
}

/* Mounted, writable and not frozen, as at the start; no hold is left. */
static void restore(struct generator* g) {
    take_verb(g, UNSTICK);
    take_verb(g, RESUME);
    take_verb(g, g->model.running[IN_LONG] ? WAIT_LATER : WAIT_SOON);
    take_verb(g, WAIT_SOON);
    if (!g->model.mount)
        take_verb(g, MOUNT);
    while (model_live_holds(&g->model))
        take(g, (struct step){THAW, ADMIN, 0, 0});
    take(g, (struct step){THAW, ADMIN, 0, 0});
    take_verb(g, LOSE);
    take_all(g, CLOSE);
    take_verb(g, REMOUNT_RW);
    take_verb(g, WATCH);
    take_verb(g, NEST);
    take_verb(g, NO_TIMEOUT_ARG);
}

struct script generate(uint64_t seed, int count, const struct world* world) {
    struct generator g = {.state = seed, .since_timeout = -1, .since_end = STEPS_AFTER_END};

    model_begin(&g.model, world, NONE);
    while (g.script.count < count) {
        wait_when_due(&g);
        if (g.since_timeout < 0 && one_in(&g, ALL_CLOSE_ONE_IN))
            close_and_unmount(&g);
        if (g.since_timeout < 0 && one_in(&g, SELF_BLOCK_ONE_IN))
            block_on_own_freeze(&g);
        if (g.since_timeout < 0 && world->descriptors && one_in(&g, SELF_BLOCK_ONE_IN))
            pass_on_and_die(&g);
        take(&g, random_step(&g));
    }
    restore(&g);
    return g.script;
}
