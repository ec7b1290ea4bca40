// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>

namespace libfreeze {

/// The longest timeout that Options and FreezeGuard::extend() accept. Whoever asks for more has
/// made a mistake in the unit, and would find the filesystem frozen for ever.
inline constexpr std::chrono::hours max_timeout{24 * 365};

/// What becomes of one of several filesystems if it cannot be frozen (errc::not_supported).
enum class Unfreezable {
    fail, ///< nothing is frozen, and the error names it
    skip, ///< the others are frozen, and FreezeGuard::skipped() names it
};

/// How to freeze. The defaults work on every kernel.
struct Options {
    /// After this time the kernel thaws the filesystem by itself, and the guard reports
    /// errc::expired.
    ///
    /// Zero: no timeout. The kernel counts whole seconds and knows no timeout below two, so the
    /// time is rounded up to whole seconds and to two at least. It runs from the completed freeze;
    /// time in which the machine sleeps does not count. Negative, or more than max_timeout: ERANGE.
    /// Needs a kernel with the timeout patch; elsewhere a timeout is errc::unsupported_by_kernel
    /// and nothing is frozen.
    std::chrono::milliseconds timeout{0};

    /// For guards of several filesystems. If all are skipped, that is an error nevertheless.
    Unfreezable unfreezable = Unfreezable::fail;
};

} // namespace libfreeze
