// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stack.hpp"

#include "resolve.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

namespace libfreeze {

namespace {

class Walk final {
public:
    Stack under(dev_t superblock) {
        visit_superblock(superblock);
        found_.place = static_cast<std::size_t>(mount_of(superblock) - table_.begin());
        return std::move(found_);
    }

private:
    std::optional<std::string> read_file(const std::string& path);
    std::vector<std::string> list(const std::string& path);
    std::optional<dev_t> device_in(const std::string& file);

    [[nodiscard]] std::vector<Mount>::const_iterator mount_of(dev_t superblock) const {
        return std::find_if(table_.begin(), table_.end(), [superblock](const Mount& mount) {
            return mount.device == superblock;
        });
    }
    void visit_superblock(dev_t number);
    void visit_store(const std::string& path, bool is_btrfs);
    void visit_btrfs_devices(dev_t named);
    void visit_device(dev_t number);

    std::vector<Mount> table_ = read_mount_table();
    std::set<dev_t> devices_; ///< that were visited
    Stack found_;
};

std::optional<std::string> Walk::read_file(const std::string& path) {
    std::string text;
    if (the_system().read_file(path, &text) != 0) {
        found_.complete = found_.complete && errno == ENOENT;
        return std::nullopt;
    }
    return text;
}

std::vector<std::string> Walk::list(const std::string& path) {
    std::vector<std::string> names;
    if (the_system().list_directory(path, &names) != 0) {
        found_.complete = found_.complete && errno == ENOENT;
        names.clear();
    }
    return names;
}

/// The number in one of sysfs's files called dev, which must be there.
std::optional<dev_t> Walk::device_in(const std::string& file) {
    std::istringstream text(read_file(file).value_or(""));
    unsigned int major_number = 0;
    unsigned int minor_number = 0;
    char colon = 0;
    if (text >> major_number >> colon >> minor_number) {
        return makedev(major_number, minor_number);
    }
    found_.complete = false;
    return std::nullopt;
}

void Walk::visit_superblock(dev_t number) {
    const bool has_device = major(number) != 0;
    if (has_device) {
        visit_device(number);
    }
    const auto mount = mount_of(number);
    if (mount == table_.end()) {
        found_.complete = found_.complete && has_device;
        return;
    }
    if (!has_device && !mount->source.empty() && mount->source.front() == '/') {
        visit_store(mount->source, mount->type == "btrfs");
    }
    for (const std::string& store : mount->stores) {
        visit_store(store, false);
    }
}

/// A file, directory or device that holds what is stored in a filesystem or device.
void Walk::visit_store(const std::string& path, bool is_btrfs) {
    const FileDescriptor fd = open_at(AT_FDCWD, path.c_str(), O_PATH);
    struct stat status {};
    dev_t superblock = 0;
    const bool is_known = fd && the_system().fstat(fd.get(), &status) == 0 &&
                          (S_ISBLK(status.st_mode) || superblock_of(fd.get(), &superblock));
    if (!is_known) {
        found_.complete = false;
    } else if (S_ISBLK(status.st_mode)) {
        visit_device(status.st_rdev);
        if (is_btrfs) {
            visit_btrfs_devices(status.st_rdev);
        }
    } else if (found_.superblocks.insert(superblock).second) {
        visit_superblock(superblock);
    }
}

/// The mount table names only one of them.
void Walk::visit_btrfs_devices(dev_t named) {
    const std::string all = "/sys/fs/btrfs";
    for (const std::string& uuid : list(all)) {
        const std::string directory = fmt::format("{}/{}/devices", all, uuid);
        std::vector<dev_t> devices;
        for (const std::string& name : list(directory)) {
            devices.push_back(device_in(fmt::format("{}/{}/dev", directory, name)).value_or(0));
        }
        if (std::find(devices.begin(), devices.end(), named) != devices.end()) {
            std::for_each(devices.begin(), devices.end(), [this](dev_t d) { visit_device(d); });
            return;
        }
    }
    found_.complete = false;
}

void Walk::visit_device(dev_t number) {
    if (!devices_.insert(number).second) {
        return;
    }
    const std::string directory = fmt::format("/sys/dev/block/{}:{}", major(number), minor(number));
    std::vector<std::string> below; // sysfs's files with the numbers of the devices it is made of
    for (const std::string& name : list(directory + "/slaves")) {
        below.push_back(fmt::format("{}/slaves/{}/dev", directory, name));
    }
    if (read_file(directory + "/partition")) {
        below.push_back(directory + "/../dev");
    }
    if (device_in(directory + "/dev")) {
        for (const std::string& file : below) {
            visit_device(device_in(file).value_or(number));
        }
    }
    if (read_file(directory + "/dm/suspended").value_or("") == "1\n") {
        found_.suspended = true;
    }
    if (auto file = read_file(directory + "/loop/backing_file")) {
        file->resize(file->empty() ? 0 : file->size() - 1); // the newline at its end
        visit_store(*file, false);
    }
}

} // namespace

Stack stack_under(dev_t superblock) {
    return Walk().under(superblock);
}

} // namespace libfreeze
