// SPDX-License-Identifier: LGPL-2.1-or-later
#include "thaw_others.hpp"

#include "guardian_lock.hpp"
#include "inspect.hpp"
#include "kernel_features.hpp"
#include "unmounted.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/sysmacros.h>

namespace libfreeze::internal {

namespace {

/// The number of the block device at a path; none if it is something else.
std::optional<dev_t> block_device_at(const std::string& path) {
    const FileDescriptor fd = open_at(AT_FDCWD, path.c_str(), O_PATH);
    struct statx status {};
    const bool is_known = fd && syscalls().statx(fd.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                                                 STATX_TYPE, &status) == 0;
    return is_known && S_ISBLK(status.stx_mode)
               ? std::optional(makedev(status.stx_rdev_major, status.stx_rdev_minor))
               : std::nullopt;
}

/// A filesystem that is not mounted is found by its device. Its descriptor is opened only where no
/// guardian has one.
Target unmounted_target(const std::string& path, dev_t device) {
    Target target;
    target.filesystem.path = path;
    target.filesystem.source = path;
    target.filesystem.device = device;
    target.filesystem.type = type_in_use(device);
    return target;
}

Target find_target(const std::string& path, const MountTable& table) {
    const std::optional<dev_t> device = block_device_at(path);
    if (!device) {
        return resolve(path, table, Operation::thaw);
    }
    if (const Mount* const mount = find_mount_by_device(table, *device)) {
        Target target = resolve(mount->target, table, Operation::thaw);
        if (target.filesystem.device == *device) {
            target.filesystem.path = path;
            return target;
        }
    }
    return unmounted_target(path, *device);
}

Error not_frozen(const Filesystem& filesystem) {
    return failure(Operation::thaw, filesystem, ESRCH, "it is not frozen");
}

void open_unmounted(Target* target) {
    const Filesystem& filesystem = target->filesystem;
    if (filesystem.type.empty()) {
        throw not_frozen(filesystem);
    }
    target->fd = FileDescriptor(syscalls().open_unmounted(filesystem.source, filesystem.type));
    if (!target->fd) {
        throw failure(Operation::thaw, filesystem, errno,
                      "it is not mounted, and cannot be reached by its device");
    }
}

/// All descriptors answer the same. `fd`: -1 if there is none yet.
bool is_kernel_patched(int fd) {
    const FileDescriptor root =
        fd < 0 ? open_at(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY) : FileDescriptor();
    return ask_for_timeouts(fd < 0 ? root.get() : fd) == 0;
}

/// On a kernel without the patches, FITHAW would end device-mapper's freeze: it would block until
/// the device is resumed, and later suspends would not freeze.
void refuse_suspended(const Filesystem& filesystem, bool is_patched, const Stack& stack) {
    if (!is_patched && stack.suspended) {
        throw failure(Operation::thaw, filesystem, EBUSY,
                      "device-mapper has suspended its device, and this kernel would end that "
                      "freeze instead: resume the device first");
    }
}

/// What a guardian has ended. None if there is no guardian.
struct Ended {
    std::vector<HoldEntry> holds;
    bool was_frozen = false;
    Outcome outcome;
};

std::optional<Ended> end_at_guardian(const Filesystem& filesystem, const Limits& limits) {
    std::optional<GuardianConnection> guardian =
        GuardianConnection::find(filesystem.device, limits);
    if (!guardian) {
        return std::nullopt;
    }
    guardian_message message{};
    message.type = GUARDIAN_END_ALL;
    std::vector<guardian_message> details;
    Ended ended;
    ended.outcome = guardian->ask(&message, limits, &details);
    for (const guardian_message& detail : details) {
        if (detail.type == GUARDIAN_STATE) {
            ended.was_frozen = detail.state != GUARDIAN_UNFROZEN;
        } else {
            ended.holds.push_back(hold_entry(detail));
            ended.holds.back().ended = "thawed";
        }
    }
    return ended;
}

void check_answer(const Ended& ended, const Filesystem& filesystem) {
    const int error = ended.outcome.error;
    if (error == ETIMEDOUT || error == ECANCELED) {
        throw failure(Operation::thaw, filesystem, ended.outcome);
    }
}

/// What the kernel knows of the freezes that are left (part 3 of the patches).
std::vector<HoldEntry> kernel_holds(const Target& target) {
    fsfreeze_status status{};
    std::vector<fsfreeze_holder> holders;
    return read_kernel_status(target.fd.get(), &status, &holders) == 0
               ? hold_entries(target.filesystem.device, holders)
               : std::vector<HoldEntry>();
}

/// 0, or the errno.
int thaw_once(int fd) {
    const int result = retry_ioctl(fd, FITHAW, nullptr);
    return result < 0 ? errno : 0;
}

/// Ends the freezes that no guardian has made. A kernel with the patches has many holds, others one
/// freeze. Returns how many it ended.
std::size_t thaw_in_kernel(const Target& target, bool is_patched) {
    constexpr std::size_t most_holds = 65536;
    const std::size_t most = is_patched ? most_holds : 1;
    for (std::size_t count = 0; count < most; ++count) {
        const int error = thaw_once(target.fd.get());
        if (error == EINVAL) {
            return count;
        }
        if (error != 0) {
            throw failure(Operation::thaw, target.filesystem, error);
        }
    }
    return most;
}

void add_kernel_freezes(const Target& target, bool is_patched, ReportEntry* entry) {
    std::vector<HoldEntry> known = kernel_holds(target);
    const std::size_t count = thaw_in_kernel(target, is_patched);
    clear_abandoned_lock(target.filesystem.device);
    known.resize(known.empty() ? count : std::min(known.size(), count));
    for (HoldEntry& hold : known) {
        hold.ended = "thawed";
        entry->holds.push_back(std::move(hold));
    }
}

/// On a kernel without the patches, nobody else can have frozen what a guardian has just thawed.
bool may_be_frozen_still(const std::optional<Ended>& ended, bool is_patched) {
    return is_patched || !ended || !ended->was_frozen || ended->outcome.error != 0;
}

} // namespace

ReportEntry thaw_others(const std::string& path, const Limits& limits) {
    const MountTable table = read_mount_table();
    Target target = find_target(path, table);
    const Stack stack = stack_under(target.filesystem.device, table);
    const bool is_patched = is_kernel_patched(target.fd.get());
    refuse_suspended(target.filesystem, is_patched, stack);
    ReportEntry entry = describe(target, stack, table);
    const std::optional<Ended> ended = end_at_guardian(target.filesystem, limits);
    if (ended) {
        check_answer(*ended, target.filesystem);
        entry.holds = ended->holds;
    }
    if (may_be_frozen_still(ended, is_patched)) {
        if (!target.fd) {
            open_unmounted(&target);
        }
        add_kernel_freezes(target, is_patched, &entry);
    }
    if (entry.holds.empty()) {
        throw not_frozen(target.filesystem);
    }
    entry.state = LIBFREEZE_STATE_UNFROZEN;
    return entry;
}

} // namespace libfreeze::internal
