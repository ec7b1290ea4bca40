// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>

namespace libfreeze {

/// What a freeze has cost. A writer can have been held back for `freezing` and `frozen` together.
struct Stats {
    /// Rounds of writing out before the freeze (Options::flush_budget), and the time they took.
    unsigned int flush_rounds = 0;
    std::chrono::nanoseconds flushing{0};
    /// From the first request to freeze until all filesystems were frozen.
    std::chrono::nanoseconds freezing{0};
    /// From then until the guard was thawed or released, or until now. It runs on if the kernel
    /// has ended the freeze (errc::expired): the guard does not know when.
    std::chrono::nanoseconds frozen{0};
};

} // namespace libfreeze
