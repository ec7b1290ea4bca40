/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "connection.h"

#include "syscalls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct connection* connection_new(int fd) {
    struct connection* connection = sys_allocate(sizeof(*connection));
    struct ucred peer;

    if (!connection)
        return NULL;
    connection->fd = fd;
    connection->passed = -1;
    if (!sys_peer(fd, &peer))
        connection->pid = peer.pid;
    return connection;
}

void connection_free(struct connection* connection) {
    connection_close(connection);
    free(connection->output);
    free(connection);
}

void connection_close(struct connection* connection) {
    if (connection->fd >= 0)
        sys_close(connection->fd);
    if (connection->passed >= 0)
        sys_close(connection->passed);
    connection->fd = connection->passed = -1;
}

/* ---- receiving --------------------------------------------------------------------------------*/

static void take_descriptor(struct connection* connection, struct msghdr* header) {
    struct cmsghdr* control = CMSG_FIRSTHDR(header);

    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
        return;
    if (control->cmsg_len < CMSG_LEN(sizeof(int)))
        return;
    if (connection->passed >= 0)
        sys_close(connection->passed);
    memcpy(&connection->passed, CMSG_DATA(control), sizeof(int));
}

/* The kernel closes descriptors for which there is no room. */
static ssize_t receive_bytes(struct connection* connection) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec data = {connection->input + connection->received,
                         sizeof(connection->input) - connection->received};
    struct msghdr header = {.msg_iov = &data, .msg_iovlen = 1};

    if (connection->takes_descriptor) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_LEN(sizeof(int));
    }
    const ssize_t length = sys_recvmsg(connection->fd, &header);
    if (length >= 0 && connection->takes_descriptor)
        take_descriptor(connection, &header);
    return length;
}

static void terminate_strings(struct guardian_message* message) {
    message->command[sizeof(message->command) - 1] = '\0';
    message->comment[sizeof(message->comment) - 1] = '\0';
    message->text[sizeof(message->text) - 1] = '\0';
}

enum received connection_receive(struct connection* connection, struct guardian_message* message) {
    const ssize_t length = receive_bytes(connection);

    if (length < 0)
        return errno == EAGAIN || errno == EINTR ? RECEIVED_NOTHING : RECEIVED_END;
    if (length == 0)
        return RECEIVED_END;
    connection->received += (size_t)length;
    if (connection->received < sizeof(connection->input))
        return RECEIVED_NOTHING;
    memcpy(message, connection->input, sizeof(*message));
    terminate_strings(message);
    connection->received = 0;
    connection->takes_descriptor = false;
    return RECEIVED_MESSAGE;
}

/* ---- sending ----------------------------------------------------------------------------------*/

/* One answer at a time is queued, so the size is bounded by the number of holds. */
static bool grow(struct connection* connection) {
    const size_t used = connection->output_used - connection->output_sent;
    const size_t size = 2 * (used + sizeof(struct guardian_message));
    char* output = sys_allocate(size);

    if (!output)
        return false;
    if (used)
        memcpy(output, connection->output + connection->output_sent, used);
    free(connection->output);
    connection->output = output;
    connection->output_size = size;
    connection->output_used = used;
    connection->output_sent = 0;
    return true;
}

void connection_send(struct connection* connection, const struct guardian_message* message) {
    if (connection->fd < 0 || connection->finished)
        return;
    if (connection->output_size - connection->output_used < sizeof(*message) && !grow(connection)) {
        connection->broken = true;
        return;
    }
    memcpy(connection->output + connection->output_used, message, sizeof(*message));
    connection->output_used += sizeof(*message);
}

bool connection_has_output(const struct connection* connection) {
    return connection->output_sent < connection->output_used;
}

static ssize_t send_some(struct connection* connection) {
    return sys_send(connection->fd, connection->output + connection->output_sent,
                    connection->output_used - connection->output_sent);
}

static void drop_output(struct connection* connection) {
    connection->output_used = connection->output_sent = 0;
}

void connection_flush(struct connection* connection) {
    if (connection->fd < 0)
        return;
    while (connection_has_output(connection)) {
        const ssize_t length = send_some(connection);
        if (length < 0 && errno == EINTR)
            continue;
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0) {
            connection->broken = true;
            return;
        }
        connection->output_sent += (size_t)length;
    }
    drop_output(connection);
    if (!connection->finishing || connection->finished || connection->operation.type)
        return;
    connection->finished = true;
    if (sys_shutdown(connection->fd, SHUT_WR))
        connection->broken = true;
}
