/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A step is an action of one process or of the harness; a script is a list of steps. */
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
    FREEZE_FD,        /* FIFREEZE_FD */
    FREEZE_FD_WITHIN, /* ... with a time limit, which passes if a writer is stuck */
    FD_THAW,
    FD_EXTEND,
    FD_KEEP,
    FD_POLL,
    FD_CLOSE,
    FD_DUP, /* to the other number */
    FD_SEND,
    FD_RECEIVE,   /* over a socket that all share */
    DIE_FREEZING, /* SIGKILL at some moment of a FIFREEZE_FD */
    DIE_THAWING,  /* ... of a FSFREEZE_THAW */
    FORK,         /* the first process that is absent becomes the child */
    WRITE,        /* blocks its process while the filesystem is frozen */
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
    SYSRQ_J, /* and the resume, if the device is suspended */
    NEST,
    NO_NEST, /* fs.freeze_nest */
    TIMEOUT_ARG,
    NO_TIMEOUT_ARG, /* fs.freeze_timeout_arg */
    LOSE,           /* nobody receives the descriptor that was sent */
    STICK,
    UNSTICK, /* start and kill a writer that waits for data from an empty pipe */
    WATCH,
    UNWATCH,    /* start and stop the process whose writes show whether it is frozen */
    WAIT_SOON,  /* until every timeout of SOON has certainly expired */
    WAIT_LATER, /* ... and of LATER */
    VERBS,
};

/* The argument of a request. To a descriptor, 1 is a millisecond, and -1 the longest time. */
enum period { ZERO, ONE, SOON, LATER, TEN_MINUTES, NEGATIVE, UNREADABLE, PERIODS };

/* Who: one of these processes, or an administrator: a new process for each request. */
enum { PROCESSES = 5, ADMIN = PROCESSES };

/* The descriptors of a process. */
enum { NUMBERS = 2 };

struct step {
    unsigned char verb, who, period, number;
};

struct script {
    struct step* steps;
    int count;
};

bool has_process(enum verb verb);
bool has_period(enum verb verb);
bool has_number(enum verb verb);

void script_add(struct script* script, struct step step);
struct script script_copy(const struct script* script, int from, int to);
void script_free(struct script* script);

const char* step_text(struct step step);
/* False if the text is not a step. */
bool step_parse(const char* text, struct step* step);
/* One step per line; a leading '#' and everything after a ';' are ignored. */
bool script_read(FILE* file, struct script* script);

#endif
