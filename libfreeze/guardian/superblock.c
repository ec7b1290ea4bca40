/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "superblock.h"

#include "answers.h"
#include "state.h"
#include "syscalls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* EXTEND is answered within 50 ms, even if the check takes longer. */
static const int64_t extend_answer_time = 40 * (int64_t)MILLISECOND;
/* A check of a frozen filesystem returns at once. If it blocks, somebody has thawed. */
static const int64_t check_limit = SECOND;
static const int64_t longest_retry_delay = 60 * SECOND;
/* The kernel's own deadline is a second or two after the last hold's. */
static const int64_t kernel_margin_min = SECOND / 2;
static const int64_t kernel_margin_max = 3 * SECOND;

static int64_t add_timeout(int64_t now, int64_t timeout_ms) {
    if (timeout_ms == 0)
        return NEVER;
    if (timeout_ms >= (NEVER - now) / MILLISECOND)
        return NEVER - 1;
    return now + timeout_ms * MILLISECOND;
}

/* ---- holds ------------------------------------------------------------------------------------*/

static struct hold* first_hold(const struct guardian* guardian, bool live) {
    struct hold* hold = guardian->superblock.holds;

    while (hold && hold->live != live)
        hold = hold->next;
    return hold;
}

struct hold* superblock_find(const struct guardian* guardian, uint64_t id) {
    struct hold* hold = guardian->superblock.holds;

    while (hold && hold->id != id)
        hold = hold->next;
    return hold;
}

struct hold* superblock_newest_kept(const struct guardian* guardian) {
    struct hold* newest = NULL;

    for (struct hold* hold = guardian->superblock.holds; hold; hold = hold->next)
        if (!hold->owner)
            newest = hold;
    return newest;
}

static void append_hold(struct superblock* superblock, struct hold* hold) {
    struct hold** end = &superblock->holds;

    while (*end)
        end = &(*end)->next;
    *end = hold;
    ++superblock->hold_count;
}

static void unlink_hold(struct superblock* superblock, const struct hold* hold) {
    struct hold** link = &superblock->holds;

    while (*link != hold)
        link = &(*link)->next;
    *link = hold->next;
    --superblock->hold_count;
}

/* `cause`: why it ended early; GUARDIAN_CAUSE_NONE: it did not, or nobody needs to know. */
static void remove_hold(struct guardian* guardian, struct hold* hold, uint32_t cause) {
    bool known = cause == GUARDIAN_CAUSE_NONE;

    unlink_hold(&guardian->superblock, hold);
    for (struct connection* c = guardian->connections; c; c = c->next) {
        if (c->operation.type && c->operation.target == hold) {
            answer_operation(c, ESTALE, cause, "");
            known = true;
        }
    }
    if (hold->owner) {
        hold->owner->hold = NULL;
        if (cause != GUARDIAN_CAUSE_NONE)
            announce_end(hold->owner, hold->id, cause);
    } else if (!known) {
        registry_record_end(&guardian->registry, hold->id, cause);
    }
    free(hold);
}

static void remove_live_holds(struct guardian* guardian, uint32_t cause) {
    for (struct hold* hold; (hold = first_hold(guardian, true));)
        remove_hold(guardian, hold, cause);
}

static void withdraw(struct guardian* guardian, struct hold* pending, int error, uint32_t cause,
                     const char* text) {
    answer_operation(pending->owner, error, cause, text);
    remove_hold(guardian, pending, GUARDIAN_CAUSE_NONE);
}

static void withdraw_all(struct guardian* guardian, int error, uint32_t cause, const char* text) {
    for (struct hold* hold; (hold = first_hold(guardian, false));)
        withdraw(guardian, hold, error, cause, text);
}

static void make_live(struct hold* hold) {
    hold->live = true;
    hold->since = sys_now();
    hold->deadline = add_timeout(hold->since, hold->timeout_ms);
    hold->owner->had_hold = true;
    answer_operation(hold->owner, 0, 0, "");
}

