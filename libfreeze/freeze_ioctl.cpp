// SPDX-License-Identifier: LGPL-2.1-or-later
#include "freeze_ioctl.hpp"

#include "failure.hpp"

#include <libfreeze/ioctl.h>

#include <algorithm>
#include <cerrno>

namespace libfreeze {

namespace {

std::error_code call(int fd, unsigned long request, std::int64_t* argument) noexcept {
    int result = -1;
    do {
        result = the_system().ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? last_error() : std::error_code();
}

} // namespace

std::int64_t kernel_seconds(std::chrono::nanoseconds timeout) noexcept {
    return std::max<std::int64_t>(2, std::chrono::ceil<std::chrono::seconds>(timeout).count());
}

std::error_code freeze_ioctl(int fd, std::int64_t seconds) noexcept {
    return seconds == 0 ? call(fd, FIFREEZE, nullptr) : call(fd, FIFREEZE_TIMEOUT, &seconds);
}

std::error_code thaw_ioctl(int fd) noexcept {
    return call(fd, FITHAW, nullptr);
}

std::error_code reset_timeout_ioctl(int fd, std::int64_t seconds) noexcept {
    return call(fd, FIFREEZE_RESET_TIMEOUT, &seconds);
}

std::error_code probe_timeout(int fd) noexcept {
    const std::error_code answer = reset_timeout_ioctl(fd, -1);
    if (answer == system_error_code(ERANGE)) {
        return {};
    }
    const bool forbidden =
        answer == std::errc::operation_not_permitted || answer == std::errc::permission_denied;
    return forbidden ? answer : system_error_code(ENOTTY);
}

} // namespace libfreeze
