/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The thread that makes the ioctls, one at a time. They may block forever; the guardian may not.
 */
#ifndef LIBFREEZE_GUARDIAN_WORKER_H
#define LIBFREEZE_GUARDIAN_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum kernel {
    KERNEL_UNKNOWN,
    KERNEL_STOCK,
    KERNEL_COUNTS_HOLDS, /* part 2 of the patches: holds with owners and deadlines */
};

enum job_kind {
    JOB_NONE,
    JOB_FREEZE,
    JOB_CHECK, /* find out whether it is still frozen */
    JOB_THAW,
    JOB_CLEAN_UP, /* thaw what a killed guardian has left frozen */
    JOB_QUIT,
};

struct job {
    enum job_kind kind;
    int filesystem;
    int64_t seconds; /* FREEZE, CHECK: until the kernel's own deadline, if it has them; 0: none */
    enum kernel kernel; /* in and out */
    int error;          /* out: an errno or 0 */
};

struct worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job job;
    bool requested;
    bool finished;
    int event; /* readable when a job has finished */
};

int worker_start(struct worker* worker);
void worker_stop(struct worker* worker);

/* At most one job at a time. */
void worker_submit(struct worker* worker, const struct job* job);
bool worker_take_result(struct worker* worker, struct job* job);

#endif
