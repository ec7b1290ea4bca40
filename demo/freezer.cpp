// SPDX-License-Identifier: LGPL-2.1-or-later
#include "freezer.hpp"

#include <libfreeze/freeze.hpp>

#include <cerrno>
#include <chrono>
#include <memory>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace demo {

namespace {

int code_of(const std::error_code& error) {
    if (error == libfreeze::errc::expired)
        return expired;
    if (error == libfreeze::errc::unsupported_by_kernel)
        return unsupported_by_kernel;
    return error.value();
}

int open_directory(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        throw std::system_error(errno, std::generic_category(), path);
    return fd;
}

class Freezer {
public:
    explicit Freezer(std::string mountpoint) : mountpoint_(std::move(mountpoint)) {}

    int act(const std::string& request) {
        try {
            if (request == "write")
                return write();
            if (request == "thaw") {
                guard_.thaw();
            } else {
                freeze(std::stoi(request.substr(request.find(' '))));
            }
            return 0;
        } catch (const std::system_error& error) {
            fmt::print("    freezer: {}\n", error.what());
            return code_of(error.code());
        }
    }

private:
    void freeze(int seconds) {
        libfreeze::Options options;
        options.timeout = std::chrono::seconds(seconds);
        options.guardian = libfreeze::UseGuardian::never; // so that only the kernel acts
        guard_ = libfreeze::FreezeGuard(mountpoint_, options);
    }

    [[nodiscard]] int write() const {
        const std::string path = mountpoint_ + "/log";
        const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644); // blocks
        const bool written = fd >= 0 && ::write(fd, "frozen\n", 7) == 7;
        close(fd);
        return written ? 0 : errno;
    }

    std::string mountpoint_;
    libfreeze::FreezeGuard guard_;
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
