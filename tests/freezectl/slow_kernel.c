/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded into freezectl and its guardian, to make the kernel slow or failing. Set by the
 * environment:
 *
 *   SLOW_KERNEL_MS=100        syncfs, each freeze (before and after) and each thaw take this long
 *   SLOW_KERNEL_THAW=5        a thaw fails with this errno
 *   SLOW_KERNEL_STEP=frozen   the program stops at this step until data is written to
 *   SLOW_KERNEL_GATE=FILE     this file, which it creates when it stops. Steps: syncfs, synced,
 *                             freeze, frozen, thaw, thawed (before and after each), and the name of
 *                             a program, when it is loaded
 */
#define _GNU_SOURCE
#include <libfreeze/ioctl.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long number(const char* name) {
    const char* value = getenv(name);

    return value ? atol(value) : 0;
}

static void take_time(void) {
    long ms = number("SLOW_KERNEL_MS");
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&time, &time) < 0)
        ;
}

/* Not forever, because the test may have died. */
static void step(const char* name) {
    const char *wanted = getenv("SLOW_KERNEL_STEP"), *gate = getenv("SLOW_KERNEL_GATE");
    struct timespec moment = {0, 5000000};
    struct stat file = {0};
    int fd;

    if (!wanted || !gate || strcmp(wanted, name) != 0)
        return;
    fd = open(gate, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
    for (int i = 0; i < 12000 && fstat(fd, &file) == 0 && file.st_size == 0; i++)
        nanosleep(&moment, NULL);
    close(fd);
}

__attribute__((constructor)) static void loaded(void) {
    step(program_invocation_short_name);
}

static int freeze(int fd, unsigned long request, void* argument) {
    int result, error;

    step("freeze");
    take_time();
    result = (int)syscall(SYS_ioctl, fd, request, argument);
    error = errno;
    take_time();
    step("frozen");
    errno = error;
    return result;
}

static int thaw(int fd, unsigned long request) {
    int result, error;

    step("thaw");
    take_time();
    if (number("SLOW_KERNEL_THAW")) {
        errno = (int)number("SLOW_KERNEL_THAW");
        return -1;
    }
    result = (int)syscall(SYS_ioctl, fd, request, NULL);
    error = errno;
    step("thawed");
    errno = error;
    return result;
}

int syncfs(int fd) {
    int result, error;

    step("syncfs");
    take_time();
    result = (int)syscall(SYS_syncfs, fd);
    error = errno;
    step("synced");
    errno = error;
    return result;
}

int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    void* argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void*);
    va_end(arguments);
    /* A negative timeout or unknown flags only ask what can be frozen. */
    if (request == FIFREEZE || (request == FIFREEZE_TIMEOUT && *(int64_t*)argument >= 0) ||
        (request == FIFREEZE_FD && ((struct fsfreeze_args*)argument)->flags == 0))
        return freeze(fd, request, argument);
    if (request == FITHAW || request == FSFREEZE_THAW)
        return thaw(fd, request);
    return (int)syscall(SYS_ioctl, fd, request, argument);
}
