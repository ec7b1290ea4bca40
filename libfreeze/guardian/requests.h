/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef LIBFREEZE_GUARDIAN_REQUESTS_H
#define LIBFREEZE_GUARDIAN_REQUESTS_H

struct connection;
struct guardian;
struct guardian_message;

/* Begins what a client asks for. */
void handle_request(struct guardian* guardian, struct connection* connection,
                    struct guardian_message* request);

#endif
