// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <array>
#include <cstddef>
#include <new>

namespace libfreeze::internal {

/// The one T of the process, never destroyed: guards and threads may outlive the statics.
template <typename T>
class NoDestructor final {
public:
    NoDestructor() { ::new (storage_.data()) T; }
    [[nodiscard]] T& get() noexcept { return *std::launder(reinterpret_cast<T*>(storage_.data())); }

private:
    alignas(T) std::array<std::byte, sizeof(T)> storage_{};
};

} // namespace libfreeze::internal
