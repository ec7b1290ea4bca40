/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The four requests, made by actors. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"

int op_request(long code, long argument, long unused) {
    return result_of(ioctl(here, (unsigned long)code, argument));
}

int op_freeze(long a, long b, long c) {
    return result_of(ioctl(here, FIFREEZE, 0));
}

int op_thaw(long a, long b, long c) {
    return result_of(ioctl(here, FITHAW, 0));
}

int op_freeze_for(long timeout, long b, long c) {
    __s64 argument = timeout;
    return result_of(ioctl(here, FIFREEZE_TIMEOUT, &argument));
}

static int op_reset(long timeout, long b, long c) {
    __s64 argument = timeout;
    return result_of(ioctl(here, FIFREEZE_RESET_TIMEOUT, &argument));
}

static int op_repeat(long code, long times, long unused) {
    for (operation_value = 0; operation_value < times; operation_value++) {
        __s64 argument = 0;
        if (ioctl(here, (unsigned long)code, &argument) < 0)
            return -errno;
    }
    return 0;
}

int op_open_exclusively(long a, long b, long c) {
    int fd = open(volume.device, O_RDWR | O_EXCL | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

int freeze(struct actor* who) {
    return call(who, op_freeze, 0, 0, 0);
}

int thaw(struct actor* who) {
    return call(who, op_thaw, 0, 0, 0);
}

int freeze_for(struct actor* who, int64_t timeout) {
    return call(who, op_freeze_for, timeout, 0, 0);
}

int reset(struct actor* who, int64_t timeout) {
    return call(who, op_reset, timeout, 0, 0);
}

int request(struct actor* who, unsigned int code, unsigned long argument) {
    return call(who, op_request, (long)code, (long)argument, 0);
}

int repeat(struct actor* who, unsigned int code, long times) {
    begin(who, op_repeat, (long)code, times, 0);
    return finish(who, 10 * block_timeout_ms());
}

int admin_thaw(void) {
    return elsewhere(actor, op_thaw, 0, block_timeout_ms());
}

int admin_reset(int64_t timeout) {
    return elsewhere(actor, op_reset, timeout, block_timeout_ms());
}

int open_exclusively(void) {
    return elsewhere(actor_outside, op_open_exclusively, 0, block_timeout_ms());
}
