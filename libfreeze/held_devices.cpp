// SPDX-License-Identifier: LGPL-2.1-or-later
#include "held_devices.hpp"

#include "no_destructor.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

namespace libfreeze::internal {

namespace {

struct Registry {
    std::mutex mutex;
    std::vector<dev_t> devices; ///< once per guard
};

Registry& registry() {
    static NoDestructor<Registry> object;
    return object.get();
}

} // namespace

HeldDevices::HeldDevices(std::vector<dev_t> devices) : devices_(std::move(devices)) {
    const std::lock_guard lock(registry().mutex);
    auto& all = registry().devices;
    all.insert(all.end(), devices_.begin(), devices_.end());
}

HeldDevices::HeldDevices(HeldDevices&& other) noexcept
    : devices_(std::exchange(other.devices_, {})) {}

HeldDevices& HeldDevices::operator=(HeldDevices&& other) noexcept {
    std::swap(devices_, other.devices_);
    return *this;
}

HeldDevices::~HeldDevices() {
    const std::lock_guard lock(registry().mutex);
    auto& all = registry().devices;
    for (const dev_t device : devices_) {
        const auto found = std::find(all.begin(), all.end(), device);
        if (found != all.end()) {
            all.erase(found);
        }
    }
}

bool HeldDevices::has(dev_t device) {
    const std::lock_guard lock(registry().mutex);
    const auto& all = registry().devices;
    return std::find(all.begin(), all.end(), device) != all.end();
}

} // namespace libfreeze::internal
