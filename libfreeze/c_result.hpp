// SPDX-License-Identifier: LGPL-2.1-or-later
/// Between the C interface and the C++ behind it.
#pragma once

#include "error.hpp"

#include <cstddef>
#include <cstring>
#include <exception>
#include <string>

namespace libfreeze::internal {

/// Keeps a failure for libfreeze_error_message(). Returns the negative errno.
int remember_failure(int number, const char* message) noexcept;

/// The message of this thread's last failure.
const char* last_failure() noexcept;

/// What a C++ function returned, or a negative errno for what it threw.
template <typename Function>
int result_of(Function&& function) noexcept {
    try {
        return function();
    } catch (const Error& error) {
        return remember_failure(error.number(), error.what());
    } catch (const std::exception&) {
        return remember_failure(ENOMEM, "libfreeze: out of memory");
    }
}

/// Misuse by the caller: EINVAL.
[[noreturn]] void refuse(const std::string& function, const std::string& why);

template <typename Pointer>
Pointer required(Pointer pointer, const char* function, const char* what) {
    if (pointer == nullptr) {
        refuse(function, std::string(what) + " is NULL");
    }
    return pointer;
}

/// Copies a struct to a caller that was compiled with another version of it.
template <typename Struct>
void fill(Struct* target, std::size_t size, const Struct& source) noexcept {
    std::memset(target, 0, size);
    std::memcpy(target, &source, size < sizeof(source) ? size : sizeof(source));
}

} // namespace libfreeze::internal
