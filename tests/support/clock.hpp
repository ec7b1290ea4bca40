// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>

namespace testing {

/// CLOCK_MONOTONIC, the same in every process, so that times from several can be compared.
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

struct Span {
    Clock::time_point from;
    Clock::time_point to;
};

} // namespace testing
