// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <cstdint>

namespace libfreeze {

/// How long the steps of a freeze took.
struct Stats {
    /// Rounds of writing out before writers were blocked (Options::flush_budget).
    std::uint64_t flush_rounds = 0;
    /// The time they took.
    std::chrono::nanoseconds flushing{0};
    /// From the first request to freeze until all filesystems were frozen.
    std::chrono::nanoseconds freezing{0};
    /// From then until the guard was emptied, or until now.
    std::chrono::nanoseconds frozen{0};
};

} // namespace libfreeze
