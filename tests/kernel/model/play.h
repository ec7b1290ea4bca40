/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Takes a script's steps for real, one at a time, and compares what comes of them with the model.
 */
#ifndef PLAY_H
#define PLAY_H

#include "model.h"

/* Left by the process that plays, in memory that both have. */
struct finding {
    bool differs;   /* the kernel is not as the model */
    bool overtaken; /* by a deadline, as the machine is too slow: nothing is found */
    int at;         /* the step that was under way last */
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

/* In a process of its own, on volume. Does not return if it finds something. */
void play_script(void);

#endif
