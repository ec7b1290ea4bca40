/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time, files, and what machine this is. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

static int64_t read_clock(clockid_t clock) {
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int64_t now_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t latest_tick(void) {
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

void sleep_until(int64_t ns) {
    struct timespec until = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

/* In short steps, so that everybody else gets to run as often as this process does. */
void sleep_ms(int ms) {
    for (; ms > 0; ms -= 10)
        sleep_until(now_ns() + (ms < 10 ? ms : 10) * 1000000);
}

double seconds(int64_t ns) {
    return (double)ns / 1e9;
}

void outlast(int timeout) {
    sleep_ms((int)(timeout * 1000 + 600 * slowness()));
}

double slowness(void) {
    const char* text = getenv("FREEZE_ABI_SLOW");
    double factor = text ? atof(text) : debugging_kernel() ? 3 : 1;

    return factor >= 1 ? factor : 1;
}

int patience_ms(void) {
    return (int)(5000 * slowness());
}

int write_file(const char* path, const char* text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = result_of(write(fd, text, strlen(text)));
    close(fd);
    return result;
}

int read_file(const char* path, char* text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int length = result_of(read(fd, text, size - 1));
    text[length > 0 ? length : 0] = 0;
    close(fd);
    return length;
}

int kernel_version(void) {
    struct utsname kernel;
    int version = 0, patchlevel = 0;

    uname(&kernel);
    sscanf(kernel.release, "%d.%d", &version, &patchlevel);
    return 100 * version + patchlevel;
}

bool debugging_kernel(void) {
    const char* text = getenv("LIBFREEZE_FLAVOUR");

    return text && !strncmp(text, "debug", 5);
}

bool in_our_vm(void) {
    const char* text = getenv("LIBFREEZE_VM");

    return text && !strcmp(text, "1");
}
