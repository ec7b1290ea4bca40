/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel has to do, without a kernel: for each step, its result, whether the filesystem is
 * frozen after it, and whether there still is a superblock. It makes no system call and knows no
 * time: a timeout runs out when somebody waits for it.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>

#include "script.h"

/* What the filesystem and the kernel are like. */
struct world {
    bool dm_freezes;        /* suspending the device freezes the filesystem */
    bool mounts_suspended;  /* ... and it can be mounted meanwhile, if it was */
    bool old_requests_only; /* an unpatched kernel */
};

/* Deliberate mistakes, each of a kind that a kernel could make. */
enum mistake {
    NONE,
    NO_OWNER_CHECK,         /* T takes the newest hold of anyone, whoever asks */
    COUNT_SHARED_WITH_BDEV, /* T takes device-mapper's freeze when there is no hold */
    THAWS_AT_THE_FIRST,     /* of several thaws */
    TIMER_NOT_REARMED,      /* only the earliest deadline fires */
    TIMER_NOT_MOVED_FORWARD,
    EXPIRY_WITHOUT_RECHECK, /* the timer ends whatever has a timeout, due or not */
    SYSRQ_ENDS_ONE_HOLD,    /* the newest */
    BDEV_THAW_FAILS,        /* after sysrq-j, for good: suspending freezes no more */
    ENDED_HOLD_FORGOTTEN,   /* by expiry: the owner's T takes another one of its own */
    ENTRY_FORGOTTEN,        /* with the last hold, and its owner an administrator again */
    OLDEST_FIRST,           /* an administrator's T */
    GONE_NOT_PREFERRED,     /* an administrator's T takes the newest of all */
    BEING_KILLED_IS_ALIVE,
    NEST_IGNORED,      /* fs.freeze_nest does nothing */
    TIMEOUT_ARG_NESTS, /* FIFREEZE with a timeout nests though it must not */
    EXIT_THAWS,        /* a process that is gone has no hold any more */
    RESUME_ENDS_HOLDS,
    UNMOUNT_ENDS_HOLDS,
    TOLD_TWICE, /* an ended hold is EINVAL for ever */
    MISTAKES,
};
extern const char* const mistake_names[MISTAKES];

enum life {
    NOBODY,
    ALIVE,
    TRAPPED, /* waits in a write for the thaw */
    DOOMED,  /* ... and is being killed */
    ZOMBIE,
};

struct process {
    enum life life;
    int mount; /* the one that it has the root of open on; 0 for none */
    int owner; /* of holds of this number; 0 if it has not frozen here */
};

enum deadline { NEVER, IN_SHORT, IN_LONG, BEYOND_ALL_WAITS, DEADLINES };

struct hold {
    int owner;
    bool live; /* or ended, and not yet told to its owner */
    enum deadline deadline;
};

enum { MOST_HOLDS = 64, TEXT = 32 };

struct model {
    struct world world;
    enum mistake mistake;
    struct process process[PROCESSES];
    struct process watcher;
    struct hold holds[MOST_HOLDS]; /* oldest first */
    int count;
    int last_owner;
    int mount, last_mount; /* 0: not mounted; else different each time */
    bool suspended, read_only;
    bool nest, timeout_arg;
    bool running[DEADLINES]; /* by deadline: a timer of that kind may run, if only for a hold long
                                gone */
    bool stolen;             /* device-mapper's freeze, by COUNT_SHARED_WITH_BDEV */
};

/* A step's result beside 0 and -errno. */
enum { HELD_BACK = 1 };

void model_begin(struct model* model, const struct world* world, enum mistake mistake);
/* Whether the step has a result that can be foretold. */
bool model_allows(const struct model* model, struct step step);
int model_take(struct model* model, struct step step);

bool model_frozen(const struct model* model);
/* A write waits: a filesystem that was read-only when frozen answers EROFS. */
bool model_holds_writes_back(const struct model* model);
bool model_has_superblock(const struct model* model);
/* Some process has the root open: of any mount, or of one that is still to be seen but not the
 * present one. */
bool model_is_open(const struct model* model);
bool model_is_open_elsewhere(const struct model* model);
int model_live_holds(const struct model* model);
/* One that it has not been told of. */
bool model_has_ended_hold(const struct model* model, const struct process* process);

/* What of @script can be taken from the start, the rest left out. */
struct script model_allowed_part(const struct script* script, const struct world* world);

#endif
