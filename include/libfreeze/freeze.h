/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * @file
 * libfreeze: freezes mounted filesystems, so that snapshots and copies of them are consistent.
 *
 * This is the library's only binary interface. <libfreeze/freeze.hpp> is a C++ interface over it.
 *
 *     struct libfreeze_options options;
 *     struct libfreeze_guard *guard;
 *     const char *path = "/srv/data";
 *
 *     libfreeze_options_init(&options, sizeof(options));
 *     options.timeout_ms = 30000;
 *     if (libfreeze_freeze(&path, 1, &options, &guard) < 0)
 *         errx(1, "%s", libfreeze_error_message());
 *     take_snapshot();
 *     if (libfreeze_guard_thaw(guard) < 0)
 *         warnx("%s", libfreeze_error_message());    // -ESTALE: discard the snapshot
 *     libfreeze_guard_free(guard);
 *
 * libfreeze(7) explains the concepts: holds, deadlines, the guardian, stacked filesystems.
 *
 * Functions that can fail return 0 or a negative errno. libfreeze_error_message() then has one line
 * that names the operation, the path and a remedy. These results have a fixed meaning:
 *
 *   -ESTALE      the freeze did not last: what was copied meanwhile may be inconsistent
 *   -EOPNOTSUPP  the filesystem cannot be frozen
 *   -EBUSY       a program that does not use libfreeze has frozen it, and this kernel allows only
 *                one freeze; or the filesystem is being resized
 *   -EDEADLK     the program would block on its own freeze, or a thaw would wait for a lower filesystem
 *                that is still held
 *   -ETIMEDOUT   acquire_timeout_ms is over
 *   -ECANCELED   cancel_fd became readable
 *   -ENOTRECOVERABLE  the guardian would die together with the program (see allow_unprotected)
 *   -ESRCH       there is no kept hold to adopt, no hold with that id, or the filesystem is not
 *                frozen
 *   -EPERM       CAP_SYS_ADMIN is missing
 *   -EINVAL      misuse by the caller: a NULL pointer, an empty guard, a guard in a forked child
 *   -E2BIG       the options struct is of a later version and uses what this library does not know
 *   -ERANGE      a timeout is negative or longer than LIBFREEZE_MAX_TIMEOUT_MS
 *
 * Threads: every function may be called from any thread. A guard may be used by one thread at a
 * time. Forks: a guard can be used only in the process that made it; in a forked child,
 * libfreeze_guard_free() releases memory and nothing else.
 */
#ifndef LIBFREEZE_FREEZE_H
#define LIBFREEZE_FREEZE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Marks what the library exports. */
#define LIBFREEZE_EXPORT __attribute__((visibility("default")))

/** One year. A longer timeout is a mistake in the unit. */
#define LIBFREEZE_MAX_TIMEOUT_MS 31536000000

/**
 * Returns the version of the library, such as "0.2.0". Thread-safe, never blocks.
 */
LIBFREEZE_EXPORT const char* libfreeze_version(void);

/**
 * Returns the message of the calling thread's last failed call, in one line. The text is valid
 * until the next call that fails in this thread. Never NULL.
 */
LIBFREEZE_EXPORT const char* libfreeze_error_message(void);

/* ---- options ---------------------------------------------------------------------------------- */

/** What a freeze is doing. */
enum libfreeze_phase {
    LIBFREEZE_PHASE_PREPARING = 0, /**< looking up paths, reaching guardians */
    LIBFREEZE_PHASE_FLUSHING = 1,  /**< writing out dirty data; nobody is blocked yet */
    LIBFREEZE_PHASE_FREEZING = 2,  /**< blocking writers */
    LIBFREEZE_PHASE_FROZEN = 3,    /**< all filesystems are frozen */
};

/** The progress of a freeze. */
struct libfreeze_progress {
    int32_t phase;         /**< enum libfreeze_phase */
    uint32_t flush_rounds; /**< finished rounds of writing out */
    int64_t elapsed_ms;    /**< since the call began */
    uint32_t filesystems;  /**< to freeze */
    uint32_t frozen;       /**< how many of them are frozen */
};

/** Receives a failure of libfreeze_guard_free(), which returns nothing. `error` is a negative errno.
 * Must not write to the filesystem at `mountpoint`, which may still be frozen. */
typedef void (*libfreeze_failure_handler)(int error, const char* message, const char* mountpoint,
                                          void* data);

