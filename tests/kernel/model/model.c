/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "model.h"

const char* const mistake_names[MISTAKES] = {
    [NONE] = "none",
    [NO_OWNER_CHECK] = "no-owner-check",
    [COUNT_SHARED_WITH_BDEV] = "count-shared-with-bdev",
    [THAWS_AT_THE_FIRST] = "thaws-at-the-first",
    [TIMER_NOT_REARMED] = "timer-not-rearmed",
    [TIMER_NOT_MOVED_FORWARD] = "timer-not-moved-forward",
    [EXPIRY_WITHOUT_RECHECK] = "expiry-without-recheck",
    [SYSRQ_ENDS_ONE_HOLD] = "sysrq-ends-one-hold",
    [BDEV_THAW_FAILS] = "bdev-thaw-fails",
    [ENDED_HOLD_FORGOTTEN] = "ended-hold-forgotten",
    [ENTRY_FORGOTTEN] = "entry-forgotten",
    [OLDEST_FIRST] = "oldest-first",
    [GONE_NOT_PREFERRED] = "gone-not-preferred",
    [BEING_KILLED_IS_ALIVE] = "being-killed-is-alive",
    [NEST_IGNORED] = "nest-ignored",
    [TIMEOUT_ARG_NESTS] = "timeout-arg-nests",
    [EXIT_THAWS] = "exit-thaws",
    [RESUME_ENDS_HOLDS] = "resume-ends-holds",
    [UNMOUNT_ENDS_HOLDS] = "unmount-ends-holds",
    [TOLD_TWICE] = "told-twice",
};

/* ---- queries --------------------------------------------------------------------------------- */

int model_live_holds(const struct model* model) {
    int live = 0;

    for (int i = 0; i < model->count; i++)
        live += model->holds[i].live;
    return live;
}

bool model_has_ended_hold(const struct model* model, const struct process* process) {
    for (int i = 0; i < model->count; i++)
        if (model->holds[i].owner == process->owner && !model->holds[i].live)
            return true;
    return false;
}

static bool dm_holds(const struct model* model) {
    return model->suspended && model->world.dm_freezes && !model->stolen;
}

bool model_frozen(const struct model* model) {
    return model_live_holds(model) || dm_holds(model);
}

bool model_blocks_writes(const struct model* model) {
    return model_frozen(model) && !model->read_only;
}

bool model_is_open(const struct model* model) {
    for (int i = 0; i < PROCESSES; i++)
        if (model->process[i].mount)
            return true;
    return model->watcher.mount;
}

static bool is_open_here(const struct model* model) {
    for (int i = 0; i < PROCESSES; i++)
        if (model->process[i].mount == model->mount)
            return true;
    return model->watcher.mount == model->mount;
}

static bool has_other_mount_open(const struct model* model, const struct process* process) {
    return process->mount && process->mount != model->mount;
}

bool model_is_open_elsewhere(const struct model* model) {
    for (int i = 0; i < PROCESSES; i++)
        if (has_other_mount_open(model, &model->process[i]))
            return true;
    return has_other_mount_open(model, &model->watcher);
}

bool model_has_superblock(const struct model* model) {
    return model->mount || model_is_open(model) || model_frozen(model);
}

/* Exited or being killed: it will never use its holds again. */
static bool is_gone(const struct model* model, int owner) {
    for (int i = 0; i < PROCESSES; i++)
        if (model->process[i].owner == owner)
            return !(model->process[i].state == ALIVE ||
                     model->process[i].state == BLOCKED_IN_WRITE ||
                     (model->process[i].state == BEING_KILLED &&
                      model->mistake == BEING_KILLED_IS_ALIVE));
    return true;
}

/* ---- holds ----------------------------------------------------------------------------------- */

static void forget(struct model* model, int at) {
    model->count--;
    memmove(&model->holds[at], &model->holds[at + 1],
            (size_t)(model->count - at) * sizeof(model->holds[0]));
}

static void forget_ended(struct model* model, int owner) {
    for (int i = model->count - 1; i >= 0; i--)
        if (model->holds[i].owner == owner && !model->holds[i].live)
            forget(model, i);
}

static void end_all(struct model* model) {
    for (int i = 0; i < model->count; i++)
        model->holds[i].live = false;
}

static bool has_live(const struct model* model, int owner) {
    for (int i = 0; i < model->count; i++)
        if (model->holds[i].owner == owner && model->holds[i].live)
            return true;
    return false;
}

