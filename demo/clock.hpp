// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <cstdint>

namespace demo {

/// CLOCK_MONOTONIC in nanoseconds: the same in every process, so times of several can be compared.
inline std::int64_t now_ns() {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr std::int64_t ns_per_ms = 1000000;

struct Span {
    std::int64_t from;
    std::int64_t to;
};

} // namespace demo
