/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One who suspends the device, and takes snapshots of it as LVM does. */
#include "dm.hpp"
#include "freezing.hpp"
#include "shared.hpp"
#include "volume.hpp"

namespace {

bool succeeded(const char* what, int error) {
    if (error)
        broken(Broken::result, "%s: %s", what, name_of(error));
    return !error;
}

bool suspend() {
    bool good = succeeded("suspend", dm_suspend(origin_name));
    if (good)
        did(Done::suspends);
    return good;
}

/* Nobody but sysrq-j can thaw what a suspend has frozen. */
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

/* It is the hold that must have frozen the filesystem for a snapshot, not the suspend. */
bool suspend_for(bool add) {
    return add ? succeeded("suspend", dm_suspend(origin_name, false)) : suspend();
}

/* Activates or removes the snapshot while the origin is suspended. */
bool change_snapshot(bool add) {
    if (!succeeded("load", load_origin(add)) || !suspend_for(add))
        return false;
    bool good = add ? succeeded("activate", dm_resume(snapshot_name))
                    : succeeded("remove", dm_remove(snapshot_name));
    return succeeded("resume", dm_resume(origin_name)) && good;
}

/* A hold that was live from before the snapshot to after it: then that must be clean. */
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
