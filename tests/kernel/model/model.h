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
    NO_OWNER_CHECK,         /* T takes another's hold when the caller has none */
    COUNT_SHARED_WITH_BDEV, /* T takes device-mapper's freeze when there is no hold */
    TIMER_NOT_REARMED,      /* only the earliest deadline fires */
    LATE_TIMER_ENDS_OTHERS, /* the timer of a hold that is gone ends those that are not */
    SYSRQ_J_ENDS_ONE,       /* the newest hold only */
    EXPIRED_IS_FORGOTTEN,   /* ... and its owner an administrator again */
    RESCUE_TAKES_OLDEST,    /* an administrator's T */
    NO_PREFERENCE_FOR_GONE, /* an administrator's T takes the newest of all */
    NEST_ALWAYS,            /* fs.freeze_nest does nothing */
    EXIT_THAWS,             /* a process that is gone has no hold any more */
    RESUME_ENDS_HOLDS,      /* the resume thaws, whatever else there is */
    REMINDED_TWICE,         /* an ended hold is EINVAL for ever */
    TIMEOUT_ARG_NESTS,      /* FIFREEZE with a timeout nests though it must not */
    UNMOUNT_ENDS_HOLDS,
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

enum deadline { NEVER, IN_SHORT, IN_LONG };

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
    bool running[3]; /* by deadline: a timer of that kind may run, if only for a hold long gone */
    bool stolen;     /* device-mapper's freeze, by COUNT_SHARED_WITH_BDEV */
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

/* What of @script can be taken from the start, the rest left out. */
struct script model_allowed_part(const struct script* script, const struct world* world);

#endif
