/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel has logged since a mark. For C and C++. */
#ifndef SUPPORT_KERNEL_LOG_H
#define SUPPORT_KERNEL_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

/* The end of the log as it is now: a descriptor to close, or -errno. */
int log_mark(void);
/*
 * The number of lines since the mark, or since the last call, that have all these words (the last
 * one is NULL). The last such line is in @line, unless that is NULL.
 */
int log_count(int mark, const char* const words[], char* line);
/* Waits for at least one such line. Returns how many there are, 0 if none comes in time. */
int log_wait(int mark, const char* const words[], char* line, int within_ms);
/* What the kernel says at the end of an emergency thaw (sysrq-j). */
extern const char* const emergency_thaw_complete[];

#define LOG_LINE 1024 /* no line is longer */

#ifdef __cplusplus
}
#endif

#endif
