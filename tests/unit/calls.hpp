// SPDX-License-Identifier: LGPL-2.1-or-later
/// Options and errors, for tests of guards.
#pragma once

#include <libfreeze/options.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <string>
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

inline bool contains(const std::system_error& error, const std::string& text) {
    INFO(error.what());
    return std::string(error.what()).find(text) != std::string::npos;
}

} // namespace testing
