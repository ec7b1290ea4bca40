// SPDX-License-Identifier: LGPL-2.1-or-later
#include "own_files.hpp"

#include "failure.hpp"
#include "file_descriptor.hpp"
#include "resolve.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace libfreeze {

namespace {

/// All, or where they cannot be listed those that a program is likeliest to write to.
std::vector<int> open_descriptors() {
    std::vector<std::string> names;
    if (the_system().list_directory("/proc/self/fd", &names) != 0) {
        return {STDOUT_FILENO, STDERR_FILENO};
    }
    std::vector<int> result;
    std::transform(names.begin(), names.end(), std::back_inserter(result),
                   [](const std::string& name) { return std::atoi(name.c_str()); });
    std::sort(result.begin(), result.end());
    return result;
}

/// Those that open(2) got. See proc_pid_fdinfo(5).
int flags_of(int fd) {
    const std::string name = "flags:";
    std::string text;
    if (the_system().read_file("/proc/self/fdinfo/" + std::to_string(fd), &text) != 0) {
        return O_RDWR;
    }
    const auto at = text.find(name);
    return at == std::string::npos
               ? O_RDWR
               : static_cast<int>(std::strtol(text.c_str() + at + name.size(), nullptr, 8));
}

bool is_regular_file_on(int fd, const std::vector<dev_t>& superblocks) {
    struct stat status {};
    dev_t superblock = 0;
    return the_system().fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
           superblock_of(fd, &superblock) &&
           std::find(superblocks.begin(), superblocks.end(), superblock) != superblocks.end();
}

std::string role_of(int fd, int flags) {
    switch (fd) {
    case STDOUT_FILENO:
        return "standard output";
    case STDERR_FILENO:
        return "standard error";
    default:
        return (flags & O_APPEND) != 0 ? fmt::format("the log open as descriptor {}", fd) : "";
    }
}

/// As proc(5) escapes blanks: \040.
std::string unescaped(const std::string& text) {
    std::string result;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == '\\' && at + 3 < text.size()) {
            result += static_cast<char>(std::strtol(text.substr(at + 1, 3).c_str(), nullptr, 8));
            at += 3;
        } else {
            result += text[at];
        }
    }
    return result;
}

std::string swap_file_on(const std::vector<dev_t>& superblocks) {
    std::string table;
    if (the_system().read_file("/proc/swaps", &table) != 0) {
        return "";
    }
    std::istringstream lines(table);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string name;
        std::string type;
        words >> name >> type;
        const std::string path = unescaped(name);
        const FileDescriptor file =
            type == "file" ? open_at(AT_FDCWD, path.c_str(), O_PATH) : FileDescriptor();
        if (file && is_regular_file_on(file.get(), superblocks)) {
            return path;
        }
    }
    return "";
}

} // namespace

std::string why_it_would_deadlock(const std::vector<dev_t>& superblocks) {
    std::string roles;
    std::string others;
    for (const int fd : open_descriptors()) {
        const int flags = flags_of(fd);
        if ((flags & O_ACCMODE) == O_RDONLY || !is_regular_file_on(fd, superblocks)) {
            continue;
        }
        const std::string role = role_of(fd, flags);
        (role.empty() ? others : roles) +=
            role.empty() ? fmt::format(" {}", fd)
                         : fmt::format("{}{}", roles.empty() ? "" : ", ", role);
    }
    if (const std::string swap = swap_file_on(superblocks); !swap.empty()) {
        roles +=
            fmt::format("{}the swap file {}", roles.empty() ? "" : ", ", libfreeze::quoted(swap));
    }
    if (!roles.empty() && !others.empty()) {
        roles += fmt::format("; also open for writing there:{}", others);
    }
    return roles;
}

} // namespace libfreeze
