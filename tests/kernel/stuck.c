/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer that never lets go. Opening with O_TRUNC takes write access to the filesystem first
 * and asks the fanotify listener afterwards; until that answers, no freeze can complete.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "harness.h"

static int notification = -1; /* in the listener */

static int op_listen(long a, long b, long c) {
    (void)a, (void)b, (void)c;
    notification = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC);
    if (notification < 0)
        return -errno;
    return result_of(fanotify_mark(notification, FAN_MARK_ADD, FAN_OPEN_PERM, here, "stuck"));
}

static int op_wait_for_open(long a, long b, long c) {
    struct pollfd fd = {.fd = notification, .events = POLLIN};

    (void)a, (void)b, (void)c;
    return poll(&fd, 1, patience_ms() / 2) == 1 ? 0 : -ETIMEDOUT;
}

static int op_allow(long a, long b, long c) {
    struct fanotify_event_metadata event;

    (void)a, (void)b, (void)c;
    if (read(notification, &event, sizeof(event)) != sizeof(event))
        return -errno;
    struct fanotify_response response = {.fd = event.fd, .response = FAN_ALLOW};
    int result = result_of(write(notification, &response, sizeof(response)));
    close(event.fd);
    return result;
}

static int op_open_truncating(long a, long b, long c) {
    (void)a, (void)b, (void)c;
    int fd = openat(here, "stuck", O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

struct stuck stuck_writer(void) {
    struct stuck stuck = {.listener = actor(), .opener = actor()};

    SETUP(call(stuck.listener, op_listen, 0, 0, 0));
    begin(stuck.opener, op_open_truncating, 0, 0, 0);
    SETUP(call(stuck.listener, op_wait_for_open, 0, 0, 0));
    return stuck;
}

void let_stuck_writer_go(struct stuck* stuck) {
    SETUP(call(stuck->listener, op_allow, 0, 0, 0));
    WANT(0, finish(stuck->opener, patience_ms()));
}