/** How to freeze. Fill it with libfreeze_options_init() first. */
struct libfreeze_options {
    /** sizeof(struct libfreeze_options), as the program was compiled. */
    size_t size;

    /** Thaw this many milliseconds after the freeze is complete, whatever happens to the program.
     * 0 (default): no deadline. Time in which the machine is suspended does not count. */
    int64_t timeout_ms;

    /** Give up if the filesystems are not frozen by then. Covers everything, including the look-up
     * of the paths. 0 (default): wait as long as it takes, which may be forever. On kernels without
     * part 3 of the patches, writers that are blocked already wait until the writer that holds up
     * the freeze has finished; the freeze is then undone at once. */
    int64_t acquire_timeout_ms;

    /** How long to write out dirty data before writers are blocked. 0: not at all. Default: 10000. A
     * round of writing that has begun is finished. */
    int64_t flush_budget_ms;

    /** Shown to programs that ask for the holders. At most 31 bytes. NULL (default): none. */
    const char* comment;

    /** Called as the freeze proceeds, from the thread that called. NULL (default): not called. */
    void (*progress)(const struct libfreeze_progress* progress, void* data);
    void* progress_data; /**< the last argument of progress */

    /** Where libfreeze_guard_free() reports failures. NULL (default): one line on standard error,
     * unless that is on a frozen filesystem. */
    libfreeze_failure_handler failure_handler;
    void* failure_data; /**< the last argument of failure_handler */

    /** The freeze is given up with -ECANCELED when this descriptor becomes readable. -1 (default):
     * none. */
    int32_t cancel_fd;

    /** Of several filesystems, leave out those that cannot be frozen. 0 (default): fail. If none is
     * left, the call fails nevertheless. */
    int32_t skip_unfreezable;

    /** Freeze even if the program would then block on its own freeze: because its standard output,
     * its standard error or a log is on the filesystem, or a swap file. 0 (default): -EDEADLK. */
    int32_t allow_self_deadlock;

    /** Freeze even if the guardian would be killed together with the program: in a PID namespace
     * whose host offers no guardian. 0 (default): -ENOTRECOVERABLE. Where the kernel keeps the
     * holds (part 3 of the patches), only libfreeze_guard_keep() needs a guardian. */
    int32_t allow_unprotected;

    /** Lock the program's memory while the guard lives (mlockall(2)). 0 (default): do not. */
    int32_t lock_memory;

    /** 0. */
    int32_t reserved;
};

/**
 * Sets all members to their defaults. `size` is sizeof(struct libfreeze_options).
 */
LIBFREEZE_EXPORT void libfreeze_options_init(struct libfreeze_options* options, size_t size);

/* ---- guards ----------------------------------------------------------------------------------- */

/** Keeps one or several filesystems frozen. */
struct libfreeze_guard;

/**
 * Freezes the filesystems that the paths are on: all, or none. Any path on a filesystem is accepted.
 * Paths on the same filesystem count once.
 *
 * Blocks until dirty data is on disk and writers have finished. Needs CAP_SYS_ADMIN in the user
 * namespace that mounted the filesystems.
 *
 * @param paths    `count` paths
 * @param options  NULL: the defaults
 * @param guard    receives the guard; NULL on failure
 * @return 0, any of the errors above, or one of the kernel (-EIO, -ENOSPC, ...). -ESTALE: the
 *         timeout of one filesystem passed while the others were being frozen. After an error
 *         nothing is frozen.
 */
LIBFREEZE_EXPORT int libfreeze_freeze(const char* const* paths, size_t count,
                                      const struct libfreeze_options* options,
                                      struct libfreeze_guard** guard);

/**
 * Freezes the filesystems that the open files are on. The descriptors may be O_PATH, and may be
 * closed afterwards. Otherwise the same as libfreeze_freeze().
 */
LIBFREEZE_EXPORT int libfreeze_freeze_fds(const int* fds, size_t count,
                                          const struct libfreeze_options* options,
                                          struct libfreeze_guard** guard);

/**
 * Takes over a kept hold of the filesystem that the path is on (see libfreeze_guard_keep()); the
 * newest, if there are several. The new deadline is options->timeout_ms from now; 0: none.
 * flush_budget_ms, progress and skip_unfreezable have nothing to act on and are refused if they are
 * not at their defaults (-EINVAL).
 *
 * @return 0; -ESRCH if there is none; -ESTALE if it has ended; the other errors as for
 *         libfreeze_freeze()
 */
