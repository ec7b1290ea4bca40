/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "answers.h"

#include "syscalls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct guardian_message result(int error, const char* text) {
    struct guardian_message message = {.type = GUARDIAN_RESULT, .error = error};

    snprintf(message.text, sizeof(message.text), "%s", text);
    return message;
}

void answer_result(struct connection* connection, int error, const char* text) {
    const struct guardian_message message = result(error, text);

    connection_send(connection, &message);
}

void answer_hello(const struct guardian* guardian, struct connection* connection, int error,
                  const char* text) {
    struct guardian_message message = result(error, text);

    message.version = GUARDIAN_VERSION;
    message.device_major = guardian->device_major;
    message.device_minor = guardian->device_minor;
    message.pid = getpid();
    message.flags = (guardian->registry.lock < 0 ? GUARDIAN_FLAG_PRIVATE : 0U) |
                    (sys_outlives_namespaces() ? 0U : GUARDIAN_FLAG_UNPROTECTED);
    connection_send(connection, &message);
}

void answer_operation(struct connection* connection, int error, uint32_t cause, const char* text) {
    struct guardian_message message = result(error, text);
    const struct hold* target = connection->operation.target;

    message.id = target ? target->id : 0;
    message.cause = cause;
    connection->operation = (struct operation){0};
    connection_send(connection, &message);
}

static uint32_t flags_of(const struct hold* hold) {
    return (hold->owner ? 0U : GUARDIAN_FLAG_KEPT) | (hold->live ? 0U : GUARDIAN_FLAG_PENDING) |
           (process_has_exited(&hold->process) ? GUARDIAN_FLAG_GONE : 0U);
}

static int64_t milliseconds_left(const struct hold* hold, int64_t now) {
    if (!hold->live)
        return hold->timeout_ms ? hold->timeout_ms : -1;
    if (hold->deadline == NEVER)
        return -1;
    return hold->deadline > now ? (hold->deadline - now + MILLISECOND - 1) / MILLISECOND : 0;
}

static void answer_holder(struct connection* connection, const struct hold* hold, uint32_t cause) {
    const int64_t now = sys_now();
    struct guardian_message message = {
        .type = GUARDIAN_HOLDER,
        .id = hold->id,
        .timeout_ms = milliseconds_left(hold, now),
        .age_ms = hold->live ? (now - hold->since) / MILLISECOND : 0,
        .flags = flags_of(hold),
        .pid = hold->process.pid,
        .cause = cause,
    };

    memcpy(message.command, hold->process.command, sizeof(message.command));
    memcpy(message.comment, hold->comment, sizeof(message.comment));
    connection_send(connection, &message);
}

void answer_state(const struct guardian* guardian, struct connection* connection, uint32_t cause) {
    const struct superblock* superblock = &guardian->superblock;
    const struct guardian_message message = {
        .type = GUARDIAN_STATE,
        .state = superblock_state(guardian),
        .age_ms = superblock->frozen ? (sys_now() - superblock->frozen_since) / MILLISECOND : 0,
        .count = (uint32_t)superblock->hold_count,
        .version = GUARDIAN_VERSION,
        .device_major = guardian->device_major,
        .device_minor = guardian->device_minor,
    };

    connection_send(connection, &message);
    for (const struct hold* hold = superblock->holds; hold; hold = hold->next)
        answer_holder(connection, hold, cause);
}

void announce_end(struct connection* connection, uint64_t id, uint32_t cause) {
    const struct guardian_message message = {.type = GUARDIAN_ENDED, .id = id, .cause = cause};

    connection_send(connection, &message);
    connection->finishing = true;
}