static int newest_of(const struct model* model, int owner) {
    int i = model->count - 1;

    while (i >= 0 && model->holds[i].owner != owner)
        i--;
    return i;
}

static int newest_live(const struct model* model, bool of_gone_owners) {
    int i = model->count - 1;

    while (i >= 0 &&
           !(model->holds[i].live && (!of_gone_owners || is_gone(model, model->holds[i].owner))))
        i--;
    return i;
}

static int oldest_live(const struct model* model) {
    for (int i = 0; i < model->count; i++)
        if (model->holds[i].live)
            return i;
    return -1;
}

static int rescued(const struct model* model) {
    int at = model->mistake == GONE_NOT_PREFERRED ? -1 : newest_live(model, true);

    if (at >= 0)
        return at;
    return model->mistake == OLDEST_FIRST ? oldest_live(model) : newest_live(model, false);
}

/* The hold that a thaw or reset by @owner (0: has never frozen) affects; or -1. */
static int chosen(const struct model* model, int owner) {
    bool is_own = owner && model->mistake != NO_OWNER_CHECK &&
                  !(model->mistake == ENTRY_FORGOTTEN && newest_of(model, owner) < 0);

    return is_own ? newest_of(model, owner) : rescued(model);
}

/* ---- requests -------------------------------------------------------------------------------- */

static int argument_error(enum period period) {
    if (period == UNREADABLE)
        return -EFAULT;
    return period == NEGATIVE ? -ERANGE : 0;
}

static enum deadline deadline_in(struct model* model, enum period period) {
    static const enum deadline deadlines[PERIODS] = {
        [SOON] = IN_SHORT, [LATER] = IN_LONG, [TEN_MINUTES] = BEYOND_ALL_WAITS};
    enum deadline deadline = deadlines[period];

    if (model->mistake == TIMER_NOT_MOVED_FORWARD && deadline != NEVER)
        for (int i = deadline + 1; i < DEADLINES; i++)
            if (model->running[i])
                deadline = (enum deadline)i;
    model->running[deadline] = true;
    return deadline;
}

static bool nests(const struct model* model, enum verb verb, enum period period) {
    if (verb == FREEZE_FOR || model->nest || model->mistake == NEST_IGNORED)
        return true;
    return model->mistake == TIMEOUT_ARG_NESTS && period != ZERO;
}

static int freeze(struct model* model, struct process* who, enum verb verb, enum period period) {
    int error = argument_error(period);

    if (error)
        return error;
    if (model_live_holds(model) && !nests(model, verb, period))
        return -EBUSY;
    if (!who->owner)
        who->owner = ++model->last_owner;
    if (!has_live(model, who->owner))
        forget_ended(model, who->owner);
    model->holds[model->count++] = (struct hold){who->owner, true, deadline_in(model, period)};
    return 0;
}

static int thaw(struct model* model, const struct process* who) {
    int at = chosen(model, who->owner);

    if (at < 0 && model->mistake == COUNT_SHARED_WITH_BDEV && dm_holds(model)) {
        model->stolen = true;
        return 0;
    }
    if (at < 0)
        return -EINVAL;
    bool live = model->holds[at].live;
    if (live && model->mistake == THAWS_AT_THE_FIRST)
        end_all(model);
    if (who->owner == model->holds[at].owner) {
        if (live || model->mistake != TOLD_TWICE)
            forget(model, at);
    } else {
        model->holds[at].live = false;
    }
    return live ? 0 : -EINVAL;
}

static int reset(struct model* model, const struct process* who, enum period period) {
    int error = argument_error(period);
    int at = chosen(model, who->owner);

    if (error)
        return error;
    if (at < 0 || !model->holds[at].live)
        return -EINVAL;
    model->holds[at].deadline = deadline_in(model, period);
    return 0;
}

static int request(struct model* model, struct process* who, struct step step) {
    enum verb verb = step.verb;

    if (verb == THAW)
        return thaw(model, who);
    if (verb == RESET)
        return reset(model, who, step.period);
    bool has_argument = verb == FREEZE_FOR || (verb == FREEZE_WITH && model->timeout_arg);
    return freeze(model, who, verb, has_argument ? step.period : ZERO);
}

/* ---- time ------------------------------------------------------------------------------------ */

static bool is_due(const struct model* model, const struct hold* hold, enum deadline now) {
    if (!hold->live || hold->deadline == NEVER)
        return false;
    return hold->deadline <= now || model->mistake == EXPIRY_WITHOUT_RECHECK;
}

