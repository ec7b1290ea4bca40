/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Actors that remount, unmount and mount the filesystem, and one that presses sysrq-j. */
#include <cerrno>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "shared.hpp"
#include "support/kernel_log.h"
#include "volume.hpp"

namespace {

int error_of(int returned) {
    return returned < 0 ? errno : 0;
}

int remount(unsigned long flags) {
    return error_of(mount(nullptr, volume.dir.c_str(), nullptr, MS_REMOUNT | flags, nullptr));
}

/* Refused while the filesystem is frozen, or open for writing. */
bool make_read_only(Self& self) {
    int error = EBUSY;
    shared->closed = true;
    for (int i = 0; i < 100 && error == EBUSY && self.go_on(); i++) {
        error = remount(MS_RDONLY);
        sleep_ms(5);
    }
    shared->closed = false;
    if (error && error != EBUSY)
        broken(Broken::result, "remount,ro: %s", name_of(error));
    return !error;
}

/* Meanwhile others freeze and thaw it, and writers get EROFS. */
void make_read_only_for_a_moment(Self& self) {
    if (!make_read_only(self))
        return;
    sleep_ms(self.below(100));
    for (int error = remount(0); error; error = remount(0)) {
        if (error != EBUSY)
            broken(Broken::result, "remount,rw: %s", name_of(error));
        self.go_on();
        sleep_ms(5);
    }
    did(Done::remounts);
}

/* Other actors keep the superblock. If none does, a suspended device cannot be mounted. */
void mount_again(Self& self) {
    if (umount2(volume.dir.c_str(), MNT_DETACH)) {
        broken(Broken::result, "umount -l: %s", name_of(errno));
        return;
    }
    sleep_ms(self.below(30));
    for (int error = mount_volume(); error; error = mount_volume()) {
        if (error != EBUSY)
            broken(Broken::result, "mount: %s", name_of(error));
        self.go_on();
        sleep_ms(5);
    }
    did(Done::mounts);
}

} // namespace

void mount_and_unmount(Self& self) {
    while (self.go_on()) {
        if (self.once_in(3))
            make_read_only_for_a_moment(self);
        else
            mount_again(self);
        sleep_ms(self.below(600));
    }
}

void press_sysrq_j(Self& self) {
    const int log = log_mark();
    const int trigger = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
    while (self.go_on()) {
        shared->sysrqs_begun++;
        if (write(trigger, "j", 1) != 1 ||
            !log_wait(log, emergency_thaw_complete, nullptr, 60'000)) {
            broken(Broken::result, "sysrq-j does not end");
            return;
        }
        shared->sysrqs_ended++;
        did(Done::sysrqs);
        sleep_ms(2000 + self.below(2000));
    }
}
