// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hold_mark.hpp"

#include "guard.hpp"
#include "sysfs.hpp"

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <sstream>

#include <sys/sysmacros.h>

namespace libfreeze::internal {

namespace {

constexpr const char* name_prefix = "libfreeze:";
constexpr const char* freeze_descriptor = "anon_inode:[fsfreeze]";

std::string directory_of(pid_t process) {
    return "/proc/" + std::to_string(process);
}

std::string link_of(pid_t process, const std::string& descriptor) {
    std::string text;
    const std::string path = directory_of(process) + "/fd/" + descriptor;
    return syscalls().read_link(path, &text) == 0 ? text : "";
}

std::string info_of(const std::string& directory, int fd) {
    return read_text(directory + "/fdinfo/" + std::to_string(fd)).value_or("");
}

std::optional<std::int64_t> number_after(const std::string& key, const std::string& info) {
    const auto at = info.find(key);
    return at == std::string::npos
               ? std::nullopt
               : std::optional(std::strtoll(info.c_str() + at + key.size(), nullptr, 10));
}

/// "/memfd:libfreeze:0123456789abcdef:8:1:7 (deleted)"
std::optional<HoldMark> parse(const std::string& link, pid_t process) {
    const std::string prefix = "/memfd:" + std::string(name_prefix);
    if (link.compare(0, prefix.size(), prefix) != 0) {
        return std::nullopt;
    }
    std::istringstream text(link.substr(prefix.size()));
    std::string id;
    unsigned int major_number = 0;
    unsigned int minor_number = 0;
    char colon = 0;
    HoldMark mark;
    if (!std::getline(text, id, ':') ||
        !(text >> major_number >> colon >> minor_number >> colon >> mark.fd)) {
        return std::nullopt;
    }
    mark.id = parse_id(id.c_str());
    mark.device = makedev(major_number, minor_number);
    mark.process = process;
    return mark;
}

/// Those that this process can see.
std::vector<pid_t> processes() {
    std::vector<pid_t> result;
    for (const std::string& name : list_names("/proc")) {
        if (name.find_first_not_of("0123456789") == std::string::npos) {
            result.push_back(static_cast<pid_t>(std::strtol(name.c_str(), nullptr, 10)));
        }
    }
    return result;
}

} // namespace

FileDescriptor make_mark(std::uint64_t id, dev_t device, int fd) {
    return FileDescriptor(syscalls().memfd(name_prefix + format_id(id) + ":" + number_text(device) +
                                           ":" + std::to_string(fd)));
}

std::vector<HoldMark> marks_of(pid_t process) {
    std::vector<HoldMark> marks;
    for (const std::string& descriptor : list_names(directory_of(process) + "/fd")) {
        if (const std::optional<HoldMark> mark = parse(link_of(process, descriptor), process)) {
            marks.push_back(*mark);
        }
    }
    return marks;
}

std::vector<HoldMark> find_marks(std::uint64_t id) {
    std::vector<HoldMark> found;
    for (const pid_t process : processes()) {
        for (const HoldMark& mark : marks_of(process)) {
            if (mark.id == id) {
                found.push_back(mark);
            }
        }
    }
    return found;
}

std::int64_t age_of(const HoldMark& mark) {
    return number_after("fsfreeze-held-ms:", info_of(directory_of(mark.process), mark.fd))
        .value_or(-1);
}

std::optional<std::int64_t> time_left_of(int fd) {
    const std::string info = info_of("/proc/thread-self", fd);
    if (info.find("fsfreeze-state:\theld\n") == std::string::npos) {
        return std::nullopt;
    }
    return number_after("fsfreeze-left-ms:", info).value_or(-1);
}

FileDescriptor copy_descriptor(const HoldMark& mark) {
    if (link_of(mark.process, std::to_string(mark.fd)) != freeze_descriptor) {
        errno = ESRCH;
        return {};
    }
    FileDescriptor fd(syscalls().get_descriptor(mark.process, mark.fd));
    if (!fd && errno == EBADF) {
        errno = ESRCH;
    }
    return fd;
}

} // namespace libfreeze::internal
