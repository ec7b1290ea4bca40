/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker.h"

#include "syscalls.h"

#include <errno.h>
#include <stddef.h>
#include <sys/statfs.h>

#include <libfreeze/ioctl.h>

/* EINTR means a fatal signal, and all are blocked, so that it should not happen. */
enum { ATTEMPTS = 10 };
/* JFS_SUPER_MAGIC, which no public header has. */
enum { JFS_MAGIC = 0x3153464a };

static int request(const struct job* job, unsigned long code, int64_t* argument) {
    int result = -1;

    errno = EINTR;
    for (int attempt = 0; result < 0 && errno == EINTR && attempt < ATTEMPTS; ++attempt)
        result = sys_ioctl(job->filesystem, code, argument);
    return result < 0 ? errno : 0;
}

/* A kernel that knows the request rejects a negative timeout. */
static void detect_kernel(struct job* job) {
    int64_t negative = -1;

    if (job->kernel == KERNEL_UNKNOWN)
        job->kernel = request(job, FIFREEZE_RESET_TIMEOUT, &negative) == ERANGE
                          ? KERNEL_COUNTS_HOLDS
                          : KERNEL_STOCK;
}

static int freeze(const struct job* job) {
    int64_t seconds = job->seconds;

    return job->kernel == KERNEL_STOCK ? request(job, FIFREEZE, NULL)
                                       : request(job, FIFREEZE_TIMEOUT, &seconds);
}

static int check(const struct job* job) {
    int64_t seconds = job->seconds;

    return job->kernel == KERNEL_STOCK ? request(job, FIFREEZE, NULL)
                                       : request(job, FIFREEZE_RESET_TIMEOUT, &seconds);
}

static bool is_jfs(int filesystem) {
    struct statfs status;

    return sys_fstatfs(filesystem, &status) == 0 && status.f_type == JFS_MAGIC;
}

/* EINVAL means that it was not frozen. On stock kernels JFS can also fail with it, and stays frozen
 * then. */
static int thaw(const struct job* job) {
    const int error = request(job, FITHAW, NULL);

    if (error != EINVAL || job->kernel != KERNEL_STOCK || !is_jfs(job->filesystem))
        return error;
    if (request(job, FIFREEZE, NULL))
        return EIO;
    (void)request(job, FITHAW, NULL); /* it was not frozen before the check */
    return EINVAL;
}

static void run(struct job* job) {
    detect_kernel(job);
    switch (job->kind) {
    case JOB_FREEZE:
        job->error = freeze(job);
        break;
    case JOB_CHECK:
        job->error = check(job);
        break;
    case JOB_THAW:
    case JOB_CLEAN_UP:
        job->error = thaw(job);
        break;
    default:
        job->error = EINVAL;
    }
}

static struct job wait_for_job(struct worker* worker) {
    pthread_mutex_lock(&worker->lock);
    while (!worker->requested)
        pthread_cond_wait(&worker->wake, &worker->lock);
    worker->requested = false;
    const struct job job = worker->job;
    pthread_mutex_unlock(&worker->lock);
    return job;
}

/* If the event is lost, the guardian looks for a result every second. */
static void report(struct worker* worker, const struct job* job) {
    const uint64_t one = 1;

    pthread_mutex_lock(&worker->lock);
    worker->job = *job;
    worker->finished = true;
    pthread_mutex_unlock(&worker->lock);
    (void)!sys_write(worker->event, &one, sizeof(one));
}

static void* work(void* argument) {
    struct worker* worker = argument;

    for (;;) {
        struct job job = wait_for_job(worker);
        if (job.kind == JOB_QUIT)
            return NULL;
        run(&job);
        report(worker, &job);
    }
}

int worker_start(struct worker* worker) {
    *worker = (struct worker){.event = sys_eventfd()};
    if (worker->event < 0)
        return errno;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->wake, NULL);
    int error = sys_create_thread(&worker->thread, work, worker);
    if (error) {
        sys_close(worker->event);
        pthread_cond_destroy(&worker->wake);
        pthread_mutex_destroy(&worker->lock);
    }
    return error;
}

void worker_stop(struct worker* worker) {
    worker_submit(worker, &(struct job){.kind = JOB_QUIT});
    pthread_join(worker->thread, NULL);
    sys_close(worker->event);
    pthread_cond_destroy(&worker->wake);
    pthread_mutex_destroy(&worker->lock);
}

void worker_submit(struct worker* worker, const struct job* job) {
    pthread_mutex_lock(&worker->lock);
    worker->job = *job;
    worker->requested = true;
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->lock);
}

bool worker_take_result(struct worker* worker, struct job* job) {
    uint64_t count;

    (void)!sys_read(worker->event, &count, sizeof(count));
    pthread_mutex_lock(&worker->lock);
    const bool finished = worker->finished;
    worker->finished = false;
    *job = worker->job;
    pthread_mutex_unlock(&worker->lock);
    return finished;
}