LIBFREEZE_EXPORT int libfreeze_adopt(const char* path, const struct libfreeze_options* options,
                                     struct libfreeze_guard** guard);

/**
 * Takes over the kept holds with this id, on all their filesystems: all, or none. Otherwise the
 * same as libfreeze_adopt().
 */
LIBFREEZE_EXPORT int libfreeze_adopt_id(const char* id, const struct libfreeze_options* options,
                                        struct libfreeze_guard** guard);

/**
 * Moves the deadline to `timeout_ms` from now. 0: no deadline. Never blocks.
 *
 * @return 0; -ESTALE if the freeze has ended; -ERANGE
 */
LIBFREEZE_EXPORT int libfreeze_guard_extend(struct libfreeze_guard* guard, int64_t timeout_ms);

/**
 * Ends the guard's holds and reports whether the filesystems stayed frozen from the freeze until
 * now. The filesystems thaw unless other holds keep them frozen. Blocks while the kernel thaws.
 *
 * @return 0; -ESTALE if any had thawed in the meantime: all are released now, and the guard is
 *         empty. -EDEADLK if a filesystem was not thawed because its thaw would wait for a lower
 *         one that somebody still holds; any other error if a filesystem could not be thawed. After
 *         these two the guard still holds it, and the call may be repeated.
 */
LIBFREEZE_EXPORT int libfreeze_guard_thaw(struct libfreeze_guard* guard);

/**
 * Leaves the filesystems frozen, with their deadline, and empties the guard. Use
 * libfreeze_guard_id() to find the holds again, also from another program. Where the kernel keeps
 * the holds, a guardian takes over without a break.
 *
 * @return 0; -ESTALE if the freeze has ended: the guard is empty, and nothing is left frozen. After
 *         -EOPNOTSUPP (no other program could reach the guardian) and -ENOTRECOVERABLE (see
 *         allow_unprotected) nothing has changed, unless some filesystems of the guard were kept
 *         already: all are thawed then, and the guard is empty.
 */
LIBFREEZE_EXPORT int libfreeze_guard_keep(struct libfreeze_guard* guard);

/**
 * Ends the holds that the guard still has and frees it. A failure is reported to the guard's
 * failure handler. NULL is allowed. Blocks as libfreeze_guard_thaw() does.
 */
LIBFREEZE_EXPORT void libfreeze_guard_free(struct libfreeze_guard* guard);

/**
 * Returns a descriptor that becomes readable as soon as a hold of the guard has ended early: by its
 * deadline, by another program, or by the death of its guardian. It stays readable. Then call
 * libfreeze_guard_thaw() or libfreeze_guard_extend(), which return -ESTALE. Use it with poll(2) or
 * epoll(7) only. It belongs to the guard, and is closed on exec.
 *
 * @return -EINVAL if the guard is empty, or if the program has closed its descriptors
 */
LIBFREEZE_EXPORT int libfreeze_guard_descriptor(const struct libfreeze_guard* guard);

/**
 * Returns the id that all holds of the guard share: 16 hexadecimal digits. Valid until the guard is
 * freed. "" if guard is NULL.
 */
LIBFREEZE_EXPORT const char* libfreeze_guard_id(const struct libfreeze_guard* guard);

/** A filesystem as the mount table of the calling thread shows it. A text is "" if the table does
 * not have it. */
struct libfreeze_filesystem {
    const char* path;       /**< the one that the caller gave; the mountpoint, if it gave none */
    const char* mountpoint; /**< where it is mounted */
    const char* type;       /**< "ext4" */
    const char* source;     /**< the mounted device, for most types */
    uint32_t device_major;  /**< of the superblock */
    uint32_t device_minor;  /**< of the superblock */
};

/**
 * Returns how many filesystems the guard holds; 0 if it is empty.
 */
LIBFREEZE_EXPORT size_t libfreeze_guard_count(const struct libfreeze_guard* guard);

/**
 * Returns one of them, in the order in which they were frozen. Valid until the guard changes. NULL
 * if there is no such number.
 */
LIBFREEZE_EXPORT const struct libfreeze_filesystem*
libfreeze_guard_filesystem(const struct libfreeze_guard* guard, size_t number);

/**
 * Returns how many filesystems were left out (skip_unfreezable).
 */
