/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel must do, without a kernel: for each step, its result, whether the filesystem is
 * frozen afterwards, its status, and whether there still is a superblock. The model makes no system
 * calls and has no notion of time: a timeout expires at the step that waits for it.
 */
#ifndef MODEL_H
#define MODEL_H

#include <poll.h>
#include <stdbool.h>

#include "script.h"

/* Properties of the filesystem and the kernel. */
struct world {
    bool dm_freezes;        /* suspending the device freezes the filesystem */
    bool mounts_suspended;  /* ... and then it can still be mounted again */
    bool old_requests_only; /* an unpatched kernel */
    bool descriptors;       /* and giving up, and the status: part 3 of the patches */
};

/* Deliberate mistakes that a kernel could have. */
enum mistake {
    NONE,
    NO_OWNER_CHECK,         /* a thaw ends the newest hold of any process */
    COUNT_SHARED_WITH_BDEV, /* without a hold, a thaw ends device-mapper's freeze */
    THAWS_AT_THE_FIRST,     /* with several holds */
    TIMER_NOT_REARMED,      /* only the earliest deadline fires */
    TIMER_NOT_MOVED_FORWARD,
    EXPIRY_WITHOUT_RECHECK, /* the timer ends every hold with a timeout, due or not */
    SYSRQ_ENDS_ONE_HOLD,    /* the newest */
    BDEV_THAW_FAILS,        /* after sysrq-j, suspending never freezes again */
    ENDED_HOLD_FORGOTTEN,   /* by expiry: the owner's thaw ends another one of its holds */
    ENTRY_FORGOTTEN,        /* with the last hold: its owner is an administrator again */
    OLDEST_FIRST,           /* by an administrator's thaw */
    GONE_NOT_PREFERRED,     /* an administrator's thaw ends the newest hold of all */
    BEING_KILLED_IS_ALIVE,
    NEST_IGNORED,      /* fs.freeze_nest has no effect */
    TIMEOUT_ARG_NESTS, /* FIFREEZE with a timeout nests although it must not */
    EXIT_THAWS,        /* a process that exits loses its holds */
    RESUME_ENDS_HOLDS,
    UNMOUNT_ENDS_HOLDS,
    TOLD_TWICE, /* an ended hold returns EINVAL forever */
    CLOSE_KEEPS_HOLD,
    FIRST_CLOSE_THAWS,  /* ... although there are other descriptors of the same hold */
    FD_MAKES_ENTRY,     /* its holder can no longer thaw as an administrator */
    RESCUE_IGNORES_FDS, /* an administrator's thaw never ends the hold of a descriptor */
    MAKER_GONE_IS_GONE, /* a descriptor counts as gone when the process that made it is */
    STALE_THAW_SUCCEEDS,
    EXTEND_IGNORED,
    KEEP_LOSES_DEADLINE,
    KEPT_HOLD_IS_CLOSED, /* with the descriptor */
    OWN_THAW_IS_POLLED,
    END_IS_NOT_POLLED,
    KILLED_FREEZE_GOES_ON,
    LIMIT_FREEZES_LATER, /* a freeze that is given up succeeds when the writer is gone */
    PENDING_NOT_REPORTED,
    GONE_NOT_REPORTED, /* in the status */
    MISTAKES,
};
extern const char* const mistake_names[MISTAKES];

enum process_state {
    ABSENT,
    ALIVE,
    BLOCKED_IN_WRITE, /* until the thaw */
    BEING_KILLED,     /* the same, with SIGKILL pending */
    FREEZING,         /* waits for a stuck writer */
    ZOMBIE,
};

struct process {
    enum process_state state;
    int mount;           /* the one whose root it has open; 0 for none */
    int owner;           /* owner number of its holds; 0 if it has not frozen */
    int id;              /* different each time */
    int fd[NUMBERS];     /* in files; 0 for none */
    bool has_forked;     /* which each does once */
    struct step waiting; /* its last freeze that waited */
    int result;          /* ... and its result */
};

enum deadline { NEVER, IN_SHORT, IN_LONG, BEYOND_ALL_WAITS, IN_AGES, DEADLINES };

struct hold {
    int owner; /* negative: a file */
    bool live; /* otherwise ended, and not yet reported to its owner */
    enum deadline deadline;
};

/* What the descriptors of a hold refer to. */
struct file {
    int references; /* 0: does not exist */
    int maker;      /* the id of the process */
    enum { HELD, DROPPED /* by a holder */, ENDED } state;
};

enum { MOST_HOLDS = 64, FILES = PROCESSES * NUMBERS + 2, WAITERS = 2, TEXT = 32 };

struct model {
    struct world world;
    enum mistake mistake;
    struct process process[PROCESSES];
    struct process watcher;
    struct hold holds[MOST_HOLDS]; /* oldest first */
    int count;
    struct file files[FILES]; /* from 1 */
    int in_transit;           /* the file that was sent, or 0 */
    enum { NO_WRITER, STUCK, LINGERING /* killed, but may not be able to exit */ } writer;
    int waiting[WAITERS]; /* the processes that freeze, in this order */
    int waiters;
    bool gap; /* in this step, one process gave up its freeze and another one continued */
    int last_owner, last_id;
    int mount, last_mount; /* 0: not mounted; otherwise different each time */
    bool suspended, read_only;
    bool nest, timeout_arg;
    bool running[DEADLINES]; /* a timer may run, possibly for a hold that no longer exists */
    bool stolen;             /* device-mapper's freeze, by COUNT_SHARED_WITH_BDEV */
};

/* The result of a step, apart from 0 and -errno. */
enum { BLOCKS = 1, EVENT = POLLIN | POLLHUP };

/* As in linux/fs.h. */
enum holder_flags { HOLDER_FD = 1, HOLDER_GONE = 2, HOLDER_PENDING = 4 };
enum { NOBODY = -1 };

struct holder {
    int who; /* the process; ADMIN: one that is not among them; NOBODY: unknown */
    unsigned flags;
    int holds;
    enum deadline deadline;
};

struct outlook {
    unsigned state;
    int holds, bdev;
    struct holder holder[MOST_HOLDS + WAITERS];
    int count;
};

void model_begin(struct model* model, const struct world* world, enum mistake mistake);
/* Whether the result of the step can be predicted. */
bool model_allows(const struct model* model, struct step step);
int model_take(struct model* model, struct step step);

bool model_frozen(const struct model* model);
/* Somebody waits for a stuck writer, and all other writers wait for that. */
bool model_freezing(const struct model* model);
/* The status of the filesystem. */
struct outlook model_outlook(const struct model* model);
/* Writes block; a read-only filesystem returns EROFS even when frozen. */
bool model_blocks_writes(const struct model* model);
bool model_has_superblock(const struct model* model);
/* A process has the root of any mount open. */
bool model_is_open(const struct model* model);
/* ... of a mount that is not the present one. */
bool model_is_open_elsewhere(const struct model* model);
int model_live_holds(const struct model* model);
/* One that has not been reported to it. */
bool model_has_ended_hold(const struct model* model, const struct process* process);

/* The steps of @script that are allowed when it is run from the start. */
struct script model_allowed_part(const struct script* script, const struct world* world);

#endif
