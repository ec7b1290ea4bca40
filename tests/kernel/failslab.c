/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Allocations that fail, for tasks that request it in /proc/PID/make-it-fail. */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "harness.h"

#define FAILSLAB "/sys/kernel/debug/failslab/"

void arm_failslab(const char* times) {
    const char* const settings[][2] = {{FAILSLAB "task-filter", "Y"},
                                       {FAILSLAB "ignore-gfp-wait", "N"},
                                       {FAILSLAB "verbose", "0"},
                                       {FAILSLAB "times", times},
                                       {FAILSLAB "probability", "100"}};

    if (access(FAILSLAB, F_OK))
        mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
    if (access(FAILSLAB, F_OK))
        unavailable("failslab");
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (write_file(settings[i][0], settings[i][1]) < 0)
            broken_at(__FILE__, __LINE__, "%s: %s", settings[i][0], strerror(errno));
}