LIBFREEZE_EXPORT size_t libfreeze_guard_skipped_count(const struct libfreeze_guard* guard);

/** The same as libfreeze_guard_filesystem() for those that were left out. */
LIBFREEZE_EXPORT const struct libfreeze_filesystem*
libfreeze_guard_skipped(const struct libfreeze_guard* guard, size_t number);

/** How long the steps of a freeze took. */
struct libfreeze_stats {
    uint64_t flush_rounds; /**< rounds of writing out before writers were blocked */
    int64_t flushing_ns;   /**< the time they took */
    int64_t freezing_ns;   /**< from the first request to freeze until all were frozen */
    int64_t frozen_ns;     /**< from then until the guard was emptied, or until now */
};

/**
 * Fills `stats`. `size` is sizeof(struct libfreeze_stats).
 */
LIBFREEZE_EXPORT void libfreeze_guard_stats(const struct libfreeze_guard* guard,
                                            struct libfreeze_stats* stats, size_t size);

/* ---- holds of other programs ------------------------------------------------------------------ */

/**
 * Ends all holds with this id, in any program.
 *
 * @return 0 if they were frozen until now; -ESTALE if any had ended before; -ESRCH if no hold with
 *         this id is known (it ended and somebody has asked already, or it never existed)
 */
LIBFREEZE_EXPORT int libfreeze_thaw_id(const char* id);

/**
 * Moves the deadline of all holds with this id to `timeout_ms` from now; 0: no deadline.
 *
 * @return as libfreeze_thaw_id(); -ERANGE
 */
LIBFREEZE_EXPORT int libfreeze_extend_id(const char* id, int64_t timeout_ms);

/* ---- what is known about filesystems ---------------------------------------------------------- */

/** The state of a filesystem. */
enum libfreeze_state {
    LIBFREEZE_STATE_UNKNOWN = -1, /**< no guardian, and the kernel cannot tell */
    LIBFREEZE_STATE_UNFROZEN = 0, /**< not frozen */
    LIBFREEZE_STATE_FREEZING = 1, /**< a freeze is in progress */
    LIBFREEZE_STATE_FROZEN = 2,   /**< frozen */
};

/** Properties of a hold. */
enum libfreeze_hold_flags {
    LIBFREEZE_HOLD_KEPT = 1,    /**< its holder has left it frozen on purpose */
    LIBFREEZE_HOLD_GONE = 2,    /**< its holder has exited */
    LIBFREEZE_HOLD_PENDING = 4, /**< still trying to freeze */
};

/** A hold of a filesystem. */
struct libfreeze_hold {
    const char* id;      /**< "" if it was made without libfreeze */
    const char* command; /**< of the process, at the time of the freeze */
    const char* comment; /**< as the holder gave it */
    const char* ended;   /**< of libfreeze_thaw_others(): what became of it; otherwise "" */
    int64_t age_ms;      /**< since the freeze */
    int64_t left_ms;     /**< until its deadline; -1: it has none */
    int32_t pid;         /**< 0: not visible */
    uint32_t flags;      /**< enum libfreeze_hold_flags */
};

/** The status of a filesystem. */
struct libfreeze_status {
    struct libfreeze_filesystem filesystem; /**< the filesystem */
    int32_t freezable;                      /**< 1, 0, or -1: unknown */
    int32_t state;                          /**< enum libfreeze_state */
    const char* reason; /**< why it is not freezable, or why its state is unknown; or "" */
    int64_t frozen_ms;  /**< for how long; -1: unknown */
    uint32_t
        block_freezes; /**< freezes by its block devices (device-mapper); patched kernels only */
    uint32_t kernel_freezes;       /**< freezes by the kernel; patched kernels only */
    int32_t suspended;             /**< 1: device-mapper has suspended one of its devices */
    int32_t stack_complete;        /**< 0: it may be stacked on more than is listed */
    int64_t dirty_bytes;           /**< waiting to be written to its device; -1: unknown */
    const char* dirty_source;      /**< the file that dirty_bytes is from, or why it is unknown */
    size_t rank;                   /**< of libfreeze_plan(): higher ranks are frozen first */
    size_t hold_count;             /**< holds, for libfreeze_report_hold() */
    size_t below_count;            /**< filesystems that it is stacked on */
    size_t other_mountpoint_count; /**< where else it is mounted */
};

