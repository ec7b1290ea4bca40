// SPDX-License-Identifier: LGPL-2.1-or-later
/// Bounds for work that may block in the kernel: looking up a path on a dead NFS or FUSE mount,
/// writing out dirty data.
#pragma once

#include "guardian_client.hpp"

#include <libfreeze/freeze.h>

#include <functional>

namespace libfreeze::internal {

using ProgressFunction = std::function<void(const libfreeze_progress&)>;

/// Calls `work` and returns when it has; throws what it throws. If it takes longer than `limits`
/// allow, throws Error (ETIMEDOUT, ECANCELED) of `operation` and leaves it to a thread, where it
/// ends as soon as it can: `work` must own all that it uses. Where there are no limits, `work` runs
/// in the calling thread.
///
/// `work` gets a function to report progress with; `progress` is called in the calling thread.
void run_bounded(const Limits& limits, Operation operation, const std::string& path,
                 const ProgressFunction& progress,
                 std::function<void(const ProgressFunction&)> work);

} // namespace libfreeze::internal
