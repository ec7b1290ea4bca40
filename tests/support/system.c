/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- time ------------------------------------------------------------------------------------ */

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

/* In short steps, so that every other process gets to run as often as this one. */
void sleep_ms(int ms) {
    for (; ms > 0; ms -= 10)
        sleep_until(now_ns() + (ms < 10 ? ms : 10) * 1000000);
}

/* ---- the machine ----------------------------------------------------------------------------- */

double slowness(void) {
    const char* text = getenv("FREEZE_ABI_SLOW");
    double factor = text ? atof(text) : debugging_kernel() ? 3 : 1;

    return factor >= 1 ? factor : 1;
}

bool in_our_vm(void) {
    const char* text = getenv("LIBFREEZE_VM");

    return text && !strcmp(text, "1");
}

bool debugging_kernel(void) {
    const char* text = getenv("LIBFREEZE_FLAVOUR");

    return text && !strncmp(text, "debug", 5);
}

int kernel_version(void) {
    struct utsname kernel;
    int version = 0, patchlevel = 0;

    uname(&kernel);
    sscanf(kernel.release, "%d.%d", &version, &patchlevel);
    return 100 * version + patchlevel;
}

/* ---- files ----------------------------------------------------------------------------------- */

int result_of(long returned) {
    return returned < 0 ? -errno : (int)returned;
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

/* ---- processes ------------------------------------------------------------------------------- */

/* The fields of /proc/PID/stat after the name; NULL if there is no such process. */
static const char* stat_after_name(pid_t pid, char text[512]) {
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (read_file(path, text, 512) <= 0)
        return NULL;
    return strrchr(text, ')') + 2;
}

char task_state(pid_t pid) {
    char text[512];
    const char* state = stat_after_name(pid, text);

    return state ? *state : 0;
}

bool is_dead(pid_t pid) {
    char text[512];
    const char* field = stat_after_name(pid, text);

    if (!field)
        return true;
    if (*field != 'Z')
        return false;
    for (int i = 3; field && i < 20; i++)
        field = strchr(field + 1, ' ');
    return field && atoi(field) == 1; /* num_threads */
}

enum sleeping sleeps_on_freeze(pid_t pid) {
    char path[32], text[128];

    snprintf(path, sizeof(path), "/proc/%d/wchan", pid);
    if (read_file(path, text, sizeof(text)) <= 0 || !strcmp(text, "0"))
        return SLEEP_UNKNOWN;
    return strstr(text, "percpu") ? SLEEPS_ON_FREEZE : SLEEPS_ELSEWHERE;
}

bool exits_within(pid_t child, int ms, int* status) {
    struct pollfd exit = {.fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN};
    bool exited;

    for (int waited = 0; !(exited = waitpid(child, status, WNOHANG) != 0) && waited < ms;
         waited += 50)
        poll(&exit, 1, ms - waited < 50 ? ms - waited : 50);
    if (exit.fd >= 0)
        close(exit.fd);
    return exited;
}
