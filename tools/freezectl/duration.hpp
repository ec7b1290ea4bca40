// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace freezectl {

/// "30", "30s", "500ms", "2m", "1h". Throws std::invalid_argument with a line that says what to
/// write instead.
std::chrono::milliseconds parse_duration(std::string_view text);

/// For people: "0.3 s", "12 s", "2 min 5 s".
std::string duration_text(std::chrono::nanoseconds time);

} // namespace freezectl
