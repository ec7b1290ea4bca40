// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <array>
#include <cstddef>
#include <new>

namespace libfreeze {

/// The one T of the process, never destroyed: guards and errors may outlive the statics.
template <typename T>
T& immortal() noexcept {
    alignas(T) static std::array<std::byte, sizeof(T)> storage;
    static auto* const object = ::new (storage.data()) T;
    return *object;
}

} // namespace libfreeze
