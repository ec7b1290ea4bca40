// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <functional>

namespace libfreeze::internal {

/// Repeats `round`, which writes out what is dirty, until one is so short that a freeze would hold
/// writers back no longer, or is not much shorter than the one before, since they write as fast as
/// that. No round begins when the budget is used up. Returns how many there were.
unsigned int flush(std::chrono::nanoseconds budget, const std::function<void()>& round);

} // namespace libfreeze::internal
