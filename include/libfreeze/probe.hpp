// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/export.hpp>

#include <filesystem>
#include <system_error>

namespace libfreeze {

/// What the running kernel offers beyond freeze and thaw.
struct Features {
    /// Options::timeout and FreezeGuard::extend() work.
    bool timeout = false;
};

/// Asks the kernel what it offers; any path will do, since the answer is the same for all
/// filesystems.
///
/// Freezes nothing, changes nothing and never blocks on a frozen filesystem. The kernel is asked,
/// its version is not looked at. Thread-safe. Needs CAP_SYS_ADMIN in the user namespace that
/// mounted the filesystem: without it a kernel with the patches answers EPERM. Other errors: those
/// of opening the path.
[[nodiscard]] LIBFREEZE_EXPORT Features probe(const std::filesystem::path& path = "/");

/// The same, with the error in `error` instead of a std::system_error.
[[nodiscard]] LIBFREEZE_EXPORT Features probe(const std::filesystem::path& path,
                                              std::error_code& error);

} // namespace libfreeze
