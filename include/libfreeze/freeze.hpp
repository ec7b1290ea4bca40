// SPDX-License-Identifier: LGPL-2.1-or-later
/// Everything of libfreeze's C++ interface. Freezes filesystems for snapshots:
///
///     libfreeze::FreezeGuard guard("/srv/data", {std::chrono::seconds(30)});
///     take_snapshot();
///     guard.thaw();   // throws if the freeze did not last
///
/// The facts about the kernel that the comments rest on are in ioctl.h and in patches/README.md.
#pragma once

#include <libfreeze/error.hpp>
#include <libfreeze/failure_handler.hpp>
#include <libfreeze/filesystem.hpp>
#include <libfreeze/freeze_guard.hpp>
#include <libfreeze/options.hpp>
#include <libfreeze/probe.hpp>
#include <libfreeze/stats.hpp>
