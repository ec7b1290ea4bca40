/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Executes the steps of a script on the kernel and compares the results with the model. */
#ifndef PLAY_H
#define PLAY_H

#include <stdint.h>

#include "../harness.h"
#include "model.h"

/* From the process that plays, in shared memory. */
struct finding {
    bool differs;  /* the kernel differs from the model */
    bool too_late; /* for a deadline, because the machine is too slow: nothing was found */
    int at;        /* the last step that began */
    char what[256];
};

struct play {
    const struct script* script;
    const struct world* world;
    enum mistake mistake; /* of the model */
    int soon;             /* seconds; LATER is twice that */
    struct finding* finding;
};
extern struct play play;

/* In its own process, on volume. Does not return if it finds a difference. */
void play_script(void);

/* ---- for the comparison with the model ------------------------------------------------------- */

extern struct model model;
extern struct actor* process[PROCESSES];

void differs(const char* format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* After @step; before it, the model was as @before. */
void compare_status(struct step step, const struct model* before);

#endif
