// SPDX-License-Identifier: LGPL-2.1-or-later
#include "own_files.hpp"

#include "error.hpp"
#include "pipe_readers.hpp"
#include "syscalls.hpp"
#include "sysfs.hpp"
#include "target.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace libfreeze::internal {

namespace {

/// One more than the highest descriptor that may be open. Listing /proc/self/fd would take longer.
int descriptor_limit() {
    constexpr int usual = 65536;
    const std::string key = "FDSize:";
    const std::string status = read_text("/proc/self/status").value_or("");
    const auto at = status.find(key);
    return at == std::string::npos ? usual : std::atoi(status.c_str() + at + key.size());
}

/// The type of an open file; 0 if it is not open. Asks no server.
mode_t type_of(int fd) {
    struct statx status {};
    return syscalls().statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) == 0
               ? status.stx_mode & S_IFMT
               : 0;
}

bool is_output(int fd) {
    return fd == STDOUT_FILENO || fd == STDERR_FILENO;
}

std::string role_of(int fd, int flags) {
    if (is_output(fd)) {
        return fd == STDOUT_FILENO ? "standard output" : "standard error";
    }
    return (flags & O_APPEND) != 0 ? "the log open as descriptor " + std::to_string(fd) : "";
}

/// Finds superblocks by mount id, of which a program has few.
class Places final {
public:
    explicit Places(const MountTable& table) {
        for (const Mount& mount : table) {
            devices_.emplace(mount.id, mount.device);
        }
    }

    /// None if it is not a regular file.
    [[nodiscard]] std::optional<dev_t> of_file(int fd, const MountTable& table) const {
        struct statx status {};
        if (syscalls().statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MNT_ID,
                             &status) != 0 ||
            !S_ISREG(status.stx_mode)) {
            return std::nullopt;
        }
        const auto found = devices_.find(status.stx_mnt_id);
        const bool is_known = (status.stx_mask & STATX_MNT_ID) != 0 && found != devices_.end();
        return is_known ? std::optional(found->second) : superblock_of(fd, table);
    }

private:
    std::map<std::uint64_t, dev_t> devices_;
};

bool is_for_writing(int flags) {
    return flags >= 0 && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_RDONLY;
}

/// A program may have very many open files. Those that it is unlikely to write to are only for the
/// message, which has no room for more.
void add_descriptors(const MountTable& table, std::vector<OwnFile>* files) {
    constexpr std::size_t most_unlikely = 1000;
    const Places places(table);
    std::size_t unlikely = 0;
    for (int fd = 0, limit = descriptor_limit(); fd < limit; ++fd) {
        const int flags = syscalls().get_flags(fd);
        const std::string role = is_for_writing(flags) ? role_of(fd, flags) : "";
        const bool is_wanted = !role.empty() || unlikely < most_unlikely;
        const std::optional<dev_t> superblock =
            is_wanted && is_for_writing(flags) ? places.of_file(fd, table) : std::nullopt;
        if (superblock) {
            unlikely += role.empty() ? 1 : 0;
            files->push_back(
                {*superblock, role.empty() ? std::to_string(fd) : role, !role.empty()});
        }
    }
}

/// Programs that write elsewhere what this one writes to a pipe: `| tee LOG`, the journal.
void add_readers(const MountTable& table, std::vector<OwnFile>* files) {
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
        for (const ReaderFile& file : files_of_readers(fd, table).files) {
            files->push_back({file.superblock,
                              role_of(fd, 0) + ", which " + quoted(file.command) + " (PID " +
                                  std::to_string(file.pid) + ") reads and may write to " +
                                  quoted(file.path),
                              true});
        }
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

/// A mount over the swap file may hide it, so all mounts at that place count.
void add_swap_file(const std::string& path, const MountTable& table, std::vector<OwnFile>* files) {
    const Mount* const top = find_mount_by_name(table, path);
    for (const Mount& mount : table) {
        if (top != nullptr && mount.target == top->target) {
            files->push_back({mount.device, "the swap file " + quoted(path), true});
        }
    }
}

void add_swap_files(const MountTable& table, std::vector<OwnFile>* files) {
    std::istringstream lines(read_text("/proc/swaps").value_or(""));
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string name;
        std::string type;
        if (words >> name >> type && type == "file") {
            add_swap_file(unescaped(name), table, files);
        }
    }
}

/// Whether one superblock is another, or is stacked on it.
class Stacking final {
public:
    Stacking(dev_t below, const MountTable& table) : below_(below), table_(table) {}

    bool involves(dev_t superblock) {
        if (superblock == below_) {
            return true;
        }
        const auto [known, is_new] = answers_.try_emplace(superblock, false);
        if (is_new) {
            known->second = stack_under(superblock, table_).superblocks.count(below_) != 0;
        }
        return known->second;
    }

private:
    dev_t below_;
    const MountTable& table_;
    std::map<dev_t, bool> answers_;
};

/// The names of those, once each and separated. A message has room for some.
std::string names(const std::vector<OwnFile>& files, bool likely, const char* separator,
                  Stacking* stacking) {
    constexpr std::size_t most = 16;
    std::string result;
    std::set<std::string> seen;
    for (const OwnFile& file : files) {
        if (file.is_likely != likely || !stacking->involves(file.superblock) ||
            !seen.insert(file.name).second) {
            continue;
        }
        if (seen.size() > most) {
            return result + separator + "...";
        }
        result += (result.empty() ? "" : separator) + file.name;
    }
    return result;
}

/// Whether a write could wait for one of the superblocks.
bool is_on(dev_t superblock, const std::vector<dev_t>& superblocks, const MountTable& table) {
    return std::any_of(superblocks.begin(), superblocks.end(),
                       [&](dev_t below) { return Stacking(below, table).involves(superblock); });
}

} // namespace

std::vector<OwnFile> own_files(const MountTable& table) {
    std::vector<OwnFile> files;
    add_descriptors(table, &files);
    add_readers(table, &files);
    add_swap_files(table, &files);
    return files;
}

std::string why_it_would_deadlock(const std::vector<OwnFile>& files, dev_t superblock,
                                  const MountTable& table) {
    Stacking stacking(superblock, table);
    const std::string likely = names(files, true, ", ", &stacking);
    if (likely.empty()) {
        return {};
    }
    const std::string others = names(files, false, " ", &stacking);
    return others.empty() ? likely : likely + "; also open for writing there: " + others;
}

bool writes_to(int fd, const std::vector<dev_t>& superblocks) {
    const MountTable table = read_mount_table();
    const mode_t type = type_of(fd);
    if (type == S_IFCHR) { // a terminal
        return false;
    }
    if (type == S_IFIFO || type == S_IFSOCK) {
        const ReaderFiles found = files_of_readers(fd, table);
        return !found.complete ||
               std::any_of(found.files.begin(), found.files.end(), [&](const ReaderFile& file) {
                   return is_on(file.superblock, superblocks, table);
               });
    }
    const std::optional<dev_t> superblock =
        type == S_IFREG ? superblock_of(fd, table) : std::nullopt;
    return !superblock || is_on(*superblock, superblocks, table);
}

} // namespace libfreeze::internal
