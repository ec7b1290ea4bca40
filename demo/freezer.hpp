// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "clock.hpp"
#include "party.hpp"

#include <optional>
#include <string>

namespace demo {

/// What a freezer with a timeout gets: it has to be freed 2.0 to 2.5 seconds after its freeze.
constexpr const char* freezer_timeout = "freeze 2";
constexpr std::int64_t earliest = 2000 * ns_per_ms;
constexpr std::int64_t latest = 2500 * ns_per_ms;

/// A process that freezes a filesystem with a guard of libfreeze and then goes wrong. Requests:
///   freeze SECONDS   makes the guard, SECONDS is its timeout (0: none)
///   write            writes to the filesystem, as a program does that logs there
///   thaw             thaws the guard
/// Replies: 0, the errno, or one of these:
enum FreezerError : int { expired = 10001, unsupported_by_kernel, failed };

Party start_freezer(const std::string& mountpoint);

/// A process that thaws whatever anybody has frozen there (request "thaw"), as an administrator
/// does with fsfreeze --unfreeze.
Party start_administrator(const std::string& mountpoint);

/// When a freeze ended that was asked for at `asked` and complete at `frozen`: "2.04 s", and
/// whether that is neither too early nor too late.
std::string seconds(std::int64_t span);
bool in_time(std::int64_t asked, std::int64_t frozen, std::int64_t ended);

} // namespace demo
