/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages between a guardian and its clients. PROTOCOL.md explains them.
 */
#ifndef LIBFREEZE_GUARDIAN_PROTOCOL_H
#define LIBFREEZE_GUARDIAN_PROTOCOL_H

#include <stdint.h>

#define GUARDIAN_VERSION 1

/* Where guardians are reached, unless LIBFREEZE_RUNTIME_DIR names another directory. */
#define GUARDIAN_DIRECTORY "/run/libfreeze"
#define GUARDIAN_HOST_SOCKET "guardian.socket"

/* The descriptor on which a guardian that was started finds its first client, or a listening
 * socket. */
enum { GUARDIAN_CHANNEL = 3 };

enum guardian_message_type {
    /* requests */
    GUARDIAN_HELLO = 1,
    GUARDIAN_FREEZE = 2,
    GUARDIAN_EXTEND = 3,
    GUARDIAN_THAW = 4,
    GUARDIAN_KEEP = 5,
    GUARDIAN_ADOPT = 6,
    GUARDIAN_STATUS = 7,
    GUARDIAN_END_ALL = 8,
    /* answers */
    GUARDIAN_RESULT = 16,
    GUARDIAN_PENDING = 17,
    GUARDIAN_STATE = 18,
    GUARDIAN_HOLDER = 19,
    /* unasked */
    GUARDIAN_ENDED = 32,
};

enum guardian_state {
    GUARDIAN_UNFROZEN = 0,
    GUARDIAN_FREEZING = 1,
    GUARDIAN_FROZEN = 2,
};

enum guardian_flags {
    GUARDIAN_FLAG_KEPT = 1,         /* HOLDER: kept */
    GUARDIAN_FLAG_GONE = 2,         /* HOLDER: its process has exited */
    GUARDIAN_FLAG_PENDING = 4,      /* HOLDER: not frozen yet */
    GUARDIAN_FLAG_UNPROTECTED = 16, /* HELLO answers: would die with a PID namespace */
    GUARDIAN_FLAG_PRIVATE = 8,      /* HELLO: do not listen, serve this client only */
};

/* Why a hold ended. */
enum guardian_cause {
    GUARDIAN_CAUSE_NONE = 0,
    GUARDIAN_CAUSE_DEADLINE = 1,
    GUARDIAN_CAUSE_ADMINISTRATOR = 2, /* END_ALL, or THAW by id */
    GUARDIAN_CAUSE_UNKNOWN_THAW = 3,  /* somebody thawed without libfreeze */
};

/* Every message, in both directions. Host byte order; unused members are zero. */
struct guardian_message {
    uint32_t type; /* enum guardian_message_type */
    int32_t error; /* answers: 0, or a positive errno */
    uint64_t id;
    int64_t timeout_ms; /* 0: none; HOLDER: -1: none */
    int64_t age_ms;
    uint32_t version; /* HELLO */
    uint32_t flags;
    uint32_t device_major;
    uint32_t device_minor;
    int32_t pid;
    uint32_t state; /* STATE: enum guardian_state */
    uint32_t cause; /* ENDED, RESULT of -ESTALE, HOLDER of END_ALL: enum guardian_cause */
    uint32_t count; /* STATE: holders that follow */
    char command[16];
    char comment[32];
    char text[144]; /* RESULT: why it was refused, in one line; or "" */
};

#endif
