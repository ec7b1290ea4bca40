/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client's connection: assembles messages, and sends answers without ever blocking.
 */
#ifndef LIBFREEZE_GUARDIAN_CONNECTION_H
#define LIBFREEZE_GUARDIAN_CONNECTION_H

#include "protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct hold;

/* The request that a connection waits for. The next one is read after its answer. */
struct operation {
    uint32_t type;       /* enum guardian_message_type; 0: none */
    struct hold* target; /* NULL: none, or all */
    bool in_check;       /* the running check answers it */
    int64_t answer_by;   /* EXTEND */
    int64_t timeout_ms;  /* ADOPT */
    char comment[32];    /* ADOPT */
};

struct connection {
    struct connection* next;
    int fd; /* -1: closed, to be freed */
    pid_t pid;
    bool greeted;
    bool had_hold; /* has one, or had one: there is no second */
    struct hold* hold;
    struct operation operation;

    bool takes_descriptor; /* from its first message */
    int passed;            /* the descriptor; -1: none */

    char input[sizeof(struct guardian_message)];
    size_t received;
    char* output;
    size_t output_size, output_used, output_sent;
    bool finishing; /* reads no more requests, and shuts down the sending side after the answers */
    bool finished;
    bool broken; /* to be closed */
};

struct connection* connection_new(int fd);
void connection_free(struct connection* connection);
void connection_close(struct connection* connection);

enum received { RECEIVED_NOTHING, RECEIVED_MESSAGE, RECEIVED_END };
enum received connection_receive(struct connection* connection, struct guardian_message* message);

/* Queues a message. */
void connection_send(struct connection* connection, const struct guardian_message* message);
bool connection_has_output(const struct connection* connection);
/* Sends what the socket accepts. */
void connection_flush(struct connection* connection);

#endif
