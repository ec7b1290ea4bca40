// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "guardian_client.hpp"
#include "report.hpp"

#include <string>

namespace libfreeze::internal {

/// The administrator's rescue: ends all holds of the filesystem at `path`, or on the block device
/// `path`, and thaws it. Returns what it ended. Throws Error; ESRCH if it was not frozen.
ReportEntry thaw_others(const std::string& path, const Limits& limits);

} // namespace libfreeze::internal