static void wait_until(struct model* model, enum deadline now) {
    bool any = false;

    for (int i = model->count - 1; i >= 0; i--) {
        if (!is_due(model, &model->holds[i], now))
            continue;
        any = true;
        model->holds[i].live = false;
        if (model->mistake == ENDED_HOLD_FORGOTTEN)
            forget(model, i);
    }
    for (int i = 0; any && model->mistake == TIMER_NOT_REARMED && i < model->count; i++)
        model->holds[i].deadline = NEVER;
    model->running[IN_SHORT] = false;
    if (now == IN_LONG)
        model->running[IN_LONG] = false;
}

/* ---- processes ------------------------------------------------------------------------------- */

static int leave(struct model* model, struct process* process) {
    if (process->state == BLOCKED_IN_WRITE) {
        process->state = BEING_KILLED;
        return 0;
    }
    process->state = ZOMBIE;
    process->mount = 0;
    if (model->mistake == EXIT_THAWS)
        for (int i = model->count - 1; i >= 0; i--)
            if (model->holds[i].owner == process->owner)
                forget(model, i);
    return 0;
}

static int write_one_byte(struct model* model, struct process* process) {
    if (model->read_only)
        return -EROFS;
    if (!model_frozen(model))
        return 0;
    process->state = BLOCKED_IN_WRITE;
    return WRITE_BLOCKS;
}

static int process_step(struct model* model, struct step step) {
    struct process* process = &model->process[step.who];

    switch ((enum verb)step.verb) {
    case WRITE:
        return write_one_byte(model, process);
    case OPEN:
        process->mount = model->mount;
        return 0;
    case CLOSE:
        process->mount = 0;
        return 0;
    case START:
        *process = (struct process){ALIVE, model->mount, 0};
        return 0;
    case REAP:
        *process = (struct process){0};
        return 0;
    default: /* EXIT, KILL */
        return leave(model, process);
    }
}

/* ---- mounts and devices ---------------------------------------------------------------------- */

static int mount(struct model* model) {
    if (model->mount)
        return -EBUSY;
    model->mount = ++model->last_mount;
    return 0;
}

static int unmount(struct model* model, bool lazily) {
    if (!lazily && is_open_here(model))
        return -EBUSY;
    model->mount = 0;
    if (model->mistake == UNMOUNT_ENDS_HOLDS)
        end_all(model);
    return 0;
}

static int remount(struct model* model, bool read_only) {
    if (model_frozen(model))
        return -EBUSY;
    model->read_only = read_only;
    return 0;
}

static int resume(struct model* model) {
    model->suspended = model->stolen = false;
    if (model->mistake == RESUME_ENDS_HOLDS)
        end_all(model);
    return 0;
}

static int emergency(struct model* model) {
    if (model->suspended && model->mistake == BDEV_THAW_FAILS)
        model->world.dm_freezes = false;
    model->suspended = model->stolen = false;
    if (model->mistake == SYSRQ_ENDS_ONE_HOLD && model_live_holds(model))
        model->holds[newest_live(model, false)].live = false;
    else
        end_all(model);
    return 0;
}

static int switch_to(bool* what, bool value) {
    *what = value;
    return 0;
}

static int common_step(struct model* model, enum verb verb) {
    switch (verb) {
    case SUSPEND:
        return switch_to(&model->suspended, true);
    case RESUME:
        return resume(model);
    case MOUNT:
        return mount(model);
    case UNMOUNT:
    case UNMOUNT_LAZILY:
        return unmount(model, verb == UNMOUNT_LAZILY);
    case REMOUNT_RO:
    case REMOUNT_RW:
        return remount(model, verb == REMOUNT_RO);
    case SYSRQ_J:
        return emergency(model);
    case NEST:
    case NO_NEST:
        return switch_to(&model->nest, verb == NEST);
    case TIMEOUT_ARG:
    case NO_TIMEOUT_ARG:
        return switch_to(&model->timeout_arg, verb == TIMEOUT_ARG);
    case WATCH:
        model->watcher = (struct process){ALIVE, model->mount, 0};
        return 0;
    case UNWATCH:
        model->watcher = (struct process){0};
        return 0;
    default:
        wait_until(model, verb == WAIT_SOON ? IN_SHORT : IN_LONG);
        return 0;
    }
}

/* ---- consequences ---------------------------------------------------------------------------- */

