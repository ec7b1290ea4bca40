/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "start.h"

#include "answers.h"
#include "state.h"
#include "syscalls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const int64_t hello_limit = 10 * SECOND;

/* An errno or 0. */
static int receive_hello(struct connection* connection, struct guardian_message* hello) {
    const int64_t end = sys_now() + hello_limit;

    for (int64_t now; (now = sys_now()) < end;) {
        struct pollfd entry = {.fd = connection->fd, .events = POLLIN};
        if (sys_poll(&entry, 1, (int)((end - now) / MILLISECOND) + 1) < 0 && errno != EINTR)
            return errno;
        const enum received received = connection_receive(connection, hello);
        if (received == RECEIVED_MESSAGE)
            return 0;
        if (received == RECEIVED_END)
            return ECONNRESET;
    }
    return ETIMEDOUT;
}

static int check_hello(const struct connection* connection, const struct guardian_message* hello) {
    if (hello->type != GUARDIAN_HELLO)
        return EBADMSG;
    if (hello->version != GUARDIAN_VERSION)
        return EPROTONOSUPPORT;
    return connection->passed < 0 ? EBADF : 0;
}

static bool can_be_private(int error) {
    return error == EACCES || error == EPERM || error == EROFS || error == ENOENT ||
           error == EDEADLK;
}

/* `text`: why it is private. */
static int enter_registry(struct guardian* guardian, const struct guardian_message* hello,
                          const char* directory, char* text, size_t size) {
    if (hello->flags & GUARDIAN_FLAG_PRIVATE)
        return 0;
    const int error = registry_open(&guardian->registry, directory, hello->device_major,
                                    hello->device_minor, guardian->filesystem);
    if (error == EDEADLK)
        snprintf(text, size, "%s is on this filesystem", directory);
    else if (error && error != EAGAIN)
        snprintf(text, size, "%s: %s", directory, strerror(error));
    return can_be_private(error) ? 0 : error;
}

/* On a kernel with deadlines, the kernel may have thawed it already. */
static bool must_clean_up(const struct registry* registry) {
    const int64_t until = registry->left_until_ms;

    return registry->was_left_frozen && (until == 0 || sys_now() / MILLISECOND < until);
}

static int set_up(struct guardian* guardian, const struct guardian_message* hello,
                  const char* directory, char* text, size_t size) {
    guardian->device_major = hello->device_major;
    guardian->device_minor = hello->device_minor;
    guardian->filesystem = guardian->first->passed;
    guardian->first->passed = -1;
    int error = enter_registry(guardian, hello, directory, text, size);
    if (!error) {
        error = worker_start(&guardian->worker);
        if (error)
            registry_close(&guardian->registry);
    }
    guardian->superblock.must_clean_up = !error && must_clean_up(&guardian->registry);
    if (error)
        sys_close(guardian->filesystem);
    return error;
}

int start(struct guardian* guardian, int channel, const char* directory) {
    struct guardian_message hello;
    char text[sizeof(hello.text)] = "";
    struct connection* connection = connection_new(channel);

    registry_init(&guardian->registry);
    if (!connection) {
        sys_close(channel);
        return ENOMEM;
    }
    guardian->connections = guardian->first = connection;
    guardian->connection_count = 1;
    connection->takes_descriptor = true;
    int error = receive_hello(connection, &hello);
    if (error)
        return error;
    error = check_hello(connection, &hello);
    if (!error)
        error = set_up(guardian, &hello, directory, text, sizeof(text));
    connection->greeted = !error;
    answer_hello(guardian, connection, error, text);
    connection_flush(connection);
    return error;
}
