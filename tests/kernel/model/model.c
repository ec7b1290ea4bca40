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
    [CLOSE_KEEPS_HOLD] = "close-keeps-hold",
    [FIRST_CLOSE_THAWS] = "first-close-thaws",
    [FD_MAKES_ENTRY] = "fd-makes-entry",
    [RESCUE_IGNORES_FDS] = "rescue-ignores-fds",
    [MAKER_GONE_IS_GONE] = "maker-gone-is-gone",
    [STALE_THAW_SUCCEEDS] = "stale-thaw-succeeds",
    [EXTEND_IGNORED] = "extend-ignored",
    [KEEP_LOSES_DEADLINE] = "keep-loses-deadline",
    [KEPT_HOLD_IS_CLOSED] = "kept-hold-is-closed",
    [OWN_THAW_IS_POLLED] = "own-thaw-is-polled",
    [END_IS_NOT_POLLED] = "end-is-not-polled",
    [KILLED_FREEZE_GOES_ON] = "killed-freeze-goes-on",
    [LIMIT_FREEZES_LATER] = "limit-freezes-later",
    [PENDING_NOT_REPORTED] = "pending-not-reported",
    [GONE_NOT_REPORTED] = "gone-not-reported",
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

bool model_freezing(const struct model* model) {
    return model->writer == STUCK && model->waiters;
}

