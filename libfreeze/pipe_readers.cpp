// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipe_readers.hpp"

#include "syscalls.hpp"
#include "sysfs.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>

#include <fcntl.h>
#include <sys/sysmacros.h>

namespace libfreeze::internal {

namespace {

constexpr auto search_time = std::chrono::milliseconds(300);
constexpr auto memory_time = std::chrono::seconds(10);

/// A descriptor of another process.
struct Reader {
    std::string process; ///< "/proc/123"
    std::string descriptor;
};

struct Search {
    std::vector<Reader> readers;
    bool complete = true;
    Clock::time_point when;
};

bool is_open_for(const std::string& info, bool writing) {
    const auto flags = number_in(info, "flags:", 8);
    const int only_other = writing ? O_RDONLY : O_WRONLY;
    return flags && (*flags & O_PATH) == 0 && (static_cast<int>(*flags) & O_ACCMODE) != only_other;
}

/// How /proc/PID/fd shows what the readers of `fd` have open: the same pipe, or the socket at the
/// other end. Empty if it is neither.
std::string link_of_readers(int fd) {
    struct statx status {};
    if (syscalls().statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0) {
        return {};
    }
    if (S_ISFIFO(status.stx_mode)) {
        return link_of("/proc/self", std::to_string(fd));
    }
    std::uint64_t inode = 0;
    return S_ISSOCK(status.stx_mode) && syscalls().socket_peer(fd, &inode) == 0
               ? "socket:[" + std::to_string(inode) + "]"
               : "";
}

/// The directories of the processes but this one.
std::vector<std::string> other_processes() {
    std::string self;
    syscalls().read_link("/proc/self", &self);
    std::vector<std::string> result;
    for (const pid_t process : processes()) {
        if (std::to_string(process) != self) {
            result.push_back(directory_of(process));
        }
    }
    return result;
}

void add_readers_in(const std::string& process, const std::string& link, Search* search) {
    for (const std::string& descriptor : list_names(process + "/fd")) {
        if (link_of(process, descriptor) == link &&
            is_open_for(info_of(process, descriptor), false)) {
            search->readers.push_back({process, descriptor});
        }
    }
}

Search search_readers(const std::string& link) {
    Search search;
    search.when = syscalls().now();
    for (const std::string& process : other_processes()) {
        if (syscalls().now() - search.when > search_time) {
            search.complete = false;
            break;
        }
        add_readers_in(process, link, &search);
    }
    return search;
}

bool is_still_right(const Search& search, const std::string& link) {
    return search.complete && syscalls().now() - search.when < memory_time &&
           std::all_of(search.readers.begin(), search.readers.end(), [&](const Reader& reader) {
               return link_of(reader.process, reader.descriptor) == link;
           });
}

/// A search takes milliseconds, so its result is kept for a while.
struct Memory {
    std::mutex mutex;
    std::map<std::string, Search> searches;
};

Memory& memory() {
    static auto* const the_memory = new Memory; // threads may use it until the process is gone
    return *the_memory;
}

Search readers_of(const std::string& link) {
    const std::unique_lock lock(memory().mutex, std::try_to_lock); // a fork may have locked it
    if (!lock) {
        return search_readers(link);
    }
    auto& searches = memory().searches;
    const auto known = searches.find(link);
    if (known != searches.end() && is_still_right(known->second, link)) {
        return known->second;
    }
    searches.erase(searches.begin(), searches.size() > 16 ? searches.end() : searches.begin());
    return searches[link] = search_readers(link);
}

/// From another process's mount table.
std::optional<dev_t> device_of_mount(const std::string& process, unsigned long id) {
    std::istringstream lines(read_text(process + "/mountinfo").value_or(""));
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        unsigned long found = 0;
        unsigned long parent = 0;
        unsigned int major_number = 0;
        unsigned int minor_number = 0;
        char colon = 0;
        if (words >> found >> parent >> major_number >> colon >> minor_number && found == id) {
            return makedev(major_number, minor_number);
        }
    }
    return std::nullopt;
}

std::optional<dev_t> superblock_in(const std::string& info, const std::string& process,
                                   const MountTable& table) {
    const auto id = number_in(info, "mnt_id:", 10);
    if (!id) {
        return std::nullopt;
    }
    const Mount* const mount = find_mount_by_id(table, *id);
    return mount != nullptr ? std::optional(mount->device) : device_of_mount(process, *id);
}

void add_files_of(const std::string& process, const MountTable& table, ReaderFiles* result) {
    const pid_t pid = std::atoi(process.c_str() + sizeof("/proc/") - 1);
    const std::string command = first_line(read_text(process + "/comm").value_or(""));
    for (const std::string& descriptor : list_names(process + "/fd")) {
        const std::string path = link_of(process, descriptor);
        const std::string info =
            path.empty() || path.front() != '/' || path.compare(0, 5, "/dev/") == 0
                ? ""
                : info_of(process, descriptor);
        const auto superblock =
            is_open_for(info, true) ? superblock_in(info, process, table) : std::nullopt;
        const bool is_known =
            std::any_of(result->files.begin(), result->files.end(), [&](const ReaderFile& file) {
                return file.pid == pid && file.superblock == superblock;
            });
        if (superblock && !is_known) {
            result->files.push_back({*superblock, path, command, pid});
        }
    }
}

} // namespace

ReaderFiles files_of_readers(int fd, const MountTable& table) {
    const std::string link = link_of_readers(fd);
    if (link.empty()) {
        return {};
    }
    const Search search = readers_of(link);
    ReaderFiles result;
    result.complete = search.complete;
    std::string last;
    for (const Reader& reader : search.readers) {
        if (reader.process != last) {
            add_files_of(reader.process, table, &result);
        }
        last = reader.process;
    }
    return result;
}

void forget_readers() noexcept {
    const std::unique_lock lock(memory().mutex, std::try_to_lock);
    if (lock) {
        memory().searches.clear();
    }
}

} // namespace libfreeze::internal
