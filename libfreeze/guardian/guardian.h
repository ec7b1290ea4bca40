/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guardian keeps one superblock frozen for its clients. PROTOCOL.md describes what it does.
 */
#ifndef LIBFREEZE_GUARDIAN_GUARDIAN_H
#define LIBFREEZE_GUARDIAN_GUARDIAN_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Serves the client at the other end of `channel`, a connected socket, and all others that connect
 * to the socket in `directory`. Returns when nothing is held any more: 0, or an errno if the
 * guardian could not start. Closes `channel`. Several guardians may run in threads of one process.
 */
int guardian_run(int channel, const char* directory);

#ifdef __cplusplus
}
#endif

#endif