bool model_blocks_writes(const struct model* model) {
    return (model_frozen(model) || model_freezing(model)) && !model->read_only;
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

static int process_with_id(const struct model* model, int id) {
    for (int i = 0; i < PROCESSES; i++)
        if (model->process[i].id == id)
            return i;
    return NOBODY;
}

static bool is_alive(const struct model* model, int who) {
    return who != NOBODY && model->process[who].state != ABSENT &&
           model->process[who].state != ZOMBIE;
}

/* Exited or being killed: it will never use its holds again. */
static bool is_gone(const struct model* model, int owner) {
    if (owner < 0)
        return model->mistake == MAKER_GONE_IS_GONE &&
               !is_alive(model, process_with_id(model, model->files[-owner].maker));
    for (int i = 0; i < PROCESSES; i++)
        if (model->process[i].owner == owner)
            return !(model->process[i].state == ALIVE || model->process[i].state == FREEZING ||
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

/* Other than by its holder. A process is told by a thaw, which forgets the hold. */
static void end(struct model* model, int at) {
    int owner = model->holds[at].owner;

    model->holds[at].live = false;
    if (owner < 0) {
        model->files[-owner].state = ENDED;
        forget(model, at);
    }
}

static void end_all(struct model* model) {
    for (int i = model->count - 1; i >= 0; i--)
        end(model, i);
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
           !(model->holds[i].live && (!of_gone_owners || is_gone(model, model->holds[i].owner)) &&
             !(model->mistake == RESCUE_IGNORES_FDS && model->holds[i].owner < 0)))
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
    static const enum deadline deadlines[PERIODS] = {[SOON] = IN_SHORT,
                                                     [LATER] = IN_LONG,
                                                     [TEN_MINUTES] = BEYOND_ALL_WAITS,
                                                     [NEGATIVE] = IN_AGES};
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
    bool live = model->holds[at].live, own = who->owner == model->holds[at].owner;
    if (live && model->mistake == THAWS_AT_THE_FIRST)
        end_all(model);
    else if (!own)
        end(model, at);
    if (own && (live || model->mistake != TOLD_TWICE))
        forget(model, newest_of(model, who->owner));
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

/* ---- descriptors ----------------------------------------------------------------------------- */

static int hold_of(const struct model* model, int file) {
    return newest_of(model, -file);
}

static void drop(struct model* model, int file) {
    model->files[file].state = DROPPED;
    forget(model, hold_of(model, file));
}

static void close_file(struct model* model, int* fd) {
    struct file* file = &model->files[*fd];

    if (*fd && file->state == HELD && model->mistake == FIRST_CLOSE_THAWS)
        drop(model, *fd);
    if (*fd && --file->references == 0 && file->state == HELD) {
        if (model->mistake == CLOSE_KEEPS_HOLD)
            model->holds[hold_of(model, *fd)].owner = ++model->last_owner;
        else
            drop(model, *fd);
    }
    *fd = 0;
}

/* A millisecond is over at once. */
static void set_deadline(struct model* model, int at, enum period period) {
    if (period == ONE)
        end(model, at);
    else
        model->holds[at].deadline = deadline_in(model, period);
}

static int freeze_fd(struct model* model, struct process* who, struct step step) {
    int file = 1;

    close_file(model, &who->fd[step.number]);
    while (model->files[file].references)
        file++;
    model->files[file] = (struct file){1, who->id, HELD};
    who->fd[step.number] = file;
    model->holds[model->count] = (struct hold){-file, true, NEVER};
    set_deadline(model, model->count++, step.period);
    if (model->mistake == FD_MAKES_ENTRY && !who->owner)
        who->owner = ++model->last_owner;
    return 0;
}

/* Adds it on top of the holds of the process. */
static int keep(struct model* model, struct process* who, int file) {
    enum deadline deadline = model->holds[hold_of(model, file)].deadline;

    if (model->mistake == KEPT_HOLD_IS_CLOSED)
        return 0;
    drop(model, file);
    freeze(model, who, FREEZE_FOR, ZERO);
    if (model->mistake != KEEP_LOSES_DEADLINE)
        model->holds[model->count - 1].deadline = deadline;
    return 0;
}

static bool polled(const struct model* model, const struct file* file) {
    return (file->state == ENDED && model->mistake != END_IS_NOT_POLLED) ||
           (file->state == DROPPED && model->mistake == OWN_THAW_IS_POLLED);
}

/* FSFREEZE_THAW, FSFREEZE_EXTEND or FSFREEZE_KEEP. */
static int file_request(struct model* model, struct process* who, struct step step) {
    int file = who->fd[step.number];

    if (step.verb == FD_EXTEND && step.period == UNREADABLE)
        return -EFAULT;
    if (model->files[file].state != HELD)
        return step.verb == FD_THAW && model->mistake == STALE_THAW_SUCCEEDS ? 0 : -ESTALE;
    if (step.verb == FD_KEEP)
        return keep(model, who, file);
    if (step.verb == FD_THAW)
        drop(model, file);
    else if (model->mistake != EXTEND_IGNORED)
        set_deadline(model, hold_of(model, file), step.period);
    return 0;
}

static int file_step(struct model* model, struct process* who, struct step step) {
    int* other = &who->fd[!step.number];

    switch ((enum verb)step.verb) {
    case FD_POLL:
        return polled(model, &model->files[who->fd[step.number]]) ? EVENT : 0;
    case FD_CLOSE:
        close_file(model, &who->fd[step.number]);
        return 0;
    case FD_RECEIVE:
        who->fd[step.number] = model->in_transit;
        model->in_transit = 0;
        return 0;
    case FD_SEND:
        other = &model->in_transit;
        /* fall through */
    case FD_DUP:
        *other = who->fd[step.number];
        model->files[*other].references++;
        return 0;
    default:
        return file_request(model, who, step);
    }
}

/* ---- freezes that wait ----------------------------------------------------------------------- */

static int wait_for_writer(struct model* model, struct step step) {
    struct process* who = &model->process[step.who];

    if (step.verb == FREEZE_FD_WITHIN && model->mistake != LIMIT_FREEZES_LATER)
        return -ETIMEDOUT;
    if (model->waiters < WAITERS)
        model->waiting[model->waiters++] = step.who;
    who->waiting = step;
    if (step.verb == FREEZE_FD_WITHIN)
        return -ETIMEDOUT;
    who->state = FREEZING;
    return BLOCKS;
}

static void give_up(struct model* model, int who) {
    bool was_first = model->waiting[0] == who;

    if (model->mistake == KILLED_FREEZE_GOES_ON)
        return;
    if (was_first)
        model->waiting[0] = model->waiting[1];
    model->waiters--;
    model->gap = was_first && model->waiters;
}

static int request(struct model* model, struct process* who, struct step step) {
    enum verb verb = step.verb;
    bool of_fd = verb == FREEZE_FD || verb == FREEZE_FD_WITHIN;
    bool has_argument = verb == FREEZE_FOR || (verb == FREEZE_WITH && model->timeout_arg);
    enum period period = has_argument ? step.period : ZERO;

    if (verb == THAW)
        return thaw(model, who);
    if (verb == RESET)
        return reset(model, who, step.period);
    if (of_fd && step.period == UNREADABLE)
        return -EFAULT;
    if (!of_fd && argument_error(period))
        return argument_error(period);
    if (model->writer == STUCK)
        return wait_for_writer(model, step);
    return of_fd ? freeze_fd(model, who, step) : freeze(model, who, verb, period);
}

static int unstick(struct model* model) {
    bool anybody = model->waiters;

    model->writer = NO_WRITER;
    for (int i = 0; i < model->waiters; i++) {
        struct process* who = &model->process[model->waiting[i]];
        if (who->state == FREEZING)
            who->state = ALIVE;
        who->result = request(model, who, who->waiting);
    }
    model->waiters = 0;
    if (anybody)
        model->writer = LINGERING;
    return 0;
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
        bool of_file = model->holds[i].owner < 0;
        end(model, i);
        if (model->mistake == ENDED_HOLD_FORGOTTEN && !of_file)
            forget(model, i);
    }
    for (int i = 0; any && model->mistake == TIMER_NOT_REARMED && i < model->count; i++)
        model->holds[i].deadline = NEVER;
    model->running[IN_SHORT] = false;
    if (now == IN_LONG)
        model->running[IN_LONG] = false;
}

/* ---- processes ------------------------------------------------------------------------------- */

static void become_zombie(struct model* model, struct process* process) {
    process->state = ZOMBIE;
    process->mount = 0;
    for (int i = 0; i < NUMBERS; i++)
        close_file(model, &process->fd[i]);
}

static int leave(struct model* model, struct process* process) {
    if (process->state == BLOCKED_IN_WRITE) {
        process->state = BEING_KILLED;
        return 0;
    }
    if (process->state == FREEZING)
        give_up(model, (int)(process - model->process));
    become_zombie(model, process);
    if (model->mistake == EXIT_THAWS)
        for (int i = model->count - 1; i >= 0; i--)
            if (model->holds[i].owner == process->owner)
                forget(model, i);
    return 0;
}

static int write_one_byte(struct model* model, struct process* process) {
    if (model->read_only)
        return -EROFS;
    if (!model_blocks_writes(model))
        return 0;
    process->state = BLOCKED_IN_WRITE;
    return BLOCKS;
}

static int start(struct model* model, struct process* process, int mount) {
    *process = (struct process){.state = ALIVE, .mount = mount, .id = ++model->last_id};
    return 0;
}

static int first_absent(const struct model* model) {
    for (int i = 0; i < PROCESSES; i++)
        if (model->process[i].state == ABSENT)
            return i;
    return NOBODY;
}

static int fork_process(struct model* model, struct process* parent) {
    struct process* child = &model->process[first_absent(model)];

    parent->has_forked = true;
    start(model, child, parent->mount);
    child->has_forked = true;
    for (int i = 0; i < NUMBERS; i++) {
        child->fd[i] = parent->fd[i];
        model->files[child->fd[i]].references++;
    }
    return 0;
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
        return start(model, process, model->mount);
    case FORK:
        return fork_process(model, process);
    case REAP:
        *process = (struct process){0};
        return 0;
    case EXIT:
    case KILL:
    case DIE_FREEZING:
    case DIE_THAWING:
        return leave(model, process);
    default:
        return file_step(model, process, step);
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
        end(model, newest_live(model, false));
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
    case LOSE:
        close_file(model, &model->in_transit);
        return 0;
    case STICK:
        model->writer = STUCK;
        return 0;
    case UNSTICK:
        return unstick(model);
    case WATCH:
        model->watcher = (struct process){.state = ALIVE, .mount = model->mount};
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
            become_zombie(model, process);
    }
    if (model->writer == LINGERING)
        model->writer = NO_WRITER;
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
    struct process admin = {.state = ALIVE, .mount = model->mount};
    int result;

    model->gap = false;
    if (step.verb <= FREEZE_FD_WITHIN)
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

/* ---- status ---------------------------------------------------------------------------------- */

static void add_holder(struct outlook* outlook, struct holder holder) {
    outlook->holder[outlook->count++] = holder;
}

static int process_of(const struct model* model, int owner) {
    for (int i = 0; i < PROCESSES; i++)
        if (model->process[i].state && model->process[i].owner == owner)
            return i;
    return ADMIN;
}

static unsigned flags_of(const struct model* model, int owner) {
    if (owner < 0)
        return HOLDER_FD;
    return is_gone(model, owner) && model->mistake != GONE_NOT_REPORTED ? HOLDER_GONE : 0;
}

/* At the newest live hold of its owner. */
static struct holder describe(const struct model* model, int at) {
    const struct hold* hold = &model->holds[at];
    struct holder holder = {.flags = flags_of(model, hold->owner), .deadline = hold->deadline};

    for (int i = 0; i <= at; i++)
        holder.holds += model->holds[i].live && model->holds[i].owner == hold->owner;
    if (hold->owner > 0) {
        holder.who = process_of(model, hold->owner);
    } else {
        holder.who = process_with_id(model, model->files[-hold->owner].maker);
        if (!is_alive(model, holder.who))
            holder.who = NOBODY;
    }
    return holder;
}

static bool is_newest_live(const struct model* model, int at) {
    for (int i = at + 1; i < model->count; i++)
        if (model->holds[i].live && model->holds[i].owner == model->holds[at].owner)
            return false;
    return model->holds[at].live;
}

struct outlook model_outlook(const struct model* model) {
    struct outlook outlook = {.state = model_frozen(model)     ? 2
                                       : model_freezing(model) ? 1
                                                               : 0,
                              .holds = model_live_holds(model),
                              .bdev = dm_holds(model)};

    for (int i = 0; i < model->count; i++)
        if (is_newest_live(model, i))
            add_holder(&outlook, describe(model, i));
    for (int i = 0; i < model->waiters && model->mistake != PENDING_NOT_REPORTED; i++) {
        const struct process* process = &model->process[model->waiting[i]];
        unsigned fd = process->waiting.verb == FREEZE_FD ? HOLDER_FD : 0;
        add_holder(&outlook, (struct holder){model->waiting[i], HOLDER_PENDING | fd, 0, NEVER});
    }
    return outlook;
}

/* ---- allowed steps --------------------------------------------------------------------------- */

static bool any_blocked_writer(const struct model* model) {
    for (int i = 0; i < PROCESSES; i++)
        if (model->process[i].state == BLOCKED_IN_WRITE || model->process[i].state == BEING_KILLED)
            return true;
    return false;
}

/* When one freezer takes over from another one, blocked writers may succeed or not. */
static bool allows_kill_of_freezer(const struct model* model, const struct process* process) {
    return model->waiters == 1 || &model->process[model->waiting[0]] != process ||
           !any_blocked_writer(model);
}

static bool allows_file_step(const struct model* model, struct step step) {
    const struct process* process = &model->process[step.who];
    int file = process->fd[step.number];

    if (!model->world.descriptors || process->state != ALIVE)
        return false;
    switch ((enum verb)step.verb) {
    case FD_DUP:
        return file && !process->fd[!step.number];
    case FD_SEND:
        return file && !model->in_transit;
    case FD_RECEIVE:
        return !file && model->in_transit;
    case DIE_FREEZING:
        return process->mount;
    case DIE_THAWING:
        /* Nobody must see whether it has thawed. */
        return file && model->files[file].references == 1;
    case FORK:
        return !process->has_forked && first_absent(model) != NOBODY;
    default:
        return file;
    }
}

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
        if (process->state == FREEZING)
            return allows_kill_of_freezer(model, process);
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
        return !model->suspended && model_has_superblock(model) && model->writer != STUCK;
    case RESUME:
        return model->suspended;
    case MOUNT:
        return !model->suspended || model->world.mounts_suspended;
    case UNMOUNT:
    case UNMOUNT_LAZILY:
        return model->mount && model->writer == NO_WRITER;
    case REMOUNT_RO:
    case REMOUNT_RW:
        return model->mount && !model_is_open_elsewhere(model) && model->writer != STUCK;
    case SYSRQ_J:
        return model_has_superblock(model) && !model->waiters;
    case LOSE:
        return model->in_transit;
    case STICK:
        return model->world.descriptors && model->mount && !model->read_only &&
               !model_frozen(model) && model->writer == NO_WRITER &&
               model->count < MOST_HOLDS - WAITERS;
    case UNSTICK:
        return model->writer == STUCK;
    case WATCH:
        return !model->watcher.state && model->mount;
    case UNWATCH:
        return model->watcher.state && !model_blocks_writes(model);
    case WAIT_SOON:
        return model->running[IN_SHORT];
    case WAIT_LATER:
        return model->running[IN_LONG];
    default: /* sysctls */
        return !model->world.old_requests_only && !model->waiters;
    }
}

