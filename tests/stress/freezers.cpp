/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezers, and an actor that kills freezers and then thaws for them. */
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "freezing.hpp"
#include "shared.hpp"
#include "support/freeze_requests.h"
#include "volume.hpp"

namespace {

constexpr int64_t second = 1'000'000'000;

int error_of(int returned) {
    return returned < 0 ? errno : 0;
}

int64_t latest_write_begun() {
    int64_t latest = 0;
    for (const Actor& actor : shared->actors)
        if (actor.latest_begun > latest)
            latest = actor.latest_begun;
    return latest;
}

bool a_writer_waits() {
    for (const Actor& actor : shared->actors)
        if (actor.begun > actor.ended)
            return true;
    return false;
}

} // namespace

int freeze(int fd, int timeout) {
    __s64 argument = timeout;
    return error_of(timeout ? ioctl(fd, FIFREEZE_TIMEOUT, &argument) : ioctl(fd, FIFREEZE, 0));
}

int thaw(int fd) {
    return error_of(ioctl(fd, FITHAW, 0));
}

int reset(int fd, int timeout) {
    __s64 argument = timeout;
    return error_of(ioctl(fd, FIFREEZE_RESET_TIMEOUT, &argument));
}

/* ---- checks while it is frozen --------------------------------------------------------------- */

Window::Window() : written_(written()), begun_(now_ns()) {}

void Window::look() {
    latest_ = latest_write_begun();
    waited_ = a_writer_waits();
    now_written_ = written();
    looked_ = now_ns();
}

void Window::judge(const char* by, Broken write_kind, Broken device_kind) const {
    if (latest_ > begun_)
        broken(write_kind, "frozen by %s: a write succeeded that began %.6f s after the freeze", by,
               static_cast<double>(latest_ - begun_) / second);
    if (now_written_ != written_)
        broken(device_kind, "frozen by %s: %llu sectors were written within %.3f s", by,
               static_cast<unsigned long long>(now_written_ - written_),
               static_cast<double>(looked_ - begun_) / second);
    did(Done::windows);
    if (waited_)
        did(Done::contended);
}

/* ---- holds ----------------------------------------------------------------------------------- */

namespace {

/* The nested holds of one process. */
class Holds {
public:
    Holds(Self& self, int fd) : self_(self), fd_(fd) {}

    bool take(int timeout) {
        int64_t begun = latest_tick();
        if (int error = freeze(fd_, timeout)) {
            broken(Broken::result, "freeze for %d s: %s", timeout, name_of(error));
            return false;
        }
        did(Done::freezes);
        count_++;
        if (timeout && (!earliest_ || begun + timeout * second < earliest_))
            earliest_ = begun + timeout * second;
        return true;
    }

    void maybe_reset() {
        if (!self_.once_in(4))
            return;
        int64_t begun = latest_tick();
        int error = reset(fd_, 3);
        may_have_ended("reset", error);
        if (error)
            return;
        did(Done::resets);
        if (!earliest_ || begun + 3 * second < earliest_)
            earliest_ = begun + 3 * second;
    }

    /* True if the first one was live until now, so that the filesystem was frozen. */
    bool drop_all() {
        int error = 0;
        for (; count_ > 0; count_--) {
            error = thaw(fd_);
            may_have_ended("thaw", error);
        }
        return error == 0;
    }

private:
    void may_have_ended(const char* what, int error) const {
        bool expired = earliest_ && now_ns() >= earliest_;
        if (error && (error != EINVAL || !(expired || interference_.possible())))
            broken(Broken::result, "%s of a live hold: %s", what, name_of(error));
    }

    Self& self_;
    int fd_, count_ = 0;
    int64_t earliest_ = 0; /* when the first of them may expire */
    Interference interference_;
};

} // namespace

void freeze_and_check(Self& self) {
    while (self.go_on()) {
        Root root;
        if (!root)
            continue;
        Holds holds(self, root.fd());
        if (!holds.take(self.once_in(2) ? 2 + self.below(2) : 0))
            continue;
        Window window;
        if (self.once_in(3))
            holds.take(self.once_in(2) ? 2 : 0);
        holds.maybe_reset();
        sleep_ms(self.below(40));
        window.look();
        if (holds.drop_all())
            window.judge("a hold", Broken::write, Broken::device);
        sleep_ms(self.below(120));
    }
}

/* Sleeps past its deadline: then the hold must have ended, and the thaw must report it. */
void freeze_past_deadline(Self& self) {
    while (self.go_on()) {
        Root root;
        if (!root)
            continue;
        int error = freeze(root.fd(), 2);
        if (error) {
            broken(Broken::result, "freeze for 2 s: %s", name_of(error));
            continue;
        }
        sleep_ms(static_cast<int>(2000 + 4000 * slowness()));
        error = thaw(root.fd());
        if (error == EINVAL)
            did(Done::expiries);
        else
            broken(Broken::result, "thaw long after the deadline: %s", name_of(error));
        sleep_ms(self.below(4000));
    }
}

/* ---- killed freezers, and thaws for them ----------------------------------------------------- */

namespace {

[[noreturn]] void freeze_and_die(Self& self, int timeout, bool at_once) {
    Root root;
    self.actor.did_freeze = root && freeze(root.fd(), timeout) == 0;
    if (at_once)
        raise(SIGKILL);
    sleep_ms(60'000);
    _exit(1);
}

/* Kills a freezer: either after its freeze or at a random moment, possibly during the freeze. */
void kill_a_freezer(Self& self, int timeout) {
    const bool at_once = self.once_in(2);
    self.actor.did_freeze = false;
    pid_t pid = fork();
    if (pid == 0)
        freeze_and_die(self, timeout, at_once);
    if (!at_once) {
        sleep_ms(self.below(20));
        kill(pid, SIGKILL);
    }
    waitpid(pid, nullptr, 0);
    did(Done::kills);
}

} // namespace

/* This process never freezes, so its thaw may end any hold, those of dead processes first. */
void kill_freezers(Self& self) {
    while (self.go_on()) {
        Root root;
        if (!root)
            continue;
        const int timeout = self.once_in(2) ? 3 : 0;
        Interference interference;
        kill_a_freezer(self, timeout);
        shared->rescues_begun++;
        const int error = thaw(root.fd());
        shared->rescues_ended++;
        const bool must = self.actor.did_freeze && !timeout && !interference.sysrq_possible();
        if (error && (error != EINVAL || must))
            broken(Broken::result, "thaw for a killed freezer: %s", name_of(error));
        if (!error)
            did(Done::rescues);
        sleep_ms(100 + self.below(300));
    }
}
