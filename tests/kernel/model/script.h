/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps: what one process, or the harness, does next. Scripts: lists of them, and their text. */
#ifndef SCRIPT_H
#define SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum verb {
    FREEZE,      /* FIFREEZE(NULL) */
    FREEZE_WITH, /* FIFREEZE with a pointer to a number of seconds */
    FREEZE_FOR,  /* FIFREEZE_TIMEOUT */
    THAW,
    RESET,
    WRITE, /* blocks its process while the filesystem is frozen */
    OPEN,
    CLOSE, /* the root of the filesystem */
    START,
    EXIT,
    KILL, /* SIGKILL */
    REAP,
    SUSPEND,
    RESUME,
    MOUNT,
    UNMOUNT,
    UNMOUNT_LAZILY,
    REMOUNT_RO,
    REMOUNT_RW,
    SYSRQ_J, /* and the resume, where the device is suspended */
    NEST,
    NO_NEST, /* fs.freeze_nest */
    TIMEOUT_ARG,
    NO_TIMEOUT_ARG, /* fs.freeze_timeout_arg */
    WATCH,
    UNWATCH,    /* begin and stop to see by a write whether the filesystem is frozen */
    WAIT_SOON,  /* until every timeout of SOON has surely run out */
    WAIT_LATER, /* ... and of LATER */
    VERBS,
};

/* The argument of a request. */
enum period { ZERO, ONE, SOON, LATER, TEN_MINUTES, NEGATIVE, UNREADABLE, PERIODS };

/* Who: one of these, or somebody who comes for one request and is gone then. */
enum { PROCESSES = 5, PASSER_BY = PROCESSES };

struct step {
    unsigned char verb, who, period;
};

struct script {
    struct step* steps;
    int count;
};

bool has_process(enum verb verb);
bool has_period(enum verb verb);

void script_add(struct script* script, struct step step);
struct script script_copy(const struct script* script, int from, int to);
void script_free(struct script* script);

const char* step_text(struct step step);
/* False if the text is no step. */
bool step_parse(const char* text, struct step* step);
/* Lines of steps; what follows a ';' and a '#' before it all are no part of it. */
bool script_read(FILE* file, struct script* script);

#endif
