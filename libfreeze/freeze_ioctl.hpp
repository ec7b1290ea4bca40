// SPDX-License-Identifier: LGPL-2.1-or-later
/// The four freeze requests. Each returns no error, or the kernel's errno; a signal does not
/// interrupt them.
#pragma once

#include "system.hpp"

#include <chrono>
#include <cstdint>
#include <system_error>

namespace libfreeze {

/// How a call ended.
struct Outcome {
    std::error_code code;     ///< no error: done
    std::error_code leftover; ///< a freeze of ours that had to be undone and could not be
};

/// Whole seconds of a timeout as the kernel takes it: rounded up, and two at least, since 0 and 1
/// mean none.
std::int64_t kernel_seconds(std::chrono::nanoseconds timeout) noexcept;

/// `seconds` 0: without a deadline, by the request that every kernel has.
std::error_code freeze_ioctl(int fd, std::int64_t seconds) noexcept;
std::error_code thaw_ioctl(int fd) noexcept;
/// `seconds` 0: no deadline any more.
std::error_code reset_timeout_ioctl(int fd, std::int64_t seconds) noexcept;

/// No error if the kernel has freeze timeouts. Otherwise EPERM, or ENOTTY for a kernel without
/// them.
///
/// The request is FIFREEZE_RESET_TIMEOUT with a time below zero: ERANGE where it is known. That is
/// checked before any hold is looked at, so unlike a valid time it can never change somebody's
/// deadline if the filesystem is frozen. EPERM comes first of all, from a kernel that knows the
/// request.
std::error_code probe_timeout(int fd) noexcept;

} // namespace libfreeze
