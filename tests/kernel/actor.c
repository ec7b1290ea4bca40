/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes that execute one operation at a time, each of which may block forever. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

struct order {
    ptrdiff_t op; /* relative to actor_main: an exec moves the program */
    long argument[3];
};

int here = -1;
long operation_value;

static int my_channel, my_offspring;

/* ---- in the actor --------------------------------------------------------------------------- */

static operation* operation_at(ptrdiff_t offset) {
    return (operation*)((uintptr_t)&actor_main + (uintptr_t)offset);
}

static void answer(int result, int64_t begun) {
    struct report report = {.result = result,
                            .pid = getpid(),
                            .value = operation_value,
                            .begun = begun,
                            .ended = now_ns()};
    if (send(my_channel, &report, sizeof(report), MSG_NOSIGNAL) != sizeof(report))
        _exit(3);
}

static void serve(void) __attribute__((noreturn));
static void serve(void) {
    struct order order;

    while (recv(my_channel, &order, sizeof(order), 0) == sizeof(order)) {
        operation_value = 0;
        int64_t begun = latest_tick();
        int result =
            operation_at(order.op)(order.argument[0], order.argument[1], order.argument[2]);
        answer(result, begun);
    }
    _exit(0);
}

static void* answer_and_serve(void* unused) {
    answer(0, now_ns());
    serve();
}

void serve_in_place_of_leader(void) {
    pthread_t thread;

    if (pthread_create(&thread, NULL, answer_and_serve, NULL))
        _exit(3);
    pthread_exit(NULL);
}

int op_reopen(long a, long b, long c) {
    here = open(volume.dir, O_RDONLY | O_DIRECTORY);
    return here < 0 ? -errno : 0;
}

int op_close(long a, long b, long c) {
    int result = result_of(close(here));
    here = -1;
    return result;
}

static int op_exit(long a, long b, long c) {
    _exit(0);
}

/* The child of the test, which can therefore reap it. */
static int op_fork(long a, long b, long c) {
    struct clone_args arguments = {.flags = CLONE_PARENT};
    pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        my_channel = my_offspring;
        serve();
    }
    operation_value = pid;
    return 0;
}

int op_exec(long a, long b, long c) {
    char channel[12], offspring[12], root[12];
    snprintf(channel, sizeof(channel), "%d", my_channel);
    snprintf(offspring, sizeof(offspring), "%d", my_offspring);
    snprintf(root, sizeof(root), "%d", here);
    execl("/proc/self/exe", "freeze-abi", "--actor", channel, offspring, root, volume.dir,
          (char*)NULL);
    return -errno;
}

static void* exec_in_thread(void* unused) {
    op_exec(0, 0, 0);
    _exit(3);
}

int op_exec_from_thread(long a, long b, long c) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, exec_in_thread, NULL) == 0)
        pthread_join(thread, NULL);
    return -EAGAIN;
}

/* argv: --actor CHANNEL OFFSPRING ROOT DIRECTORY. Its first answer belongs to the exec. */
int actor_main(char** argv) {
    my_channel = atoi(argv[0]);
    my_offspring = atoi(argv[1]);
    here = atoi(argv[2]);
    snprintf(volume.dir, sizeof(volume.dir), "%s", argv[3]);
    answer(0, now_ns());
    serve();
}

/* ---- in the test ---------------------------------------------------------------------------- */

static struct actor* new_actor(int mine[2], int offspring[2]) {
    struct actor* who = calloc(1, sizeof(*who));
    if (!who || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, mine) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET, 0, offspring))
        broken_at(__FILE__, __LINE__, "a new process: %s", strerror(errno));
    who->channel = mine[0];
    who->offspring = offspring[0];
    return who;
}

