// SPDX-License-Identifier: LGPL-2.1-or-later
#include "kernel_features.hpp"

#include "file_descriptor.hpp"

#include <cerrno>
#include <cstdint>

namespace libfreeze::internal {

namespace {

/// 0 or the errno.
int call(int fd, unsigned long request, void* argument) {
    return retry_ioctl(fd, request, argument) < 0 ? errno : 0;
}

int answer_of(int error, int expected) {
    if (error == 0 || error == expected) {
        return 0;
    }
    return error == EPERM || error == EACCES ? EPERM : ENOTTY;
}

} // namespace

/// A negative time is refused after the check for privilege.
int ask_for_timeouts(int fd) {
    std::int64_t seconds = -1;
    return answer_of(call(fd, FIFREEZE_RESET_TIMEOUT, &seconds), ERANGE);
}

/// Unknown flags are refused, after the check whether the filesystem can be frozen.
int ask_for_descriptors(int fd) {
    fsfreeze_args arguments{};
    arguments.flags = ~0U;
    const int error = call(fd, FIFREEZE_FD, &arguments);
    return error == EOPNOTSUPP ? 0 : answer_of(error, EINVAL);
}

/// A negative time is refused after the check whether the filesystem can be frozen.
int ask_if_freezable(int fd) {
    std::int64_t seconds = -1;
    const int error = call(fd, FIFREEZE_TIMEOUT, &seconds);
    return error == ERANGE ? 0 : error;
}

int read_kernel_status(int fd, fsfreeze_status* status, std::vector<fsfreeze_holder>* holders) {
    constexpr std::size_t most = 65536;
    holders->assign(16, {});
    for (;;) {
        *status = {};
        status->holder_size = sizeof(fsfreeze_holder);
        status->nr_holders = static_cast<std::uint32_t>(holders->size());
        status->holders = reinterpret_cast<std::uintptr_t>(holders->data());
        int error = call(fd, FIFREEZE_STATUS, status);
        if (error == EPERM && !holders->empty()) { // the rest needs no privilege
            holders->clear();
            continue;
        }
        if (error == 0 && status->nr_holders > holders->size() && !holders->empty() &&
            holders->size() < most) {
            holders->assign(status->nr_holders + 16, {});
            continue;
        }
        if (holders->size() > status->nr_holders) {
            holders->resize(error == 0 ? status->nr_holders : 0);
        }
        return error;
    }
}

} // namespace libfreeze::internal
