/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef LIBFREEZE_GUARDIAN_START_H
#define LIBFREEZE_GUARDIAN_START_H

struct guardian;

/* Receives the first client's HELLO, takes the superblock's lock, listens, and answers. An errno
 * that has been sent to the client, or 0. */
int start(struct guardian* guardian, int channel, const char* directory);

#endif
