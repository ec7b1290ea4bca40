/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian's files in /run/libfreeze. A private guardian has none; all functions do nothing
 * then.
 */
#ifndef LIBFREEZE_GUARDIAN_REGISTRY_H
#define LIBFREEZE_GUARDIAN_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

enum { REGISTRY_PATH_SIZE = 108 }; /* like sun_path */

struct registry {
    char directory[REGISTRY_PATH_SIZE];
    char device[24]; /* MAJOR:MINOR */
    int lock;        /* -1: private */
    int listener;    /* -1: none */
    int64_t recorded_until;
    bool recorded;         /* the lock file says that the filesystem is frozen */
    bool was_left_frozen;  /* by a guardian that was killed */
    int64_t left_until_ms; /* when the kernel thaws that (CLOCK_MONOTONIC); 0: never */
};

void registry_init(struct registry* registry);

/* Takes the lock and listens. EAGAIN: another guardian has the lock. EACCES, EPERM, EROFS, ENOENT,
 * EDEADLK: this guardian can only be private. */
int registry_open(struct registry* registry, const char* directory, uint32_t device_major,
                  uint32_t device_minor, int filesystem);
void registry_close(struct registry* registry);

/* Records in the lock file that the filesystem is frozen. An errno or 0. */
int registry_set_frozen(struct registry* registry, int64_t until_ms);
void registry_clear_frozen(struct registry* registry);

/* How a kept hold ended. */
void registry_record_end(struct registry* registry, uint64_t id, uint32_t cause);
/* Returns the cause and removes the record; 0 if there is none. */
uint32_t registry_take_end(struct registry* registry, uint64_t id);

#endif
