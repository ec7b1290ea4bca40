// SPDX-License-Identifier: LGPL-2.1-or-later
#include "flush.hpp"

#include "syscalls.hpp"

namespace libfreeze::internal {

namespace {

constexpr std::chrono::milliseconds short_enough{10}; // what a freeze takes anyway

bool is_much_shorter(Clock::duration took, Clock::duration before) noexcept {
    return took < before / 4 * 3;
}

} // namespace

unsigned int flush(std::chrono::nanoseconds budget, const std::function<void()>& round) {
    unsigned int rounds = 0;
    const auto start = syscalls().now();
    auto began = start;
    auto took = Clock::duration::max();
    auto before = took;
    do {
        if (began - start >= budget) {
            break;
        }
        round();
        ++rounds;
        before = took;
        const auto ended = syscalls().now();
        took = ended - began;
        began = ended;
    } while (took > short_enough && is_much_shorter(took, before));
    return rounds;
}

} // namespace libfreeze::internal
