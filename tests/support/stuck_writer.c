/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stuck_writer.h"

#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <unistd.h>

int hold_opens(int directory, const char* file) {
    int listener = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC);
    if (listener < 0)
        return -errno;
    int result = result_of(fanotify_mark(listener, FAN_MARK_ADD, FAN_OPEN_PERM, directory, file));
    if (result < 0)
        close(listener);
    return result < 0 ? result : listener;
}

int open_truncating(int directory, const char* file) {
    int fd = openat(directory, file, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

int wait_for_open(int listener, int within_ms) {
    struct pollfd fd = {.fd = listener, .events = POLLIN};

    return poll(&fd, 1, within_ms) == 1 ? 0 : -ETIMEDOUT;
}

int allow_open(int listener) {
    struct fanotify_event_metadata event;

    if (read(listener, &event, sizeof(event)) != sizeof(event))
        return -errno;
    struct fanotify_response response = {.fd = event.fd, .response = FAN_ALLOW};
    int result = result_of(write(listener, &response, sizeof(response)));
    close(event.fd);
    return result < 0 ? result : 0;
}
