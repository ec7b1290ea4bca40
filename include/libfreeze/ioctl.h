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

/* Freeze: add a hold without a deadline. Pass NULL: the argument means something if
 * fs.freeze_timeout_arg is 1. */
#ifndef FIFREEZE
#define FIFREEZE _IOWR('X', 119, int)
#endif

/* Thaw: drop the caller's newest hold. EINVAL: there is none, or it has ended. Pass NULL. */
#ifndef FITHAW
#define FITHAW _IOWR('X', 120, int)
#endif

/* Freeze: add a hold that ends the given number of seconds after the freeze is complete; 0 and 1:
 * no deadline. */
#ifndef FIFREEZE_TIMEOUT
#define FIFREEZE_TIMEOUT _IOW('X', 119, __s64)
#endif

/* Move the deadline of the hold that FITHAW would drop to that many seconds from now; 0 and 1: no
 * deadline. */
#ifndef FIFREEZE_RESET_TIMEOUT
#define FIFREEZE_RESET_TIMEOUT _IOW('X', 120, __s64)
#endif

#endif
