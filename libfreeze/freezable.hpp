// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

namespace libfreeze::internal {

/// Whether a filesystem can be frozen. -1: unknown.
struct Freezable {
    int answer = -1;
    std::string reason = {}; ///< if the answer is not yes
};

/// By the type alone.
Freezable freezable_by_type(const std::string& type);

/// By the kernel, where it can tell; otherwise `by_type`. Freezes nothing.
Freezable freezable_by_kernel(int fd, const Freezable& by_type);

} // namespace libfreeze::internal
