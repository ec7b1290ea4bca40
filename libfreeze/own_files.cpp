// SPDX-License-Identifier: LGPL-2.1-or-later
#include "own_files.hpp"

#include "failure.hpp"
#include "file_descriptor.hpp"
#include "resolve.hpp"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <sstream>
#include <utility>

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

/// Those that open(2) got, if /proc has them. See proc_pid_fdinfo(5).
std::optional<int> flags_of(int fd) {
    const std::string name = "flags:";
    std::string text;
    if (the_system().read_file("/proc/self/fdinfo/" + std::to_string(fd), &text) != 0) {
        return std::nullopt;
    }
    const auto at = text.find(name);
    return at == std::string::npos
               ? O_RDWR
               : static_cast<int>(std::strtol(text.c_str() + at + name.size(), nullptr, 8));
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

/// A descriptor of our own for the same file, since another thread may close and reuse that one at
/// any time.
FileDescriptor hold_file(int fd) {
    return open_at(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd).c_str(), O_PATH);
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

class Search final {
public:
    void look_at_descriptors();
    void look_at_swap();

    std::vector<OwnFile> found;

private:
    void add(int fd, std::string name, bool is_likely);

    std::optional<std::vector<Mount>> table_; // read only if there is such a file
};

void Search::add(int fd, std::string name, bool is_likely) {
    struct stat status {};
    if (the_system().fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        return;
    }
    if (!table_) {
        table_ = read_mount_table();
    }
    dev_t superblock = 0;
    if (superblock_of(fd, *table_, &superblock)) {
        found.push_back({superblock, std::move(name), is_likely});
    }
}

void Search::look_at_descriptors() {
    for (const int fd : open_descriptors()) {
        const std::optional<int> known = flags_of(fd);
        if (!known && fd > STDERR_FILENO) { // another thread has closed it
            continue;
        }
        const int flags = known.value_or(O_RDWR);
        if ((flags & O_ACCMODE) != O_RDONLY) {
            const std::string role = role_of(fd, flags);
            const FileDescriptor held = known ? hold_file(fd) : FileDescriptor();
            add(known ? held.get() : fd, role.empty() ? std::to_string(fd) : role, !role.empty());
        }
    }
}

void Search::look_at_swap() {
    std::string table;
    if (the_system().read_file("/proc/swaps", &table) != 0) {
        return;
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
        if (file) {
            add(file.get(), fmt::format("the swap file {}", libfreeze::quoted(path)), true);
        }
    }
}

/// The names of those there, with something between.
std::string names(const std::vector<OwnFile>& files, dev_t superblock, bool likely,
                  const char* between) {
    std::string result;
    for (const OwnFile& file : files) {
        if (file.superblock == superblock && file.is_likely == likely) {
            result += fmt::format("{}{}", result.empty() ? "" : between, file.name);
        }
    }
    return result;
}

} // namespace

std::vector<OwnFile> own_files() {
    Search search;
    search.look_at_descriptors();
    search.look_at_swap();
    return std::move(search.found);
}

std::string why_it_would_deadlock(const std::vector<OwnFile>& files, dev_t superblock) {
    const std::string likely = names(files, superblock, true, ", ");
    const std::string others = names(files, superblock, false, " ");
    return likely.empty() || others.empty()
               ? likely
               : fmt::format("{}; also open for writing there: {}", likely, others);
}

} // namespace libfreeze
