// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysfs.hpp"

#include "syscalls.hpp"

#include <algorithm>
#include <sstream>

#include <sys/sysmacros.h>

namespace libfreeze::internal {

std::optional<std::string> read_text(const std::string& path) {
    std::string text;
    return syscalls().read_file(path, &text) == 0 ? std::optional(text) : std::nullopt;
}

std::vector<std::string> list_names(const std::string& directory) {
    std::vector<std::string> names;
    if (syscalls().list_directory(directory, &names) != 0) {
        names.clear();
    }
    return names;
}

std::string first_line(const std::string& text) {
    return text.substr(0, text.find('\n'));
}

std::optional<dev_t> read_device_number(const std::string& file) {
    std::istringstream text(read_text(file).value_or(""));
    unsigned int major_number = 0;
    unsigned int minor_number = 0;
    char colon = 0;
    return text >> major_number >> colon >> minor_number
               ? std::optional(makedev(major_number, minor_number))
               : std::nullopt;
}

std::string number_text(dev_t device) {
    return std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

std::string device_directory(dev_t device) {
    return "/sys/dev/block/" + number_text(device);
}

std::string device_name(dev_t device) {
    std::istringstream lines(read_text(device_directory(device) + "/uevent").value_or(""));
    const std::string key = "DEVNAME=";
    for (std::string line; std::getline(lines, line);) {
        if (line.compare(0, key.size(), key) == 0) {
            return line.substr(key.size());
        }
    }
    return {};
}

} // namespace libfreeze::internal
