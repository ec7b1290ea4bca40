// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/filesystem.hpp>

#include <system_error>

#include <sys/types.h>

namespace libfreeze {

/// Hands what a destructor cannot throw to the failure handler.
void report_failure(const std::system_error& error, const Filesystem& filesystem,
                    dev_t superblock) noexcept;

} // namespace libfreeze
