/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezers that give up, by a time limit or by SIGKILL, and a stuck writer that comes and goes. */
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "freezing.hpp"
#include "shared.hpp"
#include "support/freeze_requests.h"
#include "volume.hpp"

namespace {

/* A descriptor or -errno. */
int freeze_descriptor(int fd, int timeout_ms, int acquire_ms) {
    fsfreeze_args arguments{};
    arguments.timeout_ms = static_cast<unsigned>(timeout_ms);
    arguments.acquire_timeout_ms = static_cast<unsigned>(acquire_ms);
    strcpy(arguments.comment, "freeze-stress");
    const int result = ioctl(fd, FIFREEZE_FD, &arguments);
    return result < 0 ? -errno : result;
}

/* The thaw tells whether it was frozen all the time. @may_end: by others, or a deadline. */
void check_and_thaw(Self& self, int descriptor, const std::function<bool()>& may_end) {
    Window window;
    sleep_ms(self.below(10));
    window.look();
    if (self.once_in(3))
        return;
    const int error = ioctl(descriptor, FSFREEZE_THAW) ? errno : 0;
    if (!error)
        window.judge("a descriptor", Broken::write, Broken::device);
    else if (error != ESTALE || !may_end())
        broken(Broken::result, "thaw of a descriptor: %s", name_of(error));
}

/* The limit follows what a freeze takes here, so that both outcomes are frequent. */
void freeze_within_limit(Self& self, int fd, int& limit_ms) {
    const int timeout_ms = self.once_in(2) ? 0 : 1 + self.below(20);
    const Interference interference;
    const int descriptor = freeze_descriptor(fd, timeout_ms, 1 + self.below(limit_ms));
    if (descriptor == -ETIMEDOUT) {
        did(Done::give_ups);
        limit_ms = limit_ms < 2000 ? limit_ms + limit_ms / 4 + 1 : limit_ms;
        return;
    }
    if (descriptor < 0) {
        broken(Broken::result, "freeze within a limit: %s", name_of(descriptor));
        return;
    }
    did(Done::freezes);
    limit_ms -= limit_ms / 2;
    check_and_thaw(self, descriptor, [&] { return timeout_ms || interference.possible(); });
    close(descriptor);
}

/* Possibly in the middle of the freeze, or just after it. Its descriptor is closed then. */
void kill_during_freeze(Self& self, int fd, int limit_ms) {
    self.actor.did_freeze = false;
    const pid_t pid = fork();
    if (pid == 0) {
        self.actor.did_freeze = freeze_descriptor(fd, 0, 0) >= 0;
        sleep_ms(60'000);
        _exit(1);
    }
    sleep_until(now_ns() + self.below(limit_ms * 1000) * int64_t{1000});
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    if (!self.actor.did_freeze)
        did(Done::give_ups);
}

[[noreturn]] void wait_in_a_write(int root) {
    int ends[2];
    const int fd = openat(root, "spliced", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && pipe2(ends, O_CLOEXEC) == 0)
        splice(ends[0], nullptr, fd, nullptr, 1, 0);
    _exit(0);
}

} // namespace

void give_up(Self& self) {
    int limit_ms = 8;
    while (self.go_on()) {
        Root root;
        if (!root)
            continue;
        if (self.once_in(4))
            kill_during_freeze(self, root.fd(), limit_ms);
        else
            freeze_within_limit(self, root.fd(), limit_ms);
        sleep_ms(self.below(8));
    }
}

void be_stuck(Self& self) {
    while (self.go_on()) {
        Root root;
        if (root && !shared->closed) {
            const pid_t pid = fork();
            if (pid == 0)
                wait_in_a_write(root.fd());
            sleep_ms(self.below(60));
            kill(pid, SIGKILL);
            waitpid(pid, nullptr, 0);
        }
        sleep_ms(self.below(60));
    }
}
