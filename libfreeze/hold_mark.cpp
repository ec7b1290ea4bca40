// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hold_mark.hpp"

#include "guard.hpp"
#include "sysfs.hpp"

#include <cerrno>
#include <optional>
#include <sstream>

#include <sys/sysmacros.h>

namespace libfreeze::internal {

namespace {

constexpr const char* name_prefix = "libfreeze:";
constexpr const char* own_directory = "/proc/thread-self";

bool is_freeze_descriptor(const std::string& process, int fd) {
    return link_of(process, std::to_string(fd)) == "anon_inode:[fsfreeze]";
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

} // namespace

FileDescriptor make_mark(std::uint64_t id, dev_t device, int fd) {
    return FileDescriptor(syscalls().memfd(name_prefix + format_id(id) + ":" + number_text(device) +
                                           ":" + std::to_string(fd)));
}

std::vector<HoldMark> marks_of(pid_t process) {
    std::vector<HoldMark> marks;
    const std::string directory = directory_of(process);
    for (const std::string& descriptor : list_names(directory + "/fd")) {
        if (const std::optional<HoldMark> mark = parse(link_of(directory, descriptor), process)) {
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
    const std::string info = info_of(directory_of(mark.process), std::to_string(mark.fd));
    const auto held = number_in(info, "fsfreeze-held-ms:", 10);
    return held ? static_cast<std::int64_t>(*held) : -1;
}

std::optional<std::int64_t> time_left_of(int fd) {
    const std::string info = info_of(own_directory, std::to_string(fd));
    if (info.find("fsfreeze-state:\theld\n") == std::string::npos) {
        return std::nullopt;
    }
    const auto left = number_in(info, "fsfreeze-left-ms:", 10);
    return left ? static_cast<std::int64_t>(*left) : -1;
}

/// The process may put another file there while we copy it.
FileDescriptor copy_descriptor(const HoldMark& mark) {
    FileDescriptor fd;
    if (is_freeze_descriptor(directory_of(mark.process), mark.fd)) {
        fd = FileDescriptor(syscalls().get_descriptor(mark.process, mark.fd));
        if (!fd && errno != EBADF) {
            return {};
        }
    }
    if (!fd || !is_freeze_descriptor(own_directory, fd.get())) {
        fd = FileDescriptor();
        errno = ESRCH;
    }
    return fd;
}

} // namespace libfreeze::internal
