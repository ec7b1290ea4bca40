// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dirty_data.hpp"

#include "syscalls.hpp"
#include "sysfs.hpp"

#include <cerrno>
#include <sstream>
#include <sys/sysmacros.h>

namespace libfreeze::internal {

namespace {

/// A partition has no counters, only its disk has.
std::string disk_number(dev_t device) {
    const std::string directory = device_directory(device);
    const dev_t disk = read_text(directory + "/partition")
                           ? read_device_number(directory + "/../dev").value_or(device)
                           : device;
    return number_text(disk);
}

/// btrfs has one for all its devices: "btrfs-1".
std::string btrfs_counters(const Stack& stack) {
    const std::string all = "/sys/fs/btrfs";
    for (const std::string& uuid : list_names(all)) {
        const std::string directory = all + "/" + uuid;
        for (const std::string& name : list_names(directory + "/devices")) {
            const auto device = read_device_number(directory + "/devices/" + name + "/dev");
            std::string link;
            if (device && stack.devices.count(*device) != 0 &&
                syscalls().read_link(directory + "/bdi", &link) == 0) {
                return link.substr(link.rfind('/') + 1);
            }
        }
    }
    return {};
}

DirtyData parse(const std::string& text, const std::string& file) {
    std::istringstream words(text);
    for (std::string word; words >> word;) {
        std::int64_t kibibytes = 0;
        if (word == "BdiReclaimable:" && words >> kibibytes) {
            return {kibibytes * 1024, file};
        }
    }
    return {-1, file + " has no BdiReclaimable"};
}

} // namespace

DirtyData dirty_data_of(dev_t superblock, const Stack& stack) {
    const std::string name =
        major(superblock) != 0 ? disk_number(superblock) : btrfs_counters(stack);
    if (name.empty()) {
        return {-1, "the kernel has no counters for it"};
    }
    const std::string file = "/sys/kernel/debug/bdi/" + name + "/stats";
    const std::optional<std::string> text = read_text(file);
    if (!text) {
        return {-1, file + " cannot be read: " +
                        (errno == ENOENT ? "mount debugfs" : "that takes privilege")};
    }
    return parse(*text, file);
}

} // namespace libfreeze::internal