static void make_all_live(struct guardian* guardian) {
    for (struct hold* hold; (hold = first_hold(guardian, false));)
        make_live(hold);
}

/* ---- what the connections wait for ------------------------------------------------------------*/

static bool is_thaw_requested(const struct guardian* guardian, const struct hold* hold) {
    for (const struct connection* c = guardian->connections; c; c = c->next)
        if (c->operation.type == GUARDIAN_THAW && c->operation.target == hold)
            return true;
    return false;
}

static bool is_waiting_for(const struct guardian* guardian, uint32_t type) {
    for (const struct connection* c = guardian->connections; c; c = c->next)
        if (c->operation.type == type)
            return true;
    return false;
}

static bool is_waiting_for_check(const struct guardian* guardian) {
    for (const struct connection* c = guardian->connections; c; c = c->next)
        if (c->operation.type && c->operation.type != GUARDIAN_END_ALL)
            return true;
    return false;
}

/* A live hold that nobody wants to thaw. */
static bool has_keeper(const struct guardian* guardian) {
    for (const struct hold* hold = guardian->superblock.holds; hold; hold = hold->next)
        if (hold->live && !is_thaw_requested(guardian, hold))
            return true;
    return false;
}

/* Answers those who have asked for the thaw of a hold. Returns whether the owner hears of it only
 * by an ENDED. */
static bool answer_thaws(struct guardian* guardian, const struct hold* hold) {
    const bool surprise = hold->owner && (hold->owner->operation.type != GUARDIAN_THAW ||
                                          hold->owner->operation.target != hold);

    for (struct connection* c = guardian->connections; c; c = c->next)
        if (c->operation.type == GUARDIAN_THAW && c->operation.target == hold)
            answer_operation(c, 0, 0, "");
    return surprise;
}

static void answer_all(struct guardian* guardian, uint32_t type, int error, uint32_t cause) {
    for (struct connection* c = guardian->connections; c; c = c->next)
        if (c->operation.type == type)
            answer_operation(c, error, cause, "");
}

/* ---- requests ---------------------------------------------------------------------------------*/

static struct hold* new_hold(struct connection* connection,
                             const struct guardian_message* request) {
    struct hold* hold = sys_allocate(sizeof(*hold));

    if (!hold)
        return NULL;
    hold->id = request->id;
    hold->owner = connection;
    hold->timeout_ms = request->timeout_ms;
    hold->deadline = NEVER;
    memcpy(hold->comment, request->comment, sizeof(hold->comment));
    process_describe(connection->pid, &hold->process);
    return hold;
}

void superblock_freeze(struct guardian* guardian, struct connection* connection,
                       const struct guardian_message* request) {
    if (guardian->superblock.hold_count >= MAX_HOLDS) {
        answer_result(connection, EUSERS, "too many holds on this filesystem");
        return;
    }
    struct hold* hold = new_hold(connection, request);
    if (!hold) {
        answer_result(connection, ENOMEM, "");
        return;
    }
    append_hold(&guardian->superblock, hold);
    connection->hold = hold;
    connection->operation = (struct operation){.type = GUARDIAN_FREEZE, .target = hold};
    connection_send(connection,
                    &(struct guardian_message){.type = GUARDIAN_PENDING, .id = hold->id});
}

void superblock_extend(struct guardian* guardian, struct connection* connection, struct hold* hold,
                       int64_t timeout_ms) {
    const int64_t now = sys_now();

    (void)guardian;
    connection->operation = (struct operation){
        .type = GUARDIAN_EXTEND, .target = hold, .answer_by = now + extend_answer_time};
    hold->timeout_ms = timeout_ms;
    if (hold->live)
        hold->deadline = add_timeout(now, timeout_ms);
    else
        answer_operation(connection, 0, 0, "");
}

void superblock_thaw(struct guardian* guardian, struct connection* connection, struct hold* hold) {
    connection->operation = (struct operation){.type = GUARDIAN_THAW, .target = hold};
    if (hold->live)
        return;
    answer_operation(connection, ESTALE, 0, "it was not frozen yet");
    withdraw(guardian, hold, ECANCELED, GUARDIAN_CAUSE_ADMINISTRATOR, "");
}

