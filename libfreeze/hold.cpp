// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hold.hpp"

#include "guardian_hold.hpp"
#include "kernel_hold.hpp"
#include "mount_table.hpp"

#include <libfreeze/ioctl.h>

#include <cerrno>

#include <fcntl.h>

namespace libfreeze::internal {

namespace {

FileDescriptor open_filesystem(dev_t device) {
    const MountTable table = read_mount_table();
    const Mount* const mount = find_mount_by_device(table, device);
    if (mount == nullptr) {
        return {};
    }
    FileDescriptor fd = open_at(AT_FDCWD, mount->target.c_str(), O_RDONLY | O_DIRECTORY);
    return fd && superblock_of(fd.get(), table) == device ? std::move(fd) : FileDescriptor();
}

/// What the kernel says; false where it cannot.
bool is_held_in_kernel(int filesystem) {
    fsfreeze_status status{};
    status.holder_size = sizeof(fsfreeze_holder);
    return syscalls().ioctl(filesystem, FIFREEZE_STATUS, &status) == 0 && status.state != 0;
}

} // namespace

std::unique_ptr<Hold> take_hold(FileDescriptor filesystem, dev_t device, const HoldRequest& request,
                                Outcome* outcome) {
    std::unique_ptr<Hold> hold = KernelHold::take(&filesystem, device, request, outcome);
    if (outcome->error != ENOTTY) {
        return hold;
    }
    return GuardianHold::take(std::move(filesystem), device, request, outcome);
}

std::unique_ptr<Hold> adopt_hold(FileDescriptor filesystem, dev_t device, HoldRequest* request,
                                 Outcome* outcome) {
    if (!filesystem) {
        filesystem = open_filesystem(device);
    }
    return GuardianHold::adopt(std::move(filesystem), device, request, outcome);
}

std::unique_ptr<Hold> refer_to_hold(dev_t device, std::uint64_t id, Outcome* outcome) {
    return GuardianHold::refer_to(device, id, outcome);
}

std::vector<ReferredHold> refer_to_kernel_holds(std::uint64_t id) {
    return KernelHold::refer_to(id);
}

bool is_held(dev_t device, int filesystem) {
    Outcome outcome;
    const std::optional<GuardianStatus> status = ask_status(device, at_once(), &outcome);
    if (status && status->state.state != GUARDIAN_UNFROZEN) {
        return true;
    }
    if (!status && outcome.error != ESRCH) {
        return true;
    }
    if (filesystem >= 0) {
        return is_held_in_kernel(filesystem);
    }
    const FileDescriptor opened = open_filesystem(device);
    return opened && is_held_in_kernel(opened.get());
}

} // namespace libfreeze::internal
