// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/options.hpp>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace freezectl {

class Console;

/// Shows on a terminal what a freeze is doing and for how long. Removes the line at its end.
class ProgressLine final {
public:
    explicit ProgressLine(Console& console);
    ~ProgressLine();
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    ProgressLine(ProgressLine&&) = delete;
    ProgressLine& operator=(ProgressLine&&) = delete;

    void update(const libfreeze::Progress& progress);

private:
    using Clock = std::chrono::steady_clock;

    void refresh();

    Console& console_;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool is_ended_ = false;
    libfreeze::Progress progress_;
    Clock::time_point since_ = Clock::now();
    std::thread thread_; ///< the library does not report anything while it waits
};

} // namespace freezectl