void superblock_keep(struct guardian* guardian, struct connection* connection) {
    if (guardian->registry.lock < 0)
        answer_result(connection, EOPNOTSUPP, "nobody could reach a private guardian to thaw");
    else
        connection->operation =
            (struct operation){.type = GUARDIAN_KEEP, .target = connection->hold};
}

void superblock_adopt(struct guardian* guardian, struct connection* connection, struct hold* hold,
                      const struct guardian_message* request) {
    (void)guardian;
    connection->operation = (struct operation){
        .type = GUARDIAN_ADOPT, .target = hold, .timeout_ms = request->timeout_ms};
    memcpy(connection->operation.comment, request->comment, sizeof(request->comment));
}

void superblock_end_all(struct guardian* guardian, struct connection* connection) {
    answer_state(guardian, connection, GUARDIAN_CAUSE_ADMINISTRATOR);
    withdraw_all(guardian, ECANCELED, GUARDIAN_CAUSE_ADMINISTRATOR, "");
    connection->operation = (struct operation){.type = GUARDIAN_END_ALL};
}

void superblock_disconnect(struct guardian* guardian, struct connection* connection) {
    connection->operation = (struct operation){0};
    if (connection->hold)
        remove_hold(guardian, connection->hold, GUARDIAN_CAUSE_NONE);
}

/* ---- jobs -------------------------------------------------------------------------------------*/

/* When the last hold ends by its deadline. */
static int64_t last_deadline(const struct guardian* guardian, int64_t now) {
    int64_t last = 0;

    for (const struct hold* hold = guardian->superblock.holds; hold; hold = hold->next) {
        const int64_t deadline = hold->live ? hold->deadline : add_timeout(now, hold->timeout_ms);
        if (deadline > last && !is_thaw_requested(guardian, hold))
            last = deadline;
    }
    return last;
}

/* 0: no deadline. 1 would mean the same. */
static int64_t kernel_seconds(const struct guardian* guardian, int64_t now) {
    const int64_t last = last_deadline(guardian, now);

    if (last == NEVER)
        return 0;
    return last > now ? (last - now + SECOND - 1) / SECOND + 1 : 2;
}

static bool is_kernel_deadline_wrong(const struct guardian* guardian) {
    const struct superblock* superblock = &guardian->superblock;
    const int64_t set = superblock->kernel_deadline;
    const int64_t last = last_deadline(guardian, sys_now());

    if (superblock->kernel != KERNEL_COUNTS_HOLDS || !first_hold(guardian, true))
        return false;
    if (set == NEVER || last == NEVER)
        return set != last;
    return set - last < kernel_margin_min || set - last > kernel_margin_max;
}

static void start_job(struct guardian* guardian, enum job_kind kind) {
    struct superblock* superblock = &guardian->superblock;

    superblock->job_started = sys_now();
    superblock->job_is_late = false;
    superblock->job = (struct job){.kind = kind,
                                   .filesystem = guardian->filesystem,
                                   .seconds = kernel_seconds(guardian, superblock->job_started),
                                   .kernel = superblock->kernel};
    worker_submit(&guardian->worker, &superblock->job);
}

static void start_freeze(struct guardian* guardian) {
    const int error = registry_set_frozen(&guardian->registry, 0);

    if (error)
        withdraw_all(guardian, error, 0, "the guardian cannot write its lock file");
    else
        start_job(guardian, JOB_FREEZE);
}

static void start_check(struct guardian* guardian) {
    guardian->superblock.check_wanted = false;
    for (struct connection* c = guardian->connections; c; c = c->next)
        c->operation.in_check = c->operation.type && c->operation.type != GUARDIAN_END_ALL;
    if (guardian->superblock.kernel == KERNEL_COUNTS_HOLDS)
        (void)registry_set_frozen(&guardian->registry, 0);
    start_job(guardian, JOB_CHECK);
}

