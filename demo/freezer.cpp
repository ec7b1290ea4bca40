// SPDX-License-Identifier: LGPL-2.1-or-later
#include "freezer.hpp"

#include <libfreeze/ioctl.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace demo {

namespace {

int open_directory(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        throw std::system_error(errno, std::generic_category(), path);
    return fd;
}

class Freezer {
public:
    explicit Freezer(std::string mountpoint)
        : mountpoint_(std::move(mountpoint)), fd_(open_directory(mountpoint_)) {}

    [[nodiscard]] int act(const std::string& request) const {
        if (request == "write")
            return write();
        if (request == "thaw")
            return ioctl(fd_, FITHAW, 0) == 0 ? 0 : errno;
        if (request == limited_freeze)
            return freeze_or_give_up();
        return freeze(std::stoi(request.substr(request.find(' '))));
    }

private:
    [[nodiscard]] int freeze(__s64 seconds) const {
        const int result =
            seconds == 0 ? ioctl(fd_, FIFREEZE, 0) : ioctl(fd_, FIFREEZE_TIMEOUT, &seconds);
        return result == 0 ? 0 : errno;
    }

    [[nodiscard]] int freeze_or_give_up() const {
        fsfreeze_args arguments = {};
        arguments.acquire_timeout_ms = acquire_timeout.count();
        const int hold = ioctl(fd_, FIFREEZE_FD, &arguments);
        if (hold < 0)
            return errno;
        close(hold); // thaws
        return 0;
    }

    [[nodiscard]] int write() const {
        const std::string path = mountpoint_ + "/log";
        const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644); // blocks
        const bool written = fd >= 0 && ::write(fd, "frozen\n", 7) == 7;
        close(fd);
        return written ? 0 : errno;
    }

    std::string mountpoint_;
    int fd_;
};

} // namespace

Worker start_freezer(const std::string& mountpoint) {
    const auto freezer = std::make_shared<Freezer>(mountpoint);
    return Worker([freezer](const std::string& request) { return freezer->act(request); });
}

Worker start_administrator(const std::string& mountpoint) {
    const int fd = open_directory(mountpoint);
    return Worker([fd](const std::string&) { return ioctl(fd, FITHAW, 0) == 0 ? 0 : errno; });
}

std::string seconds(Clock::duration span) {
    return fmt::format("{:.2f} s", std::chrono::duration<double>(span).count());
}

bool in_time(Clock::time_point requested, Clock::time_point frozen, Clock::time_point ended) {
    return ended - requested >= earliest && ended - frozen <= latest;
}

} // namespace demo
