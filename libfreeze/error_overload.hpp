// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <system_error>
#include <utility>

namespace libfreeze {

/// The overload with an error code of a function that throws std::system_error.
template <typename Function>
void catching(std::error_code& error, Function&& function) {
    error.clear();
    try {
        std::forward<Function>(function)();
    } catch (const std::system_error& thrown) {
        error = thrown.code();
    }
}

} // namespace libfreeze
