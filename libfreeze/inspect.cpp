// SPDX-License-Identifier: LGPL-2.1-or-later
#include "inspect.hpp"

#include "dirty_data.hpp"
#include "freezable.hpp"
#include "guard.hpp"
#include "guardian_lock.hpp"
#include "hold_mark.hpp"
#include "kernel_features.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <utility>

namespace libfreeze::internal {

namespace {

/// A text of the kernel's, which may lack its NUL.
template <std::size_t size>
std::string text_of(const char (&text)[size]) {
    return {text, ::strnlen(text, size)};
}

std::int64_t as_milliseconds(std::uint64_t value) {
    const std::uint64_t most = std::numeric_limits<std::int64_t>::max();
    return static_cast<std::int64_t>(std::min(value, most));
}

libfreeze_state state_of(std::uint32_t value) {
    return value <= LIBFREEZE_STATE_FROZEN ? static_cast<libfreeze_state>(value)
                                           : LIBFREEZE_STATE_UNKNOWN;
}

/// The guardian's own hold in the kernel stands for those that it reports itself.
bool is_of_guardian(const fsfreeze_holder& holder) {
    constexpr const char* name = "libfreeze-guard"; // 15 characters of it
    return text_of(holder.comm) == name;
}

void add_guardian_state(const GuardianStatus& status, ReportEntry* entry) {
    entry->state = state_of(status.state.state);
    entry->frozen_ms = entry->state == LIBFREEZE_STATE_FROZEN ? status.state.age_ms : -1;
    for (const guardian_message& holder : status.holders) {
        entry->holds.push_back(hold_entry(holder));
    }
}

/// As the kernel reports it.
HoldEntry kernel_hold_entry(const fsfreeze_holder& holder) {
    constexpr std::uint64_t no_deadline = ~std::uint64_t{0};
    HoldEntry entry;
    entry.command = text_of(holder.comm);
    entry.comment = text_of(holder.comment);
    entry.age_ms = as_milliseconds(holder.age_ms);
    entry.left_ms = holder.left_ms == no_deadline ? -1 : as_milliseconds(holder.left_ms);
    entry.pid = holder.pid;
    entry.flags = holder.flags & (LIBFREEZE_HOLD_GONE | LIBFREEZE_HOLD_PENDING);
    return entry;
}

/// Adds the ids of a process's holds, which the kernel does not know. The order of their ages tells
/// which is which, unless the process has others as well.
void add_ids(dev_t device, pid_t process, std::vector<HoldEntry*> holds) {
    std::vector<std::pair<std::int64_t, std::uint64_t>> ids; // by age
    for (const HoldMark& mark : marks_of(process)) {
        const std::int64_t age = mark.device == device ? age_of(mark) : -1;
        if (age >= 0) {
            ids.emplace_back(age, mark.id);
        }
    }
    if (ids.size() != holds.size()) {
        return;
    }
    std::sort(ids.begin(), ids.end());
    std::stable_sort(holds.begin(), holds.end(),
                     [](const HoldEntry* a, const HoldEntry* b) { return a->age_ms < b->age_ms; });
    for (std::size_t number = 0; number < ids.size(); ++number) {
        holds[number]->id = format_id(ids[number].second);
    }
}

/// False if the kernel has no status.
bool add_kernel_state(int fd, bool has_guardian, ReportEntry* entry) {
    fsfreeze_status status{};
    std::vector<fsfreeze_holder> holders;
    if (fd < 0 || read_kernel_status(fd, &status, &holders) != 0) {
        return false;
    }
    entry->state = state_of(status.state);
    entry->frozen_ms =
        entry->state == LIBFREEZE_STATE_FROZEN ? as_milliseconds(status.frozen_ms) : -1;
    entry->block_freezes = status.bdev;
    entry->kernel_freezes = status.kernel;
    if (has_guardian) {
        holders.erase(std::remove_if(holders.begin(), holders.end(), is_of_guardian),
                      holders.end());
    }
    std::vector<HoldEntry> holds = hold_entries(entry->filesystem.device, holders);
    std::move(holds.begin(), holds.end(), std::back_inserter(entry->holds));
    return true;
}

/// A guardian answers within 50 ms, unless it is stopped.
Limits at_most(std::chrono::milliseconds time, const Limits& limits) {
    const Clock::time_point latest = syscalls().now() + time;
    return {limits.until ? std::min(*limits.until, latest) : latest, limits.cancel_fd};
}

/// Where neither a guardian nor the kernel can tell.
void guess_state(ReportEntry* entry) {
    if (entry->freezable == 0) {
        entry->state = LIBFREEZE_STATE_UNFROZEN;
        return;
    }
    const GuardianLock lock = look_at_lock(entry->filesystem.device);
    if (lock == GuardianLock::abandoned) {
        entry->state = LIBFREEZE_STATE_FROZEN;
        entry->reason = "its guardian was killed, and nobody will thaw it: thaw it";
    } else if (lock == GuardianLock::locked) {
        entry->reason = "its guardian does not answer";
    } else if (entry->suspended) {
        entry->reason = "device-mapper has suspended its device, which usually freezes it as well";
    } else if (entry->reason.empty()) {
        entry->reason =
            "it has no guardian, and this kernel cannot report freezes made without libfreeze";
    }
}

void add_freezable(int fd, ReportEntry* entry) {
    if (fd >= 0 && entry->freezable != 0) {
        Freezable answer = freezable_by_kernel(fd, {entry->freezable, entry->reason});
        entry->freezable = answer.answer;
        entry->reason = std::move(answer.reason);
    }
}

void complete(int fd, const Stack& stack, const Limits& limits, ReportEntry* entry) {
    add_freezable(fd, entry);
    add_state(fd, limits, entry);
    DirtyData dirty = dirty_data_of(entry->filesystem.device, stack);
    entry->dirty_bytes = dirty.bytes;
    entry->dirty_source = std::move(dirty.source);
}

ReportEntry inspect_path(const std::string& path, const MountTable& table, const Limits& limits) {
    const Target target = resolve(path, table, Operation::inspect);
    const Stack stack = stack_under(target.filesystem.device, table);
    ReportEntry entry = describe(target, stack, table);
    complete(target.fd.get(), stack, limits, &entry);
    return entry;
}

/// An empty descriptor if another mount hides it.
FileDescriptor open_mount(const Mount& mount, const MountTable& table) {
    try {
        Target target = resolve(mount.target, table, Operation::inspect);
        return target.filesystem.device == mount.device ? std::move(target.fd) : FileDescriptor();
    } catch (const Error&) {
        return {};
    }
}

ReportEntry inspect_mount(const Mount& mount, const MountTable& table, const Limits& limits) {
    const Stack stack = stack_under(mount.device, table);
    const Filesystem filesystem{mount.target, mount.target, mount.type, mount.source, mount.device};
    ReportEntry entry = describe(filesystem, stack, table);
    complete(open_mount(mount, table).get(), stack, limits, &entry);
    return entry;
}

/// Leaves those alone that cannot be frozen: a dead NFS or FUSE mount is never looked at.
std::vector<ReportEntry> inspect_all(const MountTable& table, const Limits& limits) {
    std::vector<ReportEntry> entries;
    std::set<dev_t> seen;
    for (const Mount& mount : table) {
        if (seen.insert(mount.device).second && freezable_by_type(mount.type).answer != 0) {
            ReportEntry entry = inspect_mount(mount, table, limits);
            if (entry.freezable != 0) {
                entries.push_back(std::move(entry));
            }
        }
    }
    return entries;
}

} // namespace

HoldEntry hold_entry(const guardian_message& holder) {
    HoldEntry entry;
    entry.id = format_id(holder.id);
    entry.command = text_of(holder.command);
    entry.comment = text_of(holder.comment);
    entry.age_ms = holder.age_ms;
    entry.left_ms = holder.timeout_ms;
    entry.pid = holder.pid;
    entry.flags = holder.flags & (GUARDIAN_FLAG_KEPT | GUARDIAN_FLAG_GONE | GUARDIAN_FLAG_PENDING);
    return entry;
}

std::vector<HoldEntry> hold_entries(dev_t device, const std::vector<fsfreeze_holder>& holders) {
    constexpr std::uint32_t by_descriptor = 1;
    std::vector<HoldEntry> entries;
    std::transform(holders.begin(), holders.end(), std::back_inserter(entries),
                   [](const fsfreeze_holder& holder) { return kernel_hold_entry(holder); });
    std::map<pid_t, std::vector<HoldEntry*>> holds;
    for (std::size_t number = 0; number < holders.size(); ++number) {
        if ((holders[number].flags & by_descriptor) != 0 && holders[number].pid > 0) {
            holds[holders[number].pid].push_back(&entries[number]);
        }
    }
    for (const auto& [process, own] : holds) {
        add_ids(device, process, own);
    }
    return entries;
}

void add_state(int fd, const Limits& limits, ReportEntry* entry) {
    const Limits bounded = at_most(std::chrono::seconds(5), limits);
    const std::optional<GuardianStatus> status = ask_status(entry->filesystem.device, bounded);
    if (status) {
        add_guardian_state(*status, entry);
    }
    if (!add_kernel_state(fd, status.has_value(), entry) && !status) {
        guess_state(entry);
    }
}

std::vector<ReportEntry> inspect(const std::vector<std::string>& paths, const Limits& limits) {
    const MountTable table = read_mount_table();
    if (paths.empty()) {
        return inspect_all(table, limits);
    }
    std::vector<ReportEntry> entries;
    entries.reserve(paths.size());
    for (const std::string& path : paths) {
        entries.push_back(inspect_path(path, table, limits));
    }
    return entries;
}

} // namespace libfreeze::internal
