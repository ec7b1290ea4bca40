// SPDX-License-Identifier: LGPL-2.1-or-later
/// What the tests of guards ask for, and what they are told.
#pragma once

#include <libfreeze/options.hpp>

#include <chrono>
#include <system_error>
#include <utility>

namespace testing {

inline libfreeze::Options with_timeout(std::chrono::milliseconds timeout) {
    libfreeze::Options options;
    options.timeout = timeout;
    return options;
}

/// The code of the std::system_error that a call throws, or none.
template <typename Function>
std::error_code code_of(Function&& function) {
    try {
        std::forward<Function>(function)();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}

} // namespace testing
