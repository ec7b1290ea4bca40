// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>

namespace libfreeze::internal {

/// How a kept hold has ended, as its guardian recorded it, and forgets that. Empty: not known.
std::string take_ended_hold(std::uint64_t id);

} // namespace libfreeze::internal