static bool allows_request(const struct model* model, struct step step) {
    bool is_new = step.verb == FREEZE_FOR || step.verb == RESET;
    bool freezes = step.verb != THAW && step.verb != RESET;
    bool of_fd = step.verb >= FREEZE_FD;

    if (is_new && model->world.old_requests_only)
        return false;
    if (freezes && model->count == MOST_HOLDS)
        return false;
    if (freezes && model->writer == STUCK &&
        (step.who == ADMIN || model->waiters == WAITERS || (of_fd && step.period == ONE)))
        return false;
    if (of_fd && (!model->world.descriptors || step.who == ADMIN ||
                  model->process[step.who].fd[step.number]))
        return false;
    if (step.who == ADMIN)
        return model->mount;
    return allows_process(model, step.verb, &model->process[step.who]);
}

bool model_allows(const struct model* model, struct step step) {
    /* While the device is suspended, all I/O waits for the resume. */
    if (model->suspended && !model->world.dm_freezes)
        return step.verb == RESUME;
    if (step.verb <= FREEZE_FD_WITHIN)
        return allows_request(model, step);
    if (step.verb <= FORK)
        return step.who != ADMIN && allows_file_step(model, step);
    if (has_process(step.verb))
        return step.who != ADMIN && allows_process(model, step.verb, &model->process[step.who]);
    return allows_common(model, step.verb);
}

void model_begin(struct model* model, const struct world* world, enum mistake mistake) {
    *model = (struct model){.world = *world, .mistake = mistake, .nest = true};
    model->mount = ++model->last_mount;
    for (int i = 0; i < PROCESSES; i++)
        start(model, &model->process[i], model->mount);
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
