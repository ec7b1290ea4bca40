// SPDX-License-Identifier: LGPL-2.1-or-later
#include "inventory.hpp"

#include "freeze_ioctl.hpp"
#include "resolve.hpp"
#include "stack.hpp"

#include <libfreeze/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <sstream>
#include <string_view>
#include <system_error>

#include <fmt/format.h>
#include <sys/sysmacros.h>

namespace freezectl {

namespace {

using libfreeze::Mount;
using Table = std::vector<Mount>;

/// Those of mainline Linux that have an operation for it.
constexpr std::array<std::string_view, 11> freezable_types{"ext2",   "ext3",     "ext4",    "xfs",
                                                           "btrfs",  "f2fs",     "gfs2",    "jfs",
                                                           "nilfs2", "reiserfs", "bcachefs"};

/// Those on a device that have none.
constexpr std::array<std::string_view, 18> unfreezable_types{
    "vfat",  "msdos", "exfat", "ntfs", "ntfs3",   "fuseblk", "iso9660", "udf",  "squashfs",
    "erofs", "minix", "ufs",   "hfs",  "hfsplus", "ocfs2",   "zonefs",  "omfs", "cramfs"};

template <typename List>
bool contains(const List& list, std::string_view value) {
    return std::find(list.begin(), list.end(), value) != list.end();
}

std::optional<std::string> read(const std::string& path) {
    std::string text;
    return libfreeze::the_system().read_file(path, &text) == 0 ? std::optional(text) : std::nullopt;
}

/// The types that the kernel marks as having no device; none of them can be frozen.
std::set<std::string> types_without_device() {
    std::set<std::string> result;
    std::istringstream lines(read("/proc/filesystems").value_or(""));
    for (std::string line; std::getline(lines, line);) {
        const auto tab = line.find('\t');
        if (tab != std::string::npos && line.compare(0, tab, "nodev") == 0) {
            result.insert(line.substr(tab + 1));
        }
    }
    return result;
}

Finding freezable_by_type(const std::string& type) {
    static const std::set<std::string> without_device = types_without_device();
    const std::string base = type.substr(0, type.find('.')); // "fuse.sshfs"
    if (contains(freezable_types, type)) {
        return {Answer::yes, "its type can be frozen"};
    }
    if (contains(unfreezable_types, type)) {
        return {Answer::no, "its type has no freeze"};
    }
    if (without_device.count(base) != 0) {
        return {Answer::no, "its type has no device, and no freeze"};
    }
    return {Answer::unknown, "its type is not known here"};
}

/// A patched kernel checks if the filesystem can be frozen before it looks at the time, and a time
/// below zero is always refused: so this freezes nothing.
Finding freezable_by_kernel(int fd, const Finding& by_type) {
    const std::error_code answer = libfreeze::freeze_ioctl(fd, -1);
    if (answer == libfreeze::errc::not_supported) {
        return {Answer::no, "the kernel says so"};
    }
    if (answer.category() == std::system_category() && answer.value() == ERANGE) {
        return {Answer::yes, "the kernel says so"};
    }
    return by_type;
}

/// No kernel has a request that tells and changes nothing.
Finding frozen(const Facts& facts) {
    if (facts.freezable.answer == Answer::no) {
        return {Answer::no, "it cannot be"};
    }
    if (facts.suspended) {
        return {Answer::unknown,
                "device-mapper has suspended its device, which mostly freezes it too"};
    }
    return {Answer::unknown, "the kernel does not tell"};
}

/// The directory in sysfs of the disk that a device is on: a partition has no counts of its own.
std::string disk_number(dev_t device) {
    std::string number = fmt::format("{}:{}", major(device), minor(device));
    const std::string directory = "/sys/dev/block/" + number;
    if (!read(directory + "/partition")) {
        return number;
    }
    std::string disk = read(directory + "/../dev").value_or(number);
    disk.erase(std::min(disk.find('\n'), disk.size()));
    return disk;
}

Dirty dirty_of(dev_t device) {
    if (major(device) == 0) {
        return {{}, "it has several devices or none"};
    }
    const std::string file = fmt::format("/sys/kernel/debug/bdi/{}/stats", disk_number(device));
    const std::optional<std::string> text = read(file);
    if (!text) {
        return {{},
                fmt::format("{} cannot be read: {}", file,
                            errno == ENOENT ? "mount debugfs" : "it takes privilege")};
    }
    std::istringstream words(*text);
    for (std::string word; words >> word;) {
        std::uint64_t kibibytes = 0;
        if (word == "BdiReclaimable:" && words >> kibibytes) {
            return {kibibytes * 1024, file};
        }
    }
    return {{}, file + " has no BdiReclaimable"};
}

std::filesystem::path first_mountpoint(const Table& table, dev_t device) {
    const auto found = std::find_if(table.begin(), table.end(), [device](const Mount& mount) {
        return mount.device == device;
    });
    return found == table.end() ? std::filesystem::path() : found->target;
}

void add_mountpoints(Facts& facts, const Table& table) {
    for (const Mount& mount : table) {
        if (mount.device == facts.device && mount.target != facts.mountpoint) {
            facts.other_mountpoints.push_back(mount.target);
        }
    }
}

void add_stack(Facts& facts, const Table& table) {
    const libfreeze::Stack stack = libfreeze::stack_under(facts.device);
    facts.suspended = stack.suspended;
    facts.stack_complete = stack.complete;
    for (const dev_t device : stack.superblocks) {
        facts.stacked_on.push_back({device, first_mountpoint(table, device)});
    }
}

/// What does not take an open file. Touches no filesystem that may not answer (NFS, FUSE).
Facts look_at(const Mount& mount, const Table& table) {
    Facts facts;
    facts.path = mount.target;
    facts.mountpoint = mount.target;
    facts.type = mount.type;
    facts.source = mount.source;
    facts.device = mount.device;
    facts.freezable = freezable_by_type(mount.type);
    add_mountpoints(facts, table);
    return facts;
}

/// The rest.
void complete(Facts& facts, const Table& table, const libfreeze::Target* target) {
    if (target != nullptr && facts.freezable.answer != Answer::no) {
        facts.freezable = freezable_by_kernel(target->fd.get(), facts.freezable);
    }
    add_stack(facts, table);
    facts.frozen = frozen(facts);
    facts.dirty = dirty_of(facts.device);
}

} // namespace

const char* to_text(Answer answer) {
    switch (answer) {
    case Answer::yes:
        return "yes";
    case Answer::no:
        return "no";
    case Answer::unknown:
        break;
    }
    return "unknown";
}

Facts facts_of(const std::filesystem::path& path) {
    const libfreeze::Target target = libfreeze::resolve(path, libfreeze::Operation::probe);
    const Table table = libfreeze::read_mount_table();
    const auto& [named, mountpoint, type, source] = target.filesystem;
    Facts facts = look_at({0, target.superblock, mountpoint, type, source}, table);
    facts.path = named;
    complete(facts, table, &target);
    return facts;
}

std::vector<Facts> all_facts() {
    const Table table = libfreeze::read_mount_table();
    std::vector<Facts> result;
    std::set<dev_t> seen;
    for (const Mount& mount : table) {
        if (!seen.insert(mount.device).second) {
            continue;
        }
        Facts facts = look_at(mount, table);
        if (facts.freezable.answer == Answer::no) {
            continue;
        }
        try {
            const auto target = libfreeze::resolve(mount.target, libfreeze::Operation::probe);
            complete(facts, table, target.superblock == mount.device ? &target : nullptr);
        } catch (const std::system_error&) { // another is mounted over it
            complete(facts, table, nullptr);
        }
        if (facts.freezable.answer != Answer::no) {
            result.push_back(std::move(facts));
        }
    }
    return result;
}

std::optional<std::uint64_t> dirty_bytes_of_machine() {
    std::istringstream words(read("/proc/meminfo").value_or(""));
    for (std::string word; words >> word;) {
        std::uint64_t kibibytes = 0;
        if (word == "Dirty:" && words >> kibibytes) {
            return kibibytes * 1024;
        }
    }
    return std::nullopt;
}

} // namespace freezectl
