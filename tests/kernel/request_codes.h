/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The four requests, spelled out here so that the test stands beside the library, not on it. */
#ifndef REQUEST_CODES_H
#define REQUEST_CODES_H

#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/types.h>

#ifndef FIFREEZE_TIMEOUT
#define FIFREEZE_TIMEOUT _IOW('X', 119, __s64)
#endif
#ifndef FIFREEZE_RESET_TIMEOUT
#define FIFREEZE_RESET_TIMEOUT _IOW('X', 120, __s64)
#endif

#endif
