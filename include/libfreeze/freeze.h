/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfreeze's C interface: freeze.hpp's FreezeGuard for C and for whatever can call C.
 *
 *     struct libfreeze_guard *guard;
 *     const char *path = "/srv/data";
 *     struct libfreeze_options options = LIBFREEZE_OPTIONS_INIT;
 *     options.timeout_ms = 30000;
 *     if (libfreeze_freeze(&path, 1, &options, &guard) < 0)
 *         errx(1, "%s", libfreeze_error_message());
 *     take_snapshot();
 *     int result = libfreeze_thaw(guard);
 *     if (result < 0)
 *         warnx("%s", libfreeze_error_message());    // -ESTALE: throw the snapshot away
 *     libfreeze_free(guard);
 *
 * What each call does, what blocks, what it needs, which kernel has it, and what holds for threads
 * and forks is said in freeze_guard.hpp and options.hpp, at the function or option of that name.
 *
 * Results are 0 or a negative errno. Some have a meaning of their own here:
 *   -ESTALE      the freeze did not last: what was copied meanwhile is not consistent (expired)
 *   -EOPNOTSUPP  such a filesystem cannot be frozen (not_supported)
 *   -EBUSY       somebody else has frozen it, and this kernel lets only one (already_frozen)
 *   -ENOTTY      this kernel has no freeze timeouts (unsupported_by_kernel)
 *   -EDEADLK     the program would block on what it freezes (would_deadlock)
 *   -ETIMEDOUT   not frozen within acquire_timeout_ms (acquire_timeout)
 *   -EINVAL      misuse: no path, an empty guard, a guard in a forked child, contradicting options,
 *                a pointer that is NULL
 *   -E2BIG       options of a later version of the library, which this one does not know
 */
#ifndef LIBFREEZE_FREEZE_H
#define LIBFREEZE_FREEZE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LIBFREEZE_C_EXPORT __attribute__((visibility("default")))

/* What one call has frozen. One thread at a time may use it, and only in the process that made it.
 */
struct libfreeze_guard;

enum libfreeze_guardian {
    LIBFREEZE_GUARDIAN_AUTOMATIC = 0,
    LIBFREEZE_GUARDIAN_ALWAYS = 1,
    LIBFREEZE_GUARDIAN_NEVER = 2,
};

/* As struct libfreeze::Options. Begin with LIBFREEZE_OPTIONS_INIT: later versions may add members
 * at the end, where zero is what was before. */
struct libfreeze_options {
    size_t size; /* of this struct, as the program was compiled with it */
    int64_t timeout_ms;
    int64_t acquire_timeout_ms;
    int64_t flush_budget_ms;
    int32_t guardian; /* enum libfreeze_guardian */
    int32_t skip_unfreezable;
    int32_t allow_self_deadlock;
    int32_t lock_memory;
};

#define LIBFREEZE_OPTIONS_INIT                                                                     \
    { sizeof(struct libfreeze_options), 0, 0, 10000, 0, 0, 0, 0 }

/* As struct libfreeze::Stats, in nanoseconds. */
struct libfreeze_stats {
    uint64_t flush_rounds;
    int64_t flushing_ns;
    int64_t freezing_ns;
    int64_t frozen_ns;
};

/* Freezes the filesystems that the paths are on: all, or none. Options of NULL are the default. On
 * failure *guard is NULL. Whatever the guard's fate it is given to libfreeze_free() at last. */
LIBFREEZE_C_EXPORT int libfreeze_freeze(const char* const* paths, size_t count,
                                        const struct libfreeze_options* options,
                                        struct libfreeze_guard** guard);

/* Takes over the freeze of the filesystem that the path is on. -ESTALE: there is none. */
LIBFREEZE_C_EXPORT int libfreeze_adopt(const char* path, const struct libfreeze_options* options,
                                       struct libfreeze_guard** guard);

/* Moves the deadline to so many milliseconds from now. */
LIBFREEZE_C_EXPORT int libfreeze_extend(struct libfreeze_guard* guard, int64_t timeout_ms);

/* Thaws, and says if the freeze has lasted. After -ESTALE the guard is empty; after any other
 * error it is still frozen, and this may be called again. */
LIBFREEZE_C_EXPORT int libfreeze_thaw(struct libfreeze_guard* guard);

/* Leaves it frozen, and empties the guard. */
LIBFREEZE_C_EXPORT void libfreeze_release(struct libfreeze_guard* guard);

/* Thaws if need be, as FreezeGuard's destructor does, and frees. NULL is nothing. */
LIBFREEZE_C_EXPORT void libfreeze_free(struct libfreeze_guard* guard);

/* How many filesystems it holds, and where each is mounted, in the order in which they were frozen
 * (NULL past the last, "" if that is not known). The text is the guard's, until it changes. */
LIBFREEZE_C_EXPORT size_t libfreeze_count(const struct libfreeze_guard* guard);
LIBFREEZE_C_EXPORT const char* libfreeze_mountpoint(const struct libfreeze_guard* guard,
                                                    size_t number);

/* How many filesystems it left out since they cannot be frozen (skip_unfreezable), and the path of
 * each as the caller gave it (NULL past the last). The text is the guard's. */
LIBFREEZE_C_EXPORT size_t libfreeze_skipped_count(const struct libfreeze_guard* guard);
LIBFREEZE_C_EXPORT const char* libfreeze_skipped_path(const struct libfreeze_guard* guard,
                                                      size_t number);

LIBFREEZE_C_EXPORT void libfreeze_get_stats(const struct libfreeze_guard* guard,
                                            struct libfreeze_stats* stats);

/* 1 if the kernel has freeze timeouts, 0 if a guardian must do; any path will do. */
LIBFREEZE_C_EXPORT int libfreeze_probe_timeout(const char* path);

/* What the last call of this thread that failed had to say, in one line; the thread's until the
 * next one that fails. */
LIBFREEZE_C_EXPORT const char* libfreeze_error_message(void);

/* Told of what libfreeze_free() and libfreeze_release() could not do, and of what stays frozen
 * beside the error of another call; see FailureHandler. NULL: the default. */
typedef void (*libfreeze_failure_handler)(int error, const char* message, const char* mountpoint);
LIBFREEZE_C_EXPORT void libfreeze_set_failure_handler(libfreeze_failure_handler handler);

#ifdef __cplusplus
}
#endif

#endif
