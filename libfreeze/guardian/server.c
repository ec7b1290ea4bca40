/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "answers.h"
#include "guardian.h"
#include "requests.h"
#include "start.h"
#include "state.h"
#include "syscalls.h"

#include <errno.h>
#include <limits.h>
#include <time.h>

/* What poll() waits for, before the connections. */
enum { WORKER, LISTENER, CONNECTIONS };

static const int64_t accept_pause = 100 * (int64_t)MILLISECOND;

/* ---- connections ------------------------------------------------------------------------------*/

static void disconnect(struct guardian* guardian, struct connection* connection) {
    superblock_disconnect(guardian, connection);
    if (guardian->first == connection)
        guardian->first = NULL;
    connection_close(connection);
}

static void free_closed(struct guardian* guardian) {
    for (struct connection** link = &guardian->connections; *link;) {
        struct connection* connection = *link;
        if (connection->broken && connection->fd >= 0)
            disconnect(guardian, connection);
        if (connection->fd >= 0) {
            link = &connection->next;
            continue;
        }
        *link = connection->next;
        connection_free(connection);
        --guardian->connection_count;
    }
}

/* Only root may connect, and only with the privilege that freezing needs. */
static void add_client(struct guardian* guardian, int fd) {
    struct ucred peer;
    const bool allowed = !sys_peer(fd, &peer) && peer.uid == 0 && sys_is_admin(peer.pid);
    struct connection* connection = allowed ? connection_new(fd) : NULL;

    if (!connection) {
        sys_close(fd);
        return;
    }
    connection->next = guardian->connections;
    guardian->connections = connection;
    ++guardian->connection_count;
}

static void accept_client(struct guardian* guardian) {
    const int fd = sys_accept(guardian->registry.listener);

    if (fd >= 0)
        add_client(guardian, fd);
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        guardian->accept_again_at = sys_now() + accept_pause;
}

/* One message at a time, so that no client can keep the guardian from the others. */
static void read_connection(struct guardian* guardian, struct connection* connection) {
    struct guardian_message message;

    switch (connection_receive(connection, &message)) {
    case RECEIVED_MESSAGE:
        if (!connection->finishing)
            handle_request(guardian, connection, &message);
        break;
    case RECEIVED_END:
        disconnect(guardian, connection);
        break;
    default:
        break;
    }
}

static void handle_events(struct guardian* guardian, struct connection* connection, short events) {
    const bool reads = !connection->operation.type && !connection_has_output(connection);

    if (events & POLLIN && reads)
        read_connection(guardian, connection);
    else if (events & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL))
        disconnect(guardian, connection);
}

static short events_of(const struct connection* connection) {
    if (connection_has_output(connection))
        return POLLOUT | POLLRDHUP;
    return connection->operation.type ? POLLRDHUP : POLLIN;
}

/* ---- the loop ---------------------------------------------------------------------------------*/

static int milliseconds_until(int64_t time) {
    const int64_t now = sys_now();

    if (time == NEVER)
        return -1;
    if (time <= now)
        return 0;
    const int64_t left = (time - now + MILLISECOND - 1) / MILLISECOND;
    return left > INT_MAX ? INT_MAX : (int)left;
}

static bool may_accept(const struct guardian* guardian) {
    return guardian->connection_count < MAX_CONNECTIONS && guardian->accept_again_at <= sys_now();
}

static int64_t next_event(const struct guardian* guardian) {
    const int64_t next = superblock_next_event(guardian);
    const int64_t again = guardian->accept_again_at;

    return again > sys_now() && again < next ? again : next;
}

/* Without poll() the guardian tries everything: no call of it blocks. */
static void poll_or_guess(struct pollfd* entries, nfds_t count, int timeout_ms) {
    if (sys_poll(entries, count, timeout_ms) >= 0)
        return;
    if (errno != EINTR)
        nanosleep(&(struct timespec){.tv_nsec = MILLISECOND}, NULL);
    for (nfds_t i = 0; i < count; ++i)
        entries[i].revents = entries[i].events & POLLIN;
}

/* What the kernel has done, and what is due, comes before what clients want. */
static void serve(struct guardian* guardian) {
    struct pollfd entries[CONNECTIONS + MAX_CONNECTIONS];
    nfds_t count = CONNECTIONS;
    struct job job;

    entries[WORKER] = (struct pollfd){.fd = guardian->worker.event, .events = POLLIN};
    entries[LISTENER] = (struct pollfd){
        .fd = may_accept(guardian) ? guardian->registry.listener : -1, .events = POLLIN};
    for (struct connection* c = guardian->connections; c; c = c->next)
        entries[count++] = (struct pollfd){.fd = c->fd, .events = events_of(c)};

    poll_or_guess(entries, count, milliseconds_until(next_event(guardian)));
    if (worker_take_result(&guardian->worker, &job))
        superblock_job_done(guardian, &job);
    superblock_handle_time(guardian);
    const struct pollfd* entry = &entries[CONNECTIONS];
    for (struct connection* c = guardian->connections; c; c = c->next, ++entry)
        handle_events(guardian, c, entry->revents);
    if (entries[LISTENER].fd >= 0 && entries[LISTENER].revents)
        accept_client(guardian);
}

static void flush_all(struct guardian* guardian) {
    for (struct connection* c = guardian->connections; c; c = c->next)
        connection_flush(c);
}

/* A client that has said HELLO and not yet asked for anything gets its answer now: begin again. */
static void send_away(struct guardian* guardian, struct connection* connection) {
    struct guardian_message message;

    if (connection->finishing || connection->had_hold)
        return;
    if (connection_receive(connection, &message) == RECEIVED_MESSAGE &&
        message.type == GUARDIAN_HELLO)
        answer_hello(guardian, connection, EAGAIN, "");
    else if (connection->greeted)
        answer_result(connection, EAGAIN, "");
}

/* In this order: a client may unmount, or start another guardian, as soon as it has its answer. */
static void stop(struct guardian* guardian) {
    worker_stop(&guardian->worker);
    if (!guardian->superblock.clean_up_failed)
        registry_clear_frozen(&guardian->registry);
    sys_close(guardian->filesystem);
    registry_close(&guardian->registry);
    for (struct connection* c = guardian->connections; c; c = c->next)
        if (c->fd >= 0)
            send_away(guardian, c);
    flush_all(guardian);
}

static void free_connections(struct guardian* guardian) {
    while (guardian->connections) {
        struct connection* connection = guardian->connections;
        guardian->connections = connection->next;
        connection_free(connection);
    }
}

static bool is_needed(const struct guardian* guardian) {
    return guardian->first || !superblock_is_idle(guardian);
}

/* Answers are sent after the next job has started. Those to the last clients are sent by stop(). */
static void run_once(struct guardian* guardian) {
    flush_all(guardian);
    free_closed(guardian);
    superblock_start_next_job(guardian);
    if (!is_needed(guardian))
        return;
    serve(guardian);
    superblock_start_next_job(guardian);
}

int guardian_run(int channel, const char* directory) {
    struct guardian guardian = {.filesystem = -1};
    const int error = start(&guardian, channel, directory);

    if (!error) {
        superblock_start_next_job(&guardian);
        while (is_needed(&guardian))
            run_once(&guardian);
        stop(&guardian);
    }
    free_connections(&guardian);
    return error;
}
