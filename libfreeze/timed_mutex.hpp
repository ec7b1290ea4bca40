// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace libfreeze {

/// A mutex that can be waited for within bounds. As std::timed_mutex, but ThreadSanitizer
/// understands it: not all releases know how that one waits by the steady clock.
class TimedMutex final {
public:
    void lock() {
        std::unique_lock lock(mutex_);
        freed_.wait(lock, [this] { return !taken_; });
        taken_ = true;
    }

    bool try_lock_for(std::chrono::nanoseconds time) {
        std::unique_lock lock(mutex_);
        const bool got = freed_.wait_for(lock, time, [this] { return !taken_; });
        taken_ = true;
        return got;
    }

    void unlock() {
        {
            const std::lock_guard lock(mutex_);
            taken_ = false;
        }
        freed_.notify_one();
    }

private:
    std::mutex mutex_;
    std::condition_variable freed_;
    bool taken_ = false;
};

} // namespace libfreeze