static void next_while_frozen(struct guardian* guardian) {
    const struct superblock* superblock = &guardian->superblock;
    const bool keeper = has_keeper(guardian);

    if (is_waiting_for(guardian, GUARDIAN_END_ALL)) {
        start_job(guardian, JOB_THAW);
    } else if (keeper || first_hold(guardian, false)) {
        if (superblock->check_wanted || is_waiting_for_check(guardian) ||
            is_kernel_deadline_wrong(guardian))
            start_check(guardian);
    } else if (superblock->holds || sys_now() >= superblock->thaw_retry_at) {
        start_job(guardian, JOB_THAW);
    }
}

void superblock_start_next_job(struct guardian* guardian) {
    struct superblock* superblock = &guardian->superblock;

    if (superblock->job.kind)
        return;
    if (superblock->must_clean_up) {
        superblock->must_clean_up = false;
        start_job(guardian, JOB_CLEAN_UP);
    } else if (superblock->frozen) {
        next_while_frozen(guardian);
    } else {
        answer_all(guardian, GUARDIAN_END_ALL, 0, 0);
        if (superblock->holds)
            start_freeze(guardian);
    }
}

/* The lock file says until when the kernel keeps it frozen if the guardian is killed. */
static void note_kernel_deadline(struct guardian* guardian, int64_t base, int64_t seconds) {
    struct superblock* superblock = &guardian->superblock;

    superblock->kernel_deadline = NEVER;
    if (superblock->kernel != KERNEL_COUNTS_HOLDS || seconds == 0)
        return;
    superblock->kernel_deadline =
        seconds < (NEVER - base) / SECOND ? base + seconds * SECOND : NEVER - 1;
    (void)registry_set_frozen(&guardian->registry, superblock->kernel_deadline / MILLISECOND);
}

static void freeze_succeeded(struct guardian* guardian, const struct job* job) {
    struct superblock* superblock = &guardian->superblock;

    superblock->frozen = true;
    superblock->frozen_since = sys_now();
    superblock->clean_up_failed = false;
    superblock->thaw_retry_at = superblock->thaw_retry_delay = 0;
    note_kernel_deadline(guardian, superblock->frozen_since, job->seconds);
    if (!is_waiting_for(guardian, GUARDIAN_END_ALL))
        make_all_live(guardian);
}

static void freeze_done(struct guardian* guardian, const struct job* job) {
    const bool foreign = job->error == EBUSY && job->kernel == KERNEL_STOCK;

    if (!job->error) {
        freeze_succeeded(guardian, job);
        return;
    }
    if (!guardian->superblock.clean_up_failed)
        registry_clear_frozen(&guardian->registry);
    withdraw_all(guardian, job->error, 0,
                 foreign ? "a program that does not use libfreeze has frozen it" : "");
}

static void complete_keep(struct connection* connection) {
    connection->hold->owner = NULL;
    answer_operation(connection, 0, 0, "");
    connection->hold = NULL;
}

static void complete_adopt(struct connection* connection) {
    const struct operation* operation = &connection->operation;
    struct hold* hold = operation->target;

    if (hold->owner) {
        answer_operation(connection, ESRCH, 0, "another program has just adopted it");
        return;
    }
    hold->owner = connection;
    hold->timeout_ms = operation->timeout_ms;
    hold->deadline = add_timeout(sys_now(), operation->timeout_ms);
    if (*operation->comment)
        memcpy(hold->comment, operation->comment, sizeof(hold->comment));
    process_describe(connection->pid, &hold->process);
    connection->hold = hold;
    connection->had_hold = true;
    answer_operation(connection, 0, 0, "");
}

static void complete_checked(struct connection* connection) {
    switch (connection->operation.type) {
    case GUARDIAN_FREEZE:
        make_live(connection->operation.target);
        break;
    case GUARDIAN_EXTEND:
        answer_operation(connection, 0, 0, "");
        break;
    case GUARDIAN_KEEP:
        complete_keep(connection);
        break;
    case GUARDIAN_ADOPT:
        complete_adopt(connection);
        break;
    default:
        break;
    }
}

