// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "worker.hpp"

#include <chrono>
#include <string>

namespace demo {

/// A freeze with a timeout must end 2.0 to 2.5 seconds after it is complete.
constexpr const char* freezer_timeout = "freeze 2";
constexpr std::chrono::milliseconds earliest{2000};
constexpr std::chrono::milliseconds latest{2500};

/// A freeze that gives up if writers do not let it complete in this time.
constexpr const char* limited_freeze = "freeze or give up";
constexpr std::chrono::milliseconds acquire_timeout{800};

/// A process that freezes a filesystem and then misbehaves. It uses the bare ioctls, because a guard
/// of the library would not leave the filesystem frozen. Requests:
///   freeze SECONDS   freezes, with this timeout (0: none)
///   freeze or give up   freezes with a descriptor, within acquire_timeout, and thaws
///   write            writes to the filesystem, like a program that logs there
///   thaw             thaws
/// Replies: 0 or the errno.
Worker start_freezer(const std::string& mountpoint);

/// A process that thaws any process's freeze (request "thaw"), like an administrator with
/// fsfreeze --unfreeze.
Worker start_administrator(const std::string& mountpoint);

/// For example "2.04 s".
std::string seconds(Clock::duration span);
/// Whether a freeze ended on time that was requested and complete at these times.
bool in_time(Clock::time_point requested, Clock::time_point frozen, Clock::time_point ended);

} // namespace demo
