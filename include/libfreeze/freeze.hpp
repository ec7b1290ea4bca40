// SPDX-License-Identifier: LGPL-2.1-or-later
/// The C++ interface of libfreeze: headers over the C interface, which is the only binary
/// interface. Freezes filesystems for snapshots:
///
///     libfreeze::FreezeGuard guard("/srv/data", {std::chrono::seconds(30)});
///     take_snapshot();
///     guard.thaw(); // throws if the freeze did not last
#pragma once

#include <libfreeze/error.hpp>
#include <libfreeze/filesystem.hpp>
#include <libfreeze/freeze_guard.hpp>
#include <libfreeze/inspect.hpp>
#include <libfreeze/options.hpp>
#include <libfreeze/probe.hpp>
#include <libfreeze/stats.hpp>
