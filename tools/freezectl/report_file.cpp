// SPDX-License-Identifier: LGPL-2.1-or-later
#include "report_file.hpp"

#include "console.hpp"
#include "selection.hpp"
#include "text.hpp"

#include <libfreeze/inspect.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace freezectl {

namespace {

using libfreeze::FilesystemStatus;

constexpr int write_timeout = 30'000; // ms

[[noreturn]] void fail(const std::string& name, int error) {
    throw std::system_error(error, std::system_category(),
                            fmt::format("cannot write the report to {}", in_quotes(name)));
}

[[noreturn]] void refuse(const std::string& name) {
    throw std::runtime_error(fmt::format(
        "cannot write the report to {}: it is on a frozen filesystem or on one to freeze; choose "
        "another place",
        in_quotes(name)));
}

/// The number of a descriptor; -1: it is a file name.
int parse_descriptor(const std::string& name) {
    int number = -1;
    const char* const last = name.data() + name.size();
    const auto result = std::from_chars(name.data(), last, number);
    return result.ec == std::errc() && result.ptr == last ? number : -1;
}

bool involves(const FilesystemStatus& status, const std::set<dev_t>& superblocks) {
    const auto is_listed = [&](const libfreeze::Filesystem& filesystem) {
        return superblocks.count(filesystem.device) != 0;
    };
    return is_listed(status.filesystem) ||
           std::any_of(status.stacked_on.begin(), status.stacked_on.end(), is_listed);
}

/// None: it cannot be found.
std::optional<FilesystemStatus> status_of(const std::filesystem::path& path,
                                          std::error_code* error) {
    const auto found = libfreeze::inspect({path}, inspect_timeout, *error);
    return *error ? std::nullopt : std::optional(found.front());
}

/// Whether the file exists. Opening a file on a frozen filesystem would block, so that is refused.
bool look_for_file(const std::string& name, const std::set<dev_t>& superblocks) {
    std::error_code error;
    const std::optional<FilesystemStatus> file = status_of(name, &error);
    const auto directory = std::filesystem::absolute(name).parent_path();
    const std::optional<FilesystemStatus> place = file ? file : status_of(directory, &error);
    if (!place) {
        fail(name, error.value());
    }
    if (place->state == FilesystemStatus::State::frozen || involves(*place, superblocks)) {
        refuse(name);
    }
    return file.has_value();
}

int open_descriptor(const std::string& name, int number) {
    const int flags = ::fcntl(number, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
        fail(name, EBADF);
    }
    const int fd = ::fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (number > STDERR_FILENO) {
        ::close(number); // not COMMAND's
    }
    return fd;
}

/// O_NONBLOCK: a FIFO that nobody reads is an error. O_EXCL: a symbolic link to a place that was not
/// looked at is an error.
int open_file(const std::string& name, bool exists) {
    constexpr mode_t mode = 0666;
    const int how = exists ? O_TRUNC : O_CREAT | O_EXCL;
    return ::open(name.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | how, mode);
}

} // namespace

bool is_on(int fd, const std::set<dev_t>& superblocks) {
    std::error_code error; // a pipe, a socket
    const auto found =
        libfreeze::inspect({fmt::format("/proc/self/fd/{}", fd)}, inspect_timeout, error);
    return !error && involves(found.front(), superblocks);
}

ReportFile::~ReportFile() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

void ReportFile::open(const std::string& name, const std::set<dev_t>& superblocks) {
    name_ = name;
    const int number = parse_descriptor(name);
    fd_ = number < 0 ? open_file(name, look_for_file(name, superblocks))
                     : open_descriptor(name, number);
    if (fd_ < 0) {
        fail(name, errno);
    }
    if (is_on(fd_, superblocks)) {
        refuse(name);
    }
}

void ReportFile::write(const std::string& text) const {
    if (fd_ >= 0 && !write_all(fd_, text, write_timeout)) {
        fail(name_, errno);
    }
}

} // namespace freezectl
