// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/error.hpp>
#include <libfreeze/freeze.h>

#include <filesystem>

namespace libfreeze {

/// What the running kernel and this host offer.
struct Features {
    bool kernel_timeouts = false;   ///< the freeze ioctls have timeouts (part 2 of the patches)
    bool descriptors = false;       ///< freezes are held by descriptors (part 3)
    bool status = false;            ///< the kernel reports who has frozen a filesystem (part 3)
    bool host_guardian = false;     ///< the host can start a guardian (systemd socket)
    bool guardian_survives = false; ///< a guardian outlives this program, whatever ends it
    /// The kernel ends a freeze that takes too long, and writers continue (part 3).
    bool gives_up = false;
};

/// Asks the kernel what it offers. Any path on a freezable filesystem will do. Freezes nothing and
/// never blocks on a frozen filesystem. Thread-safe.
///
/// @throws std::system_error: EPERM without CAP_SYS_ADMIN; the path cannot be looked at
[[nodiscard]] inline Features probe(const std::filesystem::path& path = "/") {
    libfreeze_features features{};
    detail::check(libfreeze_probe(path.c_str(), &features, sizeof(features)));
    return {features.kernel_timeouts != 0, features.descriptors != 0,       features.status != 0,
            features.host_guardian != 0,   features.guardian_survives != 0, features.gives_up != 0};
}
[[nodiscard]] inline Features probe(const std::filesystem::path& path, std::error_code& error) {
    return detail::catching(error, [&] { return probe(path); });
}

/// The version of the library that is in use, such as "0.2.0".
[[nodiscard]] inline const char* version() noexcept {
    return libfreeze_version();
}

} // namespace libfreeze
