/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The holds of one superblock, and which ioctl is to be made next for them.
 */
#ifndef LIBFREEZE_GUARDIAN_SUPERBLOCK_H
#define LIBFREEZE_GUARDIAN_SUPERBLOCK_H

#include "process.h"
#include "worker.h"

#include <stdbool.h>
#include <stdint.h>

struct connection;
struct guardian;
struct guardian_message;

#define NEVER INT64_MAX
enum { MILLISECOND = 1000000 };
#define SECOND (INT64_C(1000) * MILLISECOND)

enum { MAX_HOLDS = 4096 };

struct hold {
    struct hold* next; /* in the order of their creation */
    uint64_t id;
    struct connection* owner; /* NULL: kept */
    bool live;                /* false: the filesystem is not frozen yet */
    int64_t timeout_ms;       /* 0: none */
    int64_t since, deadline;  /* of a live one; NEVER: none */
    struct process process;
    char comment[32];
};

struct superblock {
    struct hold* holds;
    int hold_count;

    struct job job; /* kind: what the worker does now */
    int64_t job_started;
    bool job_is_late;

    enum kernel kernel;
    bool frozen; /* by this guardian */
    int64_t frozen_since;
    int64_t kernel_deadline; /* the kernel's own; NEVER: none */
    bool check_wanted;
    bool must_clean_up;
    bool clean_up_failed;
    int64_t thaw_retry_at; /* after a failed thaw that nobody waits for */
    int64_t thaw_retry_delay;
};

/* Requests. */
void superblock_freeze(struct guardian* guardian, struct connection* connection,
                       const struct guardian_message* request);
void superblock_extend(struct guardian* guardian, struct connection* connection, struct hold* hold,
                       int64_t timeout_ms);
void superblock_thaw(struct guardian* guardian, struct connection* connection, struct hold* hold);
void superblock_keep(struct guardian* guardian, struct connection* connection);
void superblock_adopt(struct guardian* guardian, struct connection* connection, struct hold* hold,
                      const struct guardian_message* request);
void superblock_end_all(struct guardian* guardian, struct connection* connection);
void superblock_disconnect(struct guardian* guardian, struct connection* connection);

/* Events. */
void superblock_job_done(struct guardian* guardian, const struct job* job);
void superblock_handle_time(struct guardian* guardian);
void superblock_start_next_job(struct guardian* guardian);
int64_t superblock_next_event(const struct guardian* guardian);
bool superblock_is_idle(const struct guardian* guardian);

/* Queries. */
struct hold* superblock_find(const struct guardian* guardian, uint64_t id);
struct hold* superblock_newest_kept(const struct guardian* guardian);
uint32_t superblock_state(const struct guardian* guardian);

#endif