static pid_t fork_with_pid(pid_t wanted) {
    if (!wanted)
        return fork();
    struct clone_args arguments = {
        .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&wanted, .set_tid_size = 1};
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

static struct actor* start_actor(pid_t wanted) {
    int mine[2], offspring[2];
    struct actor* who = new_actor(mine, offspring);

    who->pid = fork_with_pid(wanted);
    if (who->pid < 0)
        broken_at(__FILE__, __LINE__, "fork: %s", strerror(errno));
    if (who->pid == 0) {
        my_channel = mine[1];
        my_offspring = offspring[1];
        serve();
    }
    close(mine[1]);
    close(offspring[1]);
    return who;
}

struct actor* actor_with_pid(pid_t wanted) {
    struct actor* who = start_actor(wanted);

    SETUP(call(who, op_reopen, 0, 0, 0));
    return who;
}

struct actor* actor_outside(void) {
    return start_actor(0);
}

struct actor* actor(void) {
    return actor_with_pid(0);
}

struct actor* actor_forked_by(struct actor* parent) {
    SETUP(call(parent, op_fork, 0, 0, 0));
    struct actor* who = calloc(1, sizeof(*who));
    if (!who)
        broken_at(__FILE__, __LINE__, "out of memory");
    who->pid = (pid_t)parent->last.value;
    who->channel = parent->offspring;
    who->offspring = -1;
    parent->offspring = -1;
    return who;
}

int actor_exec(struct actor* who, operation* op) {
    return call(who, op, 0, 0, 0);
}

void begin(struct actor* who, operation* op, long a, long b, long c) {
    struct order order = {(ptrdiff_t)((uintptr_t)op - (uintptr_t)&actor_main), {a, b, c}};

    if (who->busy)
        broken_at(__FILE__, __LINE__, "process %d has not answered yet", who->pid);
    if (send(who->channel, &order, sizeof(order), MSG_NOSIGNAL) != sizeof(order))
        broken_at(__FILE__, __LINE__, "process %d is gone: %s", who->pid, strerror(errno));
    who->busy = true;
}

static int take_answer(struct actor* who, int within_ms) {
    struct pollfd fd = {.fd = who->channel, .events = POLLIN};

    if (poll(&fd, 1, within_ms) <= 0)
        return BLOCKED;
    if (recv(who->channel, &who->last, sizeof(who->last), 0) != sizeof(who->last))
        return DIED;
    who->busy = false;
    return who->last.result;
}

/*
 * The time is counted in slices of waiting, not by the clock, so that no actor is given up because
 * the whole machine stood still, as an emulated one may.
 */
int finish(struct actor* who, int within_ms) {
    if (!who->busy)
        return who->last.result;
    for (int waited = 0;; waited += 50) {
        int result = take_answer(who, within_ms < 50 ? within_ms : 50);
        if (result != BLOCKED)
            return result;
        if (is_dead(who->pid))
            return take_answer(who, 0) == BLOCKED ? DIED : who->last.result;
        if (waited >= within_ms)
            return BLOCKED;
    }
}

bool finished(struct actor* who) {
    return !who->busy || take_answer(who, 0) != BLOCKED;
}

int call(struct actor* who, operation* op, long a, long b, long c) {
    begin(who, op, a, b, c);
    return finish(who, block_timeout_ms());
}

int elsewhere(struct actor* (*maker)(void), operation* op, long a, int within_ms) {
    struct actor* who = maker();

    begin(who, op, a, 0, 0);
    int result = finish(who, within_ms);
    kill_actor(who);
    if (result != BLOCKED)
        waitpid(who->pid, NULL, 0);
    close(who->channel);
    close(who->offspring);
    free(who);
    return result;
}

int call_helper(operation* op, long a) {
    static struct actor* helper;

    if (!helper || helper->busy)
        helper = actor_outside();
    return call(helper, op, a, 0, 0);
}

bool blocks(struct actor* who) {
    int in_a_row = 0;

    for (int waited = 0; in_a_row < 5 && waited < block_timeout_ms(); waited += 10) {
        if (take_answer(who, 10) != BLOCKED)
            return false;
        in_a_row = task_state(who->pid) == 'D' ? in_a_row + 1 : 0;
    }
    return in_a_row == 5;
}

void kill_actor(struct actor* who) {
    kill(who->pid, SIGKILL);
}

bool dies(struct actor* who, int within_ms) {
    for (int waited = 0; waited <= within_ms; waited += 2) {
        if (task_state(who->pid) == 'Z' || task_state(who->pid) == 0)
            return true;
        sleep_ms(2);
    }
    return false;
}

void actor_exit(struct actor* who) {
    begin(who, op_exit, 0, 0, 0);
    if (!dies(who, block_timeout_ms()))
        broken_at(__FILE__, __LINE__, "process %d does not exit", who->pid);
}

void reap(struct actor* who) {
    if (!dies(who, block_timeout_ms()) || waitpid(who->pid, NULL, 0) != who->pid)
        broken_at(__FILE__, __LINE__, "process %d cannot be reaped", who->pid);
}

/* ---- is it frozen? -------------------------------------------------------------------------- */

int op_write(long a, long b, long c) {
    int fd = openat(here, "written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = result_of(pwrite(fd, "x", 1, 0));
    close(fd);
    return result < 0 ? result : 0;
}

struct actor* frozen_at(const char* file, int line) {
    struct actor* writer = actor();

    begin(writer, op_write, 0, 0, 0);
    if (!blocks(writer))
        fail_at(file, line, "not frozen: a write returned %s", result_name(writer->last.result));
    if (sleeps_on_freeze(writer->pid) == SLEEPS_ELSEWHERE)
        fail_at(file, line, "a write blocks, but not because of a freeze");
    return writer;
}

void thawed_at(const char* file, int line) {
    want_at(file, line, "a write", 0, elsewhere(actor, op_write, 0, block_timeout_ms()));
}

void still_at(const char* file, int line, struct actor* writer) {
    if (finished(writer))
        fail_at(file, line, "not frozen: the blocked write returned %s",
                result_name(writer->last.result));
}

void released_at(const char* file, int line, struct actor* writer) {
    want_at(file, line, "the blocked write", 0, finish(writer, block_timeout_ms()));
}

int64_t wait_and_count_delays(struct actor* who, int64_t from, int within_ms) {
    const int64_t slice = 10000000;
    int64_t delays = 0, before = now_ns();

    for (int waited = 0; waited < within_ms && !finished(who); waited += 10) {
        struct pollfd fd = {.fd = who->channel, .events = POLLIN};
        poll(&fd, 1, 10);
        int64_t after = now_ns(), due = before + 2 * slice;
        if (due < from)
            due = from;
        if (after > due)
            delays += after - due;
        before = after;
    }
    return delays;
}

/*
 * The lower bound is exact. The upper one suits a busy machine (tests/overhead measures how late a
 * deadline is on an idle one), but is less than the second by which deadlines differ. It allows for
 * the time in which this process, which does nothing but wait, was late itself: then the whole
 * machine stood still.
 */
void released_after_at(const char* file, int line, struct actor* writer, const struct report* start,
                       int timeout) {
    const int64_t second = 1000000000;
    int64_t earliest = start->begun + timeout * second;
    int64_t latest = start->ended + timeout * second + (int64_t)((double)second * 0.8 * slowness());

    latest += wait_and_count_delays(writer, start->ended + timeout * second,
                                    timeout * 1000 + block_timeout_ms());
    want_at(file, line, "the blocked write", 0, finish(writer, 0));
    if (writer->last.ended < earliest)
        fail_at(file, line, "thawed %.3f s after the call, before %d s",
                seconds(writer->last.ended - start->begun), timeout);
    if (writer->last.ended > latest)
        fail_at(file, line, "thawed %.3f s after the call, later than %.3f s",
                seconds(writer->last.ended - start->ended), seconds(latest - start->ended));
}
