// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

/// The exit statuses that freezectl(8) documents. Those above 100 do not collide with the statuses
/// that commands use themselves; 124 to 127 have the same meaning as those of timeout(1).
namespace freezectl::exit_status {

inline constexpr int ok = 0;
inline constexpr int failed = 1;
inline constexpr int usage = 2;
inline constexpr int frozen = 3; ///< of `status`
inline constexpr int still_frozen = 122;
inline constexpr int did_not_last = 123;
inline constexpr int deadline = 124;
inline constexpr int cannot_freeze = 125;
inline constexpr int cannot_execute = 126;
inline constexpr int not_found = 127;
inline constexpr int signal_base = 128;

} // namespace freezectl::exit_status
