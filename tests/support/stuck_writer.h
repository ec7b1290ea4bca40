/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer that is stuck in the middle of a write, so that no freeze can complete. Opening a file
 * with O_TRUNC first takes write access to the filesystem and then asks a fanotify listener for
 * permission; until that answers, the opener keeps the write access. For C and C++.
 *
 * The opener is a separate process. All functions return -errno if they fail.
 */
#ifndef SUPPORT_STUCK_WRITER_H
#define SUPPORT_STUCK_WRITER_H

#ifdef __cplusplus
extern "C" {
#endif

/* Makes every open of the file wait. Returns a descriptor; closing it allows them all. */
int hold_opens(int directory, const char* file);
int open_truncating(int directory, const char* file);
int wait_for_open(int listener, int within_ms); /* -ETIMEDOUT if nobody opens the file */
int allow_open(int listener);                   /* lets the first opener continue */

#ifdef __cplusplus
}
#endif

#endif
