/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages of a guardian.
 */
#ifndef LIBFREEZE_GUARDIAN_ANSWERS_H
#define LIBFREEZE_GUARDIAN_ANSWERS_H

#include "state.h"

void answer_result(struct connection* connection, int error, const char* text);
void answer_hello(const struct guardian* guardian, struct connection* connection, int error,
                  const char* text);

/* Completes the operation of the connection. */
void answer_operation(struct connection* connection, int error, uint32_t cause, const char* text);

/* STATE, and HOLDER for each hold. */
void answer_state(const struct guardian* guardian, struct connection* connection, uint32_t cause);

/* ENDED; nothing follows it. */
void announce_end(struct connection* connection, uint64_t id, uint32_t cause);

#endif
