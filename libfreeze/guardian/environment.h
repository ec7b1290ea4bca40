/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes a process that outlives its parent, and that nothing short of SIGKILL stops.
 */
#ifndef LIBFREEZE_GUARDIAN_ENVIRONMENT_H
#define LIBFREEZE_GUARDIAN_ENVIRONMENT_H

#include <stdbool.h>

/* Continues in a grandchild of the caller, in the root cgroup. False: it could not fork. */
bool detach_from_caller(void);

void block_signals(void);
/* Closes all but `channel`, and opens /dev/null in place of the standard streams. */
void close_descriptors(int channel);
/* Locks memory and asks the OOM killer to spare the process. The guardian works without, too. */
void protect_memory(void);

#endif
