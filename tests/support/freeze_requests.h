/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The four requests, for tests that do not use the library. <libfreeze/ioctl.h> defines them for
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

#endif
