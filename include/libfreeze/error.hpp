// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/export.hpp>

#include <system_error>
#include <type_traits>

namespace libfreeze {

/// What went wrong, as a condition to compare an error code with: `if (error.code() ==
/// errc::expired)`.
///
/// The error codes themselves keep the kernel's errno (std::system_category). Where the library
/// finds out without the kernel saying so, the code is one of these, in error_category().
enum class errc {
    /// This filesystem cannot be frozen (proc, tmpfs, overlay, ...), or the path is a device node.
    /// EOPNOTSUPP.
    not_supported = 1,
    /// Somebody else has frozen it, and this kernel lets only one freeze it. EBUSY.
    already_frozen,
    /// The freeze did not last until thaw() or extend(): its timeout, an administrator or sysrq-j
    /// ended it.
    /// What was copied meanwhile is not consistent: throw it away. EINVAL from the kernel's thaw.
    expired,
    /// The program would block on its own frozen filesystem. EDEADLK.
    would_deadlock,
    /// The freeze was not complete in the time that the caller gave it. ETIMEDOUT.
    acquire_timeout,
    /// This kernel has no freeze timeouts: use none, or a kernel with libfreeze's patches. ENOTTY.
    unsupported_by_kernel,
};

/// The category of errc. Thread-safe.
[[nodiscard]] LIBFREEZE_EXPORT const std::error_category& error_category() noexcept;

[[nodiscard]] inline std::error_code make_error_code(errc condition) noexcept {
    return {static_cast<int>(condition), error_category()};
}

[[nodiscard]] inline std::error_condition make_error_condition(errc condition) noexcept {
    return {static_cast<int>(condition), error_category()};
}

} // namespace libfreeze

template <>
struct std::is_error_condition_enum<libfreeze::errc> : std::true_type {};
