// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "guardian_client.hpp"
#include "report.hpp"

#include <libfreeze/ioctl.h>

#include <string>
#include <vector>

namespace libfreeze::internal {

/// Reports on the filesystems that the paths are on; without paths, on all that are not known to be
/// unfreezable. Throws Error.
std::vector<ReportEntry> inspect(const std::vector<std::string>& paths, const Limits& limits);

/// Adds to an entry whether its filesystem is frozen, and by whom. `fd`: -1 if it could not be
/// opened.
void add_state(int fd, const Limits& limits, ReportEntry* entry);

/// As a guardian reports it.
HoldEntry hold_entry(const guardian_message& holder);

/// As the kernel reports them (part 3 of the patches), with the ids of those of libfreeze.
std::vector<HoldEntry> hold_entries(dev_t device, const std::vector<fsfreeze_holder>& holders);

} // namespace libfreeze::internal
