/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's freeze requests, for programs that call ioctl(2) themselves. freeze.hpp does not
 * include it.
 *
 * FIFREEZE and FITHAW are in every kernel since 2.6.29. The other two come with the patches in
 * patches/; a kernel without them answers ENOTTY. The codes are encoded for a 64-bit argument on
 * every architecture, so that 32-bit programs need no translation.
 */
#ifndef LIBFREEZE_IOCTL_H
#define LIBFREEZE_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/** Freeze: add a hold without a deadline. Pass NULL: the argument means something if
 * fs.freeze_timeout_arg is 1. */
#ifndef FIFREEZE
#define FIFREEZE _IOWR('X', 119, int)
#endif

/** Thaw: drop the caller's newest hold. EINVAL: there is none, or it has ended. Pass NULL. */
#ifndef FITHAW
#define FITHAW _IOWR('X', 120, int)
#endif

/** Freeze: add a hold that ends the given number of seconds after the freeze is complete; 0 and 1:
 * no deadline. */
#ifndef FIFREEZE_TIMEOUT
#define FIFREEZE_TIMEOUT _IOW('X', 119, __s64)
#endif

/** Move the deadline of the hold that FITHAW would drop to that many seconds from now; 0 and 1: no
 * deadline. */
#ifndef FIFREEZE_RESET_TIMEOUT
#define FIFREEZE_RESET_TIMEOUT _IOW('X', 120, __s64)
#endif

/* Part 3 of the patches. patches/README.md has the kernels that it is published for. */

#ifndef FIFREEZE_FD
/** The argument of FIFREEZE_FD. */
struct fsfreeze_args {
    __u32 flags;              /**< 0 */
    __u32 reserved;           /**< 0 */
    __u64 timeout_ms;         /**< from the completed freeze; 0: none */
    __u64 acquire_timeout_ms; /**< 0: none */
    char comment[32];         /**< NUL-terminated */
};

/** Freeze, and return a new descriptor that holds the filesystem frozen until its last copy is
 * closed. */
#define FIFREEZE_FD _IOW(0x15, 16, struct fsfreeze_args)

/** On that descriptor: thaw. ESTALE: the hold had ended before. */
#define FSFREEZE_THAW _IO(0x15, 18)
/** On that descriptor: move the deadline to that many milliseconds from now; 0: no deadline. */
#define FSFREEZE_EXTEND _IOW(0x15, 19, __u64)
/** On that descriptor: make it an ordinary hold of the calling process. */
#define FSFREEZE_KEEP _IO(0x15, 20)
#endif

#ifndef FIFREEZE_STATUS
/** The argument of FIFREEZE_STATUS. */
struct fsfreeze_status {
    __u32 state;       /**< 0 unfrozen, 1 freezing, 2 frozen */
    __u32 flags;       /**< 0 */
    __u32 holds;       /**< references by the ioctls */
    __u32 bdev;        /**< references by block devices */
    __u32 kernel;      /**< references by the kernel */
    __u32 userspace;   /**< references by user space */
    __u64 frozen_ms;   /**< for how long */
    __u32 nr_holders;  /**< in: entries in the array; out: how many there are */
    __u32 holder_size; /**< in: sizeof(struct fsfreeze_holder) */
    __u64 holders;     /**< in: pointer to the array, or 0 */
};

/** A holder, as FIFREEZE_STATUS reports it. */
struct fsfreeze_holder {
    __s32 pid;        /**< in the caller's pid namespace, 0 if not visible there */
    __u32 flags;      /**< 1 descriptor, 2 owner is gone, 4 still trying to freeze */
    __u32 holds;      /**< how many it has; each descriptor is a separate entry */
    __u32 reserved;   /**< 0 */
    __u64 age_ms;     /**< since the freeze */
    __u64 left_ms;    /**< until the deadline; all ones: it has none */
    char comm[16];    /**< the command, at the time of the freeze */
    char comment[32]; /**< as given with FIFREEZE_FD */
};

/** Report who holds a filesystem frozen. Never blocks. */
#define FIFREEZE_STATUS _IOWR(0x15, 17, struct fsfreeze_status)
#endif

#endif
