// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysfs.hpp"

#include "syscalls.hpp"

#include <algorithm>
#include <cstdlib>
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

std::vector<pid_t> processes() {
    std::vector<pid_t> result;
    for (const std::string& name : list_names("/proc")) {
        if (name.find_first_not_of("0123456789") == std::string::npos) {
            result.push_back(static_cast<pid_t>(std::strtol(name.c_str(), nullptr, 10)));
        }
    }
    return result;
}

std::string directory_of(pid_t process) {
    return "/proc/" + std::to_string(process);
}

std::string link_of(const std::string& process, const std::string& descriptor) {
    std::string text;
    return syscalls().read_link(process + "/fd/" + descriptor, &text) == 0 ? text : "";
}

std::string info_of(const std::string& process, const std::string& descriptor) {
    return read_text(process + "/fdinfo/" + descriptor).value_or("");
}

std::optional<unsigned long> number_in(const std::string& info, const std::string& key, int base) {
    const auto at = info.find(key);
    return at == std::string::npos
               ? std::nullopt
               : std::optional(std::strtoul(info.c_str() + at + key.size(), nullptr, base));
}

} // namespace libfreeze::internal
