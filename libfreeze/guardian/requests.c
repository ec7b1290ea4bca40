/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "requests.h"

#include "answers.h"
#include "state.h"
#include "syscalls.h"

#include <errno.h>
#include <string.h>

static void handle_hello(struct guardian* guardian, struct connection* connection,
                         const struct guardian_message* request) {
    const bool same = request->device_major == guardian->device_major &&
                      request->device_minor == guardian->device_minor;

    if (connection->greeted) {
        answer_hello(guardian, connection, EBADMSG, "HELLO was said already");
    } else if (request->version != GUARDIAN_VERSION) {
        answer_hello(guardian, connection, EPROTONOSUPPORT, "");
    } else if (!same) {
        answer_hello(guardian, connection, EXDEV, "this is the guardian of another filesystem");
    } else {
        connection->greeted = true;
        answer_hello(guardian, connection, 0, "");
    }
}

/* An id for those who do not mind which. */
static int choose_id(struct guardian_message* request) {
    while (request->id == 0)
        if (sys_getrandom(&request->id, sizeof(request->id)))
            return errno;
    return 0;
}

static void handle_freeze(struct guardian* guardian, struct connection* connection,
                          struct guardian_message* request) {
    if (guardian->first == connection)
        guardian->first = NULL;
    const int error = choose_id(request);
    if (connection->hold || connection->had_hold)
        answer_result(connection, EBADMSG, "this connection has or had a hold");
    else if (request->timeout_ms < 0)
        answer_result(connection, EINVAL, "the timeout is negative");
    else if (error)
        answer_result(connection, error, "there is no random number for an id");
    else if (superblock_find(guardian, request->id))
        answer_result(connection, EEXIST, "there is a hold with this id");
    else
        superblock_freeze(guardian, connection, request);
}

/* A hold that is not here may have ended while it was kept. */
static void answer_missing(struct guardian* guardian, struct connection* connection, uint64_t id) {
    const uint32_t cause = registry_take_end(&guardian->registry, id);

    connection->operation = (struct operation){0};
    answer_operation(connection, cause ? ESTALE : ESRCH, cause,
                     cause ? "" : "there is no such hold");
}

/* The hold that the request is about; NULL: it has been answered. */
static struct hold* find_target(struct guardian* guardian, struct connection* connection,
                                const struct guardian_message* request) {
    struct hold* hold = request->id ? superblock_find(guardian, request->id) : connection->hold;

    if (!hold && request->id)
        answer_missing(guardian, connection, request->id);
    else if (!hold)
        answer_result(connection, EBADMSG, "this connection has no hold");
    return hold;
}

static void handle_extend(struct guardian* guardian, struct connection* connection,
                          const struct guardian_message* request) {
    if (request->timeout_ms < 0) {
        answer_result(connection, EINVAL, "the timeout is negative");
        return;
    }
    struct hold* hold = find_target(guardian, connection, request);
    if (hold)
        superblock_extend(guardian, connection, hold, request->timeout_ms);
}

static void handle_thaw(struct guardian* guardian, struct connection* connection,
                        const struct guardian_message* request) {
    struct hold* hold = find_target(guardian, connection, request);

    if (hold)
        superblock_thaw(guardian, connection, hold);
}

static void handle_keep(struct guardian* guardian, struct connection* connection) {
    if (connection->hold)
        superblock_keep(guardian, connection);
    else
        answer_result(connection, EBADMSG, "this connection has no hold");
}

static void handle_adopt(struct guardian* guardian, struct connection* connection,
                         const struct guardian_message* request) {
    struct hold* hold =
        request->id ? superblock_find(guardian, request->id) : superblock_newest_kept(guardian);

    if (connection->hold || connection->had_hold)
        answer_result(connection, EBADMSG, "this connection has or had a hold");
    else if (request->timeout_ms < 0)
        answer_result(connection, EINVAL, "the timeout is negative");
    else if (!hold && request->id)
        answer_missing(guardian, connection, request->id);
    else if (!hold)
        answer_result(connection, ESRCH, "there is no kept hold");
    else if (hold->owner)
        answer_result(connection, ESRCH, "this hold is not kept: a program has it");
    else
        superblock_adopt(guardian, connection, hold, request);
}

static void handle_status(struct guardian* guardian, struct connection* connection) {
    answer_state(guardian, connection, GUARDIAN_CAUSE_NONE);
    answer_result(connection, 0, "");
}

static void handle_greeted(struct guardian* guardian, struct connection* connection,
                           struct guardian_message* request) {
    switch (request->type) {
    case GUARDIAN_FREEZE:
        handle_freeze(guardian, connection, request);
        break;
    case GUARDIAN_EXTEND:
        handle_extend(guardian, connection, request);
        break;
    case GUARDIAN_THAW:
        handle_thaw(guardian, connection, request);
        break;
    case GUARDIAN_KEEP:
        handle_keep(guardian, connection);
        break;
    case GUARDIAN_ADOPT:
        handle_adopt(guardian, connection, request);
        break;
    case GUARDIAN_STATUS:
        handle_status(guardian, connection);
        break;
    case GUARDIAN_END_ALL:
        superblock_end_all(guardian, connection);
        break;
    default:
        answer_result(connection, EBADMSG, "there is no such request");
    }
}

void handle_request(struct guardian* guardian, struct connection* connection,
                    struct guardian_message* request) {
    if (request->type == GUARDIAN_HELLO) {
        handle_hello(guardian, connection, request);
    } else if (connection->greeted) {
        handle_greeted(guardian, connection, request);
    } else {
        answer_result(connection, EBADMSG, "the first message must be HELLO");
        connection->finishing = true;
    }
}
