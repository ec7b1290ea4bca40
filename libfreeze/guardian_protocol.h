/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the library and a guardian say to each other, over a SOCK_SEQPACKET socket: one reply to
 * each request. The first reply comes unasked, once the guardian is ready or knows why it is not.
 */
#ifndef LIBFREEZE_GUARDIAN_PROTOCOL_H
#define LIBFREEZE_GUARDIAN_PROTOCOL_H

#include <stdint.h>

/* Where the guardian finds the socket. The first message there has with it a descriptor on the
 * filesystem and, where the kernel has them, a pidfd of the program. */
enum { GUARDIAN_CHANNEL = 3 };

enum guardian_operation {
    GUARDIAN_SYNC,
    GUARDIAN_FREEZE,
    GUARDIAN_RESET,
    GUARDIAN_THAW,
    GUARDIAN_RELEASE, /* leave it frozen, until the deadline if there is one */
    GUARDIAN_RESCUE,  /* thaw what a dead one has left; asked of one that has never frozen */
};

struct guardian_request {
    int64_t seconds; /* of FREEZE and RESET; 0: no deadline */
    int32_t operation;
    int32_t unused;
};

struct guardian_reply {
    int32_t error;    /* an errno; EINVAL of RESET and THAW: the freeze has ended before */
    int32_t leftover; /* the errno with which a freeze could not be undone that RESET has made */
};

#endif