/** The result of libfreeze_inspect(), libfreeze_plan() or libfreeze_thaw_others(). */
struct libfreeze_report;

/**
 * Reports what is known about the filesystems that the paths are on: whether they can be frozen,
 * whether they are and by whom, and what they are stacked on. Without paths: about all mounted
 * filesystems that are not known to be unfreezable. Freezes nothing, and never blocks on a frozen
 * filesystem. The holders are reported only to callers with CAP_SYS_ADMIN.
 *
 * @param timeout_ms  give up after this time; 0: none
 * @return 0 or an error; *report is NULL then
 */
LIBFREEZE_EXPORT int libfreeze_inspect(const char* const* paths, size_t count, int64_t timeout_ms,
                                       struct libfreeze_report** report);

/**
 * Reports what libfreeze_freeze() would freeze, in the order in which it would do so. Freezes
 * nothing. Errors as libfreeze_freeze(), as far as they can be foreseen.
 */
LIBFREEZE_EXPORT int libfreeze_plan(const char* const* paths, size_t count,
                                    const struct libfreeze_options* options,
                                    struct libfreeze_report** report);

/**
 * The administrator's rescue: ends all holds of the filesystem that the path is on, also
 * those made without libfreeze, and thaws it. The holders are told (-ESTALE). `path` may also be the
 * block device of a filesystem that was unmounted while it was frozen. A freeze by device-mapper
 * stays; on kernels without the patches the call is refused meanwhile (-EBUSY).
 *
 * @param timeout_ms  give up after this time; 0: none
 * @param report      receives what was ended; may be NULL
 * @return 0; -ESRCH if it is not frozen; other errors if it could not be thawed
 */
LIBFREEZE_EXPORT int libfreeze_thaw_others(const char* path, int64_t timeout_ms,
                                           struct libfreeze_report** report);

/**
 * Returns how many filesystems the report has; 0 for NULL.
 */
LIBFREEZE_EXPORT size_t libfreeze_report_count(const struct libfreeze_report* report);

/**
 * Fills `status` with what is known of one of them. `size` is sizeof(struct libfreeze_status).
 * Texts are valid until the report is freed.
 *
 * @return 0, or -EINVAL if there is no such number
 */
LIBFREEZE_EXPORT int libfreeze_report_status(const struct libfreeze_report* report, size_t number,
                                             struct libfreeze_status* status, size_t size);

/** The same for a hold. `size` is sizeof(struct libfreeze_hold). */
LIBFREEZE_EXPORT int libfreeze_report_hold(const struct libfreeze_report* report, size_t number,
                                           size_t hold, struct libfreeze_hold* result, size_t size);

/** Returns one of the filesystems that it is stacked on; NULL if there is no such number. */
LIBFREEZE_EXPORT const struct libfreeze_filesystem*
libfreeze_report_below(const struct libfreeze_report* report, size_t number, size_t below);

/** Returns one of the other mountpoints; NULL if there is no such number. */
LIBFREEZE_EXPORT const char* libfreeze_report_mountpoint(const struct libfreeze_report* report,
                                                         size_t number, size_t mountpoint);

/** Frees a report. NULL is allowed. */
LIBFREEZE_EXPORT void libfreeze_report_free(struct libfreeze_report* report);

/* ---- what the kernel offers ------------------------------------------------------------------- */

/** What the running kernel and this host offer. */
struct libfreeze_features {
    int32_t kernel_timeouts;   /**< the freeze ioctls have timeouts (part 2 of the patches) */
    int32_t descriptors;       /**< freezes are held by descriptors (part 3) */
    int32_t status;            /**< the kernel reports who has frozen a filesystem (part 3) */
    int32_t host_guardian;     /**< a guardian can be started by the host (systemd socket) */
    int32_t guardian_survives; /**< a guardian outlives this program, whatever ends it */
    int32_t gives_up; /**< the kernel ends a freeze that takes too long, and writers continue
                                    (part 3) */
};

/**
 * Asks the kernel what it offers. Any path on a freezable filesystem will do; NULL: "/". Freezes
 * nothing and never blocks on a frozen filesystem. `size` is sizeof(struct libfreeze_features).
 *
 * @return 0; -EPERM without CAP_SYS_ADMIN; errors from looking up the path
 */
LIBFREEZE_EXPORT int libfreeze_probe(const char* path, struct libfreeze_features* features,
                                     size_t size);

#ifdef __cplusplus
}
#endif

#endif
