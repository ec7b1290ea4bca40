// SPDX-License-Identifier: LGPL-2.1-or-later
#include "kernel_hold.hpp"

#include <libfreeze/ioctl.h>

#include <algorithm>
#include <cerrno>

namespace libfreeze::internal {

namespace {

Outcome outcome_of(int result) {
    if (result >= 0) {
        return {};
    }
    return {errno,
            errno == ESTALE ? "its deadline has passed, or another program has thawed it" : ""};
}

/// At least 1, since 0 means no limit.
std::uint64_t milliseconds_left(const Deadline& until) {
    if (!until) {
        return 0;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - syscalls().now());
    return static_cast<std::uint64_t>(std::max<std::int64_t>(left.count(), 1));
}

} // namespace

std::unique_ptr<Hold> KernelHold::take(int filesystem, const HoldRequest& request,
                                       Outcome* outcome) {
    fsfreeze_args arguments{};
    arguments.timeout_ms = static_cast<std::uint64_t>(request.timeout.count());
    arguments.acquire_timeout_ms = milliseconds_left(request.limits.until);
    request.comment.copy(arguments.comment, sizeof(arguments.comment) - 1);
    const int fd = retry_ioctl(filesystem, FIFREEZE_FD, &arguments);
    *outcome = outcome_of(fd);
    return fd < 0 ? nullptr : std::unique_ptr<Hold>(new KernelHold(FileDescriptor(fd)));
}

Outcome KernelHold::thaw() {
    return outcome_of(retry_ioctl(fd_.get(), FSFREEZE_THAW, nullptr));
}

Outcome KernelHold::extend(std::chrono::milliseconds timeout) {
    auto milliseconds = static_cast<__u64>(timeout.count());
    return outcome_of(retry_ioctl(fd_.get(), FSFREEZE_EXTEND, &milliseconds));
}

Outcome KernelHold::keep() {
    return outcome_of(retry_ioctl(fd_.get(), FSFREEZE_KEEP, nullptr));
}

} // namespace libfreeze::internal
