// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vector>

#include <sys/types.h>

namespace libfreeze::internal {

/// The superblocks that guards of this process hold. Thread-safe.
class HeldDevices final {
public:
    HeldDevices() = default;
    explicit HeldDevices(std::vector<dev_t> devices);
    HeldDevices(HeldDevices&& other) noexcept;
    HeldDevices& operator=(HeldDevices&& other) noexcept;
    HeldDevices(const HeldDevices&) = delete;
    HeldDevices& operator=(const HeldDevices&) = delete;
    ~HeldDevices();

    static bool has(dev_t device);

private:
    std::vector<dev_t> devices_;
};

} // namespace libfreeze::internal
