/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freeze descriptors and the status, by actors. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

/* ---- in the actor ---------------------------------------------------------------------------- */

static int held[FDS] = {-1, -1, -1, -1};
static int passage[2] = {-1, -1};
struct view* view;

int descriptor_in(int number) {
    return held[number];
}

int op_freeze_fd(long number, long timeout_ms, long acquire_ms) {
    struct fsfreeze_args args = {.timeout_ms = (__u64)timeout_ms,
                                 .acquire_timeout_ms = (__u64)acquire_ms,
                                 .comment = "freeze-abi"};

    held[number] = ioctl(here, FIFREEZE_FD, &args);
    return held[number] < 0 ? -errno : 0;
}

int op_fd_thaw(long number, long b, long c) {
    return result_of(ioctl(held[number], FSFREEZE_THAW, 0));
}

static int op_fd_extend(long number, long ms, long c) {
    __u64 argument = (__u64)ms;

    return result_of(ioctl(held[number], FSFREEZE_EXTEND, &argument));
}

static int op_fd_keep(long number, long b, long c) {
    return result_of(ioctl(held[number], FSFREEZE_KEEP, 0));
}

int op_fd_close(long number, long b, long c) {
    int result = result_of(close(held[number]));

    held[number] = -1;
    return result;
}

static int op_fd_poll(long number, long within_ms, long c) {
    struct pollfd fd = {.fd = held[number], .events = POLLIN};
    int result = result_of(poll(&fd, 1, (int)within_ms));

    return result < 0 ? result : fd.revents;
}

int op_fd_dup(long from, long to, long c) {
    held[to] = dup(held[from]);
    return held[to] < 0 ? -errno : 0;
}

static int op_fd_send(long number, long b, long c) {
    char byte = 0, space[CMSG_SPACE(sizeof(int))] = "";
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &held[number], sizeof(int));
    int result = result_of(sendmsg(passage[0], &message, 0));
    return result < 0 ? result : 0;
}

int op_fd_receive(long number, long b, long c) {
    char byte, space[CMSG_SPACE(sizeof(int))] = "";
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};

    int result = result_of(recvmsg(passage[1], &message, MSG_CMSG_CLOEXEC));
    if (result < 0)
        return result;
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS)
        return -EBADMSG;
    memcpy(&held[number], CMSG_DATA(header), sizeof(int));
    return 0;
}

int op_close_passage(long a, long b, long c) {
    close(passage[0]);
    close(passage[1]);
    return 0;
}

int op_status(long room, long holder_size, long unused) {
    int64_t begun = now_ns();

    memset(view, 0xff, sizeof(*view));
    view->status = (struct fsfreeze_status){.nr_holders = (__u32)room,
                                            .holder_size = (__u32)holder_size,
                                            .holders = (uintptr_t)view->holders};
    int result = result_of(ioctl(here, FIFREEZE_STATUS, &view->status));
    view->took = now_ns() - begun;
    return result;
}

/* ---- in the test ----------------------------------------------------------------------------- */

int freeze_fd(struct actor* who, int number, long timeout_ms, long acquire_ms) {
    return call(who, op_freeze_fd, number, timeout_ms, acquire_ms);
}

int fd_thaw(struct actor* who, int number) {
    return call(who, op_fd_thaw, number, 0, 0);
}

int fd_extend(struct actor* who, int number, long ms) {
    return call(who, op_fd_extend, number, ms, 0);
}

int fd_keep(struct actor* who, int number) {
    return call(who, op_fd_keep, number, 0, 0);
}

int fd_close(struct actor* who, int number) {
    return call(who, op_fd_close, number, 0, 0);
}

int fd_poll(struct actor* who, int number, long within_ms) {
    begin(who, op_fd_poll, number, within_ms, 0);
    return finish(who, (int)within_ms + block_timeout_ms());
}

void open_passage(void) {
    SETUP(result_of(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, passage)));
}

int fd_send(struct actor* who, int number) {
    return call(who, op_fd_send, number, 0, 0);
}

int fd_receive(struct actor* who, int number) {
    return call(who, op_fd_receive, number, 0, 0);
}

void open_view(void) {
    view = mmap(NULL, sizeof(*view), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (view == MAP_FAILED)
        broken_at(__FILE__, __LINE__, "mmap: %s", strerror(errno));
}

int look(void) {
    struct actor* who = actor();
    int result = call(who, op_status, SEEN, sizeof(struct fsfreeze_holder), 0);

    if (result != BLOCKED)
        actor_exit(who);
    return result;
}