/* If no other hold is left, the thaw answers instead. */
static void complete_checked_thaws(struct guardian* guardian) {
    const bool last = !has_keeper(guardian);

    for (struct connection* c = guardian->connections; c; c = c->next) {
        if (!c->operation.in_check || c->operation.type != GUARDIAN_THAW)
            continue;
        c->operation.in_check = false;
        if (last)
            continue;
        struct hold* hold = c->operation.target;
        const bool surprise = hold->owner && hold->owner != c;
        answer_operation(c, 0, 0, "");
        remove_hold(guardian, hold, surprise ? GUARDIAN_CAUSE_ADMINISTRATOR : GUARDIAN_CAUSE_NONE);
    }
}

static void check_passed(struct guardian* guardian) {
    for (struct connection* c = guardian->connections; c; c = c->next)
        if (c->operation.in_check)
            complete_checked(c);
    complete_checked_thaws(guardian);
}

/* On a stock kernel the check has frozen again. */
static void check_found_thaw(struct guardian* guardian, const struct job* job) {
    struct superblock* superblock = &guardian->superblock;

    remove_live_holds(guardian, GUARDIAN_CAUSE_UNKNOWN_THAW);
    if (job->kernel == KERNEL_STOCK)
        freeze_succeeded(guardian, job);
    else
        superblock->frozen = false;
}

static void check_failed(struct guardian* guardian, int error) {
    for (struct connection* c = guardian->connections; c; c = c->next) {
        if (!c->operation.in_check)
            continue;
        if (c->operation.type == GUARDIAN_FREEZE)
            withdraw(guardian, c->hold, error, 0, "cannot find out whether it is still frozen");
        else
            answer_operation(c, error, 0, "cannot find out whether it is still frozen");
    }
}

static void check_done(struct guardian* guardian, const struct job* job) {
    const bool stock = job->kernel == KERNEL_STOCK;

    if (job->error != (stock ? 0 : EINVAL))
        note_kernel_deadline(guardian, guardian->superblock.job_started, job->seconds);
    if (job->error == (stock ? EBUSY : 0))
        check_passed(guardian);
    else if (job->error == (stock ? 0 : EINVAL))
        check_found_thaw(guardian, job);
    else
        check_failed(guardian, job->error);
    for (struct connection* c = guardian->connections; c; c = c->next)
        c->operation.in_check = false;
}

static void thaw_succeeded(struct guardian* guardian) {
    for (struct hold* hold; (hold = first_hold(guardian, true));) {
        const bool requested = is_thaw_requested(guardian, hold);
        const bool surprise = answer_thaws(guardian, hold) || !requested;
        remove_hold(guardian, hold, surprise ? GUARDIAN_CAUSE_ADMINISTRATOR : GUARDIAN_CAUSE_NONE);
    }
    answer_all(guardian, GUARDIAN_END_ALL, 0, 0);
}

static void thaw_failed(struct guardian* guardian, int error) {
    struct superblock* superblock = &guardian->superblock;
    int64_t* const delay = &superblock->thaw_retry_delay;

    answer_all(guardian, GUARDIAN_THAW, error, 0);
    answer_all(guardian, GUARDIAN_END_ALL, error, 0);
    *delay = *delay ? 2 * *delay : SECOND;
    if (*delay > longest_retry_delay)
        *delay = longest_retry_delay;
    superblock->thaw_retry_at = sys_now() + *delay;
}

static void thaw_done(struct guardian* guardian, const struct job* job) {
    struct superblock* superblock = &guardian->superblock;

    if (job->error && job->error != EINVAL) {
        thaw_failed(guardian, job->error);
        return;
    }
    superblock->frozen = false;
    superblock->thaw_retry_at = superblock->thaw_retry_delay = 0;
    if (!job->error) {
        thaw_succeeded(guardian);
        return;
    }
    remove_live_holds(guardian, GUARDIAN_CAUSE_UNKNOWN_THAW);
    answer_all(guardian, GUARDIAN_END_ALL, ESTALE, GUARDIAN_CAUSE_UNKNOWN_THAW);
}

