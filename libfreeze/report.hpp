// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/filesystem.hpp>

#include <system_error>
#include <vector>

#include <sys/types.h>

namespace libfreeze {

/// Hands what a destructor cannot throw to the failure handler. `frozen`: the superblocks that may
/// still be frozen, to which nothing must be written.
void report_failure(const std::system_error& error, const Filesystem& filesystem,
                    const std::vector<dev_t>& frozen) noexcept;

} // namespace libfreeze
