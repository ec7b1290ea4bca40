/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All that a guardian knows.
 */
#ifndef LIBFREEZE_GUARDIAN_STATE_H
#define LIBFREEZE_GUARDIAN_STATE_H

#include "connection.h"
#include "registry.h"
#include "superblock.h"
#include "worker.h"

enum { MAX_CONNECTIONS = 1000 };

struct guardian {
    uint32_t device_major, device_minor;
    int filesystem; /* nothing else of it is open */
    struct registry registry;
    struct worker worker;
    struct superblock superblock;
    struct connection* connections;
    int connection_count;
    struct connection* first; /* whoever started the guardian, until it has had a hold */
    int64_t accept_again_at;  /* after a failed accept() */
};

#endif