static void clean_up_done(struct guardian* guardian, const struct job* job) {
    guardian->superblock.clean_up_failed = job->error && job->error != EINVAL;
    if (!guardian->superblock.clean_up_failed)
        registry_clear_frozen(&guardian->registry);
}

void superblock_job_done(struct guardian* guardian, const struct job* job) {
    struct superblock* superblock = &guardian->superblock;

    superblock->job.kind = JOB_NONE;
    superblock->kernel = job->kernel;
    switch (job->kind) {
    case JOB_FREEZE:
        freeze_done(guardian, job);
        break;
    case JOB_CHECK:
        check_done(guardian, job);
        break;
    case JOB_THAW:
        thaw_done(guardian, job);
        break;
    default:
        clean_up_done(guardian, job);
    }
}

/* ---- time -------------------------------------------------------------------------------------*/

static bool may_expire(const struct guardian* guardian, const struct hold* hold) {
    return hold->live && hold->deadline != NEVER && !is_thaw_requested(guardian, hold);
}

static struct hold* find_expired(const struct guardian* guardian, int64_t now) {
    struct hold* hold = guardian->superblock.holds;

    while (hold && !(may_expire(guardian, hold) && hold->deadline <= now))
        hold = hold->next;
    return hold;
}

static void answer_late_extends(struct guardian* guardian, int64_t now) {
    for (struct connection* c = guardian->connections; c; c = c->next) {
        if (c->operation.type != GUARDIAN_EXTEND || c->operation.answer_by > now)
            continue;
        if (!c->operation.in_check)
            guardian->superblock.check_wanted = true;
        answer_operation(c, 0, 0, "");
    }
}

static bool check_can_be_late(const struct guardian* guardian) {
    const struct superblock* superblock = &guardian->superblock;

    return superblock->job.kind == JOB_CHECK && !superblock->job_is_late;
}

void superblock_handle_time(struct guardian* guardian) {
    struct superblock* superblock = &guardian->superblock;
    const int64_t now = sys_now();

    answer_late_extends(guardian, now);
    if (check_can_be_late(guardian) && now - superblock->job_started >= check_limit) {
        superblock->job_is_late = true;
        remove_live_holds(guardian, GUARDIAN_CAUSE_UNKNOWN_THAW);
    }
    for (struct hold* hold; (hold = find_expired(guardian, now));)
        remove_hold(guardian, hold, GUARDIAN_CAUSE_DEADLINE);
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t superblock_next_event(const struct guardian* guardian) {
    const struct superblock* superblock = &guardian->superblock;
    int64_t next = NEVER;

    for (const struct hold* hold = superblock->holds; hold; hold = hold->next)
        if (may_expire(guardian, hold))
            next = earlier(next, hold->deadline);
    for (const struct connection* c = guardian->connections; c; c = c->next)
        if (c->operation.type == GUARDIAN_EXTEND)
            next = earlier(next, c->operation.answer_by);
    if (check_can_be_late(guardian))
        next = earlier(next, superblock->job_started + check_limit);
    if (superblock->job.kind)
        next = earlier(next, sys_now() + SECOND);
    else if (superblock->frozen && !superblock->holds)
        next = earlier(next, superblock->thaw_retry_at);
    return next;
}

/* ---- queries ----------------------------------------------------------------------------------*/

bool superblock_is_idle(const struct guardian* guardian) {
    const struct superblock* superblock = &guardian->superblock;

    return !superblock->job.kind && !superblock->frozen && !superblock->holds &&
           !superblock->must_clean_up;
}

uint32_t superblock_state(const struct guardian* guardian) {
    if (guardian->superblock.frozen)
        return GUARDIAN_FROZEN;
    return guardian->superblock.holds ? GUARDIAN_FREEZING : GUARDIAN_UNFROZEN;
}
