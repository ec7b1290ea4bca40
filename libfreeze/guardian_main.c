/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guardian: makes the freeze requests of one hold in place of the program, and outlives it. It
 * thaws when the program dies or closes the channel, and at the deadline where the kernel has none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <libfreeze/ioctl.h>

#include "guardian_protocol.h"

enum { FILESYSTEM, PROGRAM, DESCRIPTORS };

static const int64_t second = 1000000000, millisecond = 1000000;

static int filesystem = -1;
static int program = -1;     /* a pidfd, or -1 */
static bool attended = true; /* the program is there, and has not released the freeze */
static bool held;            /* frozen by this process, and not known to be thawed */
static bool ended;           /* ... but the program's freeze has not lasted */
static bool kernel_has_timeouts;
static int64_t deadline; /* when to thaw; 0: never */

static int64_t now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * second + time.tv_nsec;
}

/* ---- the requests: an errno or 0 ------------------------------------------------------------- */

static int call(unsigned long code, int64_t* argument) {
    int result;

    do
        result = ioctl(filesystem, code, argument);
    while (result < 0 && errno == EINTR);
    return result < 0 ? errno : 0;
}

static int write_out(void) {
    return syncfs(filesystem) ? errno : 0;
}

static int freeze(int64_t seconds) {
    int64_t none = -1;

    if (held)
        return EBUSY;
    kernel_has_timeouts = call(FIFREEZE_RESET_TIMEOUT, &none) == ERANGE;
    int error =
        seconds && kernel_has_timeouts ? call(FIFREEZE_TIMEOUT, &seconds) : call(FIFREEZE, NULL);
    held = !error;
    deadline = held && seconds && !kernel_has_timeouts ? now() + seconds * second : 0;
    return error;
}

/* Again and again if it fails: nobody else will. */
static int let_go(void) {
    int error = call(FITHAW, NULL);

    held = error && error != EINVAL;
    deadline = held ? now() + 200 * millisecond : 0;
    ended = true;
    return held ? error : 0;
}

/* A kernel without timeouts can only be asked by freezing. */
static struct guardian_reply still_frozen(void) {
    int error = call(FIFREEZE, NULL);

    if (error)
        return (struct guardian_reply){.error = error == EBUSY ? 0 : error};
    return (struct guardian_reply){.error = EINVAL, .leftover = let_go()};
}

static struct guardian_reply reset(int64_t seconds) {
    if (!held || ended)
        return (struct guardian_reply){.error = EINVAL};
    if (kernel_has_timeouts) {
        int error = call(FIFREEZE_RESET_TIMEOUT, &seconds);

        held = error != EINVAL;
        return (struct guardian_reply){.error = error};
    }
    struct guardian_reply reply = still_frozen();
    if (!reply.error)
        deadline = seconds ? now() + seconds * second : 0;
    return reply;
}

static int thaw(void) {
    if (!held || ended)
        return EINVAL;
    int error = call(FITHAW, NULL);
    if (!error || error == EINVAL) {
        held = false;
        deadline = 0;
    }
    return error;
}

/* Where there is a deadline that only this process knows it stays for that. */
static int release(void) {
    attended = false;
    held = held && deadline;
    return 0;
}

/* Nothing is left to do then. */
static int finish(void) {
    int error = thaw();

    attended = held;
    return error;
}

/* To the kernel an administrator: it has never frozen there. */
static int rescue(void) {
    attended = false;
    return call(FITHAW, NULL);
}

/* ---- the program ----------------------------------------------------------------------------- */

static struct guardian_reply serve(const struct guardian_request* request) {
    switch (request->operation) {
    case GUARDIAN_SYNC:
        return (struct guardian_reply){.error = write_out()};
    case GUARDIAN_FREEZE:
        return (struct guardian_reply){.error = freeze(request->seconds)};
    case GUARDIAN_RESET:
        return reset(request->seconds);
    case GUARDIAN_THAW:
        return (struct guardian_reply){.error = finish()};
    case GUARDIAN_RELEASE:
        return (struct guardian_reply){.error = release()};
    case GUARDIAN_RESCUE:
        return (struct guardian_reply){.error = rescue()};
    default:
        return (struct guardian_reply){.error = ENOSYS};
    }
}

/* The program may unmount the filesystem as soon as it knows that nothing is left to do. */
static void answer(struct guardian_reply reply) {
    if (!attended && !held)
        close(filesystem);
    send(GUARDIAN_CHANNEL, &reply, sizeof(reply), MSG_NOSIGNAL);
}

static void program_is_gone(void) {
    attended = false;
    if (held)
        deadline = now();
}

static void hear_the_program(void) {
    struct guardian_request request;

    if (recv(GUARDIAN_CHANNEL, &request, sizeof(request), 0) == sizeof(request))
        answer(serve(&request));
    else
        program_is_gone();
}

static int milliseconds_left(void) {
    int64_t left = (deadline - now() + millisecond - 1) / millisecond;

    if (!deadline)
        return -1;
    return left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

/* Not the channel alone: a forked child of the program may have it open too. */
static void wait_for_something(void) {
    struct pollfd what[] = {{.fd = attended ? program : -1, .events = POLLIN},
                            {.fd = attended ? GUARDIAN_CHANNEL : -1, .events = POLLIN}};

    poll(what, 2, milliseconds_left());
    if (held && deadline && now() >= deadline)
        let_go();
    else if (what[0].revents)
        program_is_gone();
    else if (what[1].revents)
        hear_the_program();
}

/* ---- the start ------------------------------------------------------------------------------- */

static int take_descriptors(void) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } control;
    char byte;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};

    if (recvmsg(GUARDIAN_CHANNEL, &message, MSG_CMSG_CLOEXEC) != 1)
        return EPROTO;
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len < CMSG_LEN(sizeof(int)))
        return EPROTO;
    int taken[DESCRIPTORS] = {-1, -1};
    memcpy(taken, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
    filesystem = taken[FILESYSTEM];
    program = taken[PROGRAM];
    return 0;
}

static void spare_from_the_oom_killer(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return; /* the freeze is as safe as the program then */
    (void)!write(fd, "-1000", 5);
    close(fd);
}

/* Memory that is swapped out to, or was read from, what is frozen would stop it. */
static int prepare(void) {
    if (chdir("/"))
        return errno;
    if (mlockall(MCL_CURRENT | MCL_FUTURE))
        return errno;
    spare_from_the_oom_killer();
    return take_descriptors();
}

/* What it is given as arguments is for who looks at the list of processes. */
int main(void) {
    pid_t child = fork(); /* the program shall not have a child that it does not know */

    if (child > 0)
        return 0;
    int error = child < 0 ? errno : prepare();
    answer((struct guardian_reply){.error = error});
    while (!error && (attended || held))
        wait_for_something();
    return error != 0;
}
