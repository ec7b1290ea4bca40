// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/freeze.h>

#include <string>

namespace libfreeze::internal {

/// What the kernel and the host offer. Freezes nothing. Throws Error; EPERM without CAP_SYS_ADMIN.
libfreeze_features probe(const std::string& path);

} // namespace libfreeze::internal
