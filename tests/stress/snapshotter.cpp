/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An actor that suspends the device and takes snapshots of it, as LVM does. */
#include <linux/dm-ioctl.h>

#include "freezing.hpp"
#include "shared.hpp"
#include "support/dm.h"
#include "volume.hpp"

namespace {

bool succeeded(const char* what, int error) {
    if (error)
        broken(Broken::result, "%s: %s", what, name_of(error));
    return !error;
}

bool suspend() {
    bool good = succeeded("suspend", dm_suspend(origin_name, 0));
    if (good)
        did(Done::suspends);
    return good;
}

/* Only sysrq-j can thaw the freeze of a suspend. */
void suspend_and_look(Self& self) {
    Root keeps_it_mounted;
    if (!keeps_it_mounted || !volume.dm_freezes)
        return;
    Interference interference;
    if (!suspend())
        return;
    Window window;
    sleep_ms(self.below(40));
    window.look();
    if (!interference.sysrq_possible())
        window.judge("a suspend", Broken::suspended, Broken::suspended);
    succeeded("resume", dm_resume(origin_name));
}

/* For a snapshot, the hold must have frozen the filesystem, not the suspend. */
bool suspend_for(bool add) {
    return add ? succeeded("suspend", dm_suspend(origin_name, DM_SKIP_LOCKFS_FLAG)) : suspend();
}

/* Activates or removes the snapshot while the origin is suspended. */
bool change_snapshot(bool add) {
    if (!succeeded("load", load_origin(add)) || !suspend_for(add))
        return false;
    bool good = add ? succeeded("activate", dm_resume(snapshot_name))
                    : succeeded("remove", dm_remove(snapshot_name));
    return succeeded("resume", dm_resume(origin_name)) && good;
}

/* A snapshot must be clean if a hold was live from before it to after it. */
void snapshot_of_a_frozen() {
    Root root;
    if (!root || !succeeded("load", load_snapshot()))
        return;
    if (!succeeded("freeze", freeze(root.fd(), 0)))
        return;
    const bool added = change_snapshot(true);
    const bool frozen = thaw(root.fd()) == 0;
    if (added && frozen) {
        const std::string complaint = check_snapshot();
        if (!complaint.empty())
            broken(Broken::snapshot, "a snapshot is not clean: %s", complaint.c_str());
        did(Done::snapshots);
    }
    change_snapshot(false);
}

} // namespace

void take_snapshots(Self& self) {
    while (self.go_on()) {
        if (self.once_in(12))
            snapshot_of_a_frozen();
        else
            suspend_and_look(self);
        sleep_ms(self.below(150));
    }
}
