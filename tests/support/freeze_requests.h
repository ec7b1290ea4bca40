/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The requests, for tests that do not use the library. <libfreeze/ioctl.h> defines them for
 * programs; these tests define them again so that a mistake there cannot hide.
 */
#ifndef SUPPORT_FREEZE_REQUESTS_H
#define SUPPORT_FREEZE_REQUESTS_H

#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/types.h>

#ifndef FIFREEZE_TIMEOUT
#define FIFREEZE_TIMEOUT _IOW('X', 119, __s64)
#endif
#ifndef FIFREEZE_RESET_TIMEOUT
#define FIFREEZE_RESET_TIMEOUT _IOW('X', 120, __s64)
#endif

#ifndef FIFREEZE_FD
struct fsfreeze_args {
    __u32 flags, reserved;
    __u64 timeout_ms, acquire_timeout_ms;
    char comment[32];
};
#define FIFREEZE_FD _IOW(0x15, 16, struct fsfreeze_args)
#define FSFREEZE_THAW _IO(0x15, 18)
#define FSFREEZE_EXTEND _IOW(0x15, 19, __u64)
#define FSFREEZE_KEEP _IO(0x15, 20)
#endif

#ifndef FIFREEZE_STATUS
struct fsfreeze_status {
    __u32 state, flags;
    __u32 holds, bdev, kernel, userspace;
    __u64 frozen_ms;
    __u32 nr_holders, holder_size;
    __u64 holders;
};
struct fsfreeze_holder {
    __s32 pid;
    __u32 flags, holds, reserved;
    __u64 age_ms, left_ms;
    char comm[16], comment[32];
};
#define FIFREEZE_STATUS _IOWR(0x15, 17, struct fsfreeze_status)
#define FSFREEZE_UNFROZEN 0
#define FSFREEZE_FREEZING 1
#define FSFREEZE_FROZEN 2
#define FSFREEZE_HOLDER_FD 1
#define FSFREEZE_HOLDER_GONE 2
#define FSFREEZE_HOLDER_PENDING 4
#endif

#endif