static void unblock(struct model* model) {
    for (int i = 0; i < PROCESSES; i++) {
        struct process* process = &model->process[i];
        if (process->state == BLOCKED_IN_WRITE)
            process->state = ALIVE;
        if (process->state == BEING_KILLED)
            *process = (struct process){ZOMBIE, 0, process->owner};
    }
    /* It opens the present mount. */
    if (model->watcher.state && model->mount)
        model->watcher.mount = model->mount;
}

static void forget_superblock(struct model* model) {
    model->count = 0;
    model->read_only = false;
    for (int i = 0; i < PROCESSES; i++)
        model->process[i].owner = 0;
}

/* The owner is gone, so that they cannot be reported. */
static void forget_unreported(struct model* model) {
    for (int i = model->count - 1; i >= 0; i--)
        if (!model->holds[i].live && is_gone(model, model->holds[i].owner))
            forget(model, i);
}

int model_take(struct model* model, struct step step) {
    struct process admin = {ALIVE, model->mount, 0};
    int result;

    if (step.verb <= RESET)
        result = request(model, step.who == ADMIN ? &admin : &model->process[step.who], step);
    else if (has_process(step.verb))
        result = process_step(model, step);
    else
        result = common_step(model, step.verb);
    forget_unreported(model);
    if (!model_blocks_writes(model))
        unblock(model);
    if (!model_has_superblock(model))
        forget_superblock(model);
    return result;
}

/* ---- allowed steps --------------------------------------------------------------------------- */

static bool allows_process(const struct model* model, enum verb verb,
                           const struct process* process) {
    switch (verb) {
    case OPEN:
        return process->state == ALIVE && !process->mount && model->mount;
    case START:
        return process->state == ABSENT && model->mount;
    case EXIT:
        return process->state == ALIVE;
    case KILL:
        return process->state == ALIVE || process->state == BLOCKED_IN_WRITE;
    case REAP:
        return process->state == ZOMBIE;
    case WRITE:
        /* The freeze does not block it, but it may have to read the directory. */
        if (model->suspended && model->read_only)
            return false;
        break;
    default: /* CLOSE, requests */
        break;
    }
    return process->state == ALIVE && process->mount;
}

static bool allows_common(const struct model* model, enum verb verb) {
    switch (verb) {
    case SUSPEND:
        return !model->suspended && model_has_superblock(model);
    case RESUME:
        return model->suspended;
    case MOUNT:
        return !model->suspended || model->world.mounts_suspended;
    case UNMOUNT:
    case UNMOUNT_LAZILY:
        return model->mount;
    case REMOUNT_RO:
    case REMOUNT_RW:
        return model->mount && !model_is_open_elsewhere(model);
    case SYSRQ_J:
        return model_has_superblock(model);
    case WATCH:
        return !model->watcher.state && model->mount;
    case UNWATCH:
        return model->watcher.state && !model_blocks_writes(model);
    case WAIT_SOON:
        return model->running[IN_SHORT];
    case WAIT_LATER:
        return model->running[IN_LONG];
    default: /* sysctls */
        return !model->world.old_requests_only;
    }
}

static bool allows_request(const struct model* model, struct step step) {
    bool is_new = step.verb == FREEZE_FOR || step.verb == RESET;

    if (is_new && model->world.old_requests_only)
        return false;
    if (step.verb != THAW && step.verb != RESET && model->count == MOST_HOLDS)
        return false;
    if (step.who == ADMIN)
        return model->mount;
    return allows_process(model, step.verb, &model->process[step.who]);
}

bool model_allows(const struct model* model, struct step step) {
    /* While the device is suspended, all I/O waits for the resume. */
    if (model->suspended && !model->world.dm_freezes)
        return step.verb == RESUME;
    if (step.verb <= RESET)
        return allows_request(model, step);
    if (has_process(step.verb))
        return step.who != ADMIN && allows_process(model, step.verb, &model->process[step.who]);
    return allows_common(model, step.verb);
}

void model_begin(struct model* model, const struct world* world, enum mistake mistake) {
    *model = (struct model){.world = *world, .mistake = mistake, .nest = true};
    model->mount = ++model->last_mount;
    for (int i = 0; i < PROCESSES; i++)
        model->process[i] = (struct process){ALIVE, model->mount, 0};
    model->watcher = model->process[0];
}

struct script model_allowed_part(const struct script* script, const struct world* world) {
    struct script allowed = {0};
    struct model model;

    model_begin(&model, world, NONE);
    for (int i = 0; i < script->count; i++) {
        if (!model_allows(&model, script->steps[i]))
            continue;
        model_take(&model, script->steps[i]);
        script_add(&allowed, script->steps[i]);
    }
    return allowed;
}
