/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that made a hold, for those who ask.
 */
#ifndef LIBFREEZE_GUARDIAN_PROCESS_H
#define LIBFREEZE_GUARDIAN_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
    pid_t pid;            /* 0: in a PID namespace that the guardian cannot see */
    char command[16];     /* "" if unknown */
    uint64_t start_ticks; /* tells it from a later process with the same pid; 0: unknown */
};

void process_describe(pid_t pid, struct process* process);
bool process_has_exited(const struct process* process);

#endif
