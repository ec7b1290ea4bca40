// SPDX-License-Identifier: LGPL-2.1-or-later
#include "c_result.hpp"

#include <cerrno>

namespace libfreeze::internal {

namespace {

std::string& message() {
    thread_local std::string text;
    return text;
}

} // namespace

int remember_failure(int number, const char* text) noexcept {
    try {
        message() = text;
    } catch (...) {
        message().clear();
    }
    return -number;
}

const char* last_failure() noexcept {
    return message().c_str();
}

void refuse(const std::string& function, const std::string& why) {
    throw Error(EINVAL, "libfreeze: " + function + "(): " + why);
}

} // namespace libfreeze::internal
