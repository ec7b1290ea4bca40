// SPDX-License-Identifier: LGPL-2.1-or-later
#include "progress_line.hpp"

#include "console.hpp"
#include "duration.hpp"

#include <fmt/format.h>

namespace freezectl {

namespace {

using Phase = libfreeze::Progress::Phase;

const char* name(Phase phase) {
    switch (phase) {
    case Phase::flushing:
        return "flushing";
    case Phase::freezing:
        return "freezing";
    case Phase::frozen:
        return "frozen";
    case Phase::preparing:
        break;
    }
    return "preparing";
}

std::string count_text(const libfreeze::Progress& progress) {
    const bool counts = progress.phase == Phase::freezing && progress.filesystems > 1;
    return counts ? fmt::format(", {} of {}", progress.frozen, progress.filesystems) : "";
}

} // namespace

ProgressLine::ProgressLine(Console& console) : console_(console) {
    if (console.is_live()) {
        thread_ = std::thread([this] { refresh(); });
    }
}

ProgressLine::~ProgressLine() {
    {
        const std::lock_guard lock(mutex_);
        is_ended_ = true;
    }
    ended_.notify_one();
    if (thread_.joinable()) {
        thread_.join();
    }
    console_.show("");
}

void ProgressLine::update(const libfreeze::Progress& progress) {
    bool is_new = false;
    {
        const std::lock_guard lock(mutex_);
        is_new = progress.phase != progress_.phase;
        progress_ = progress;
        if (is_new) {
            since_ = Clock::now();
        }
    }
    if (is_new) {
        console_.tell(name(progress.phase));
    }
}

void ProgressLine::refresh() {
    constexpr std::chrono::milliseconds period{100};
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, period, [this] { return is_ended_; })) {
        console_.show(fmt::format("{}{}, {}", name(progress_.phase), count_text(progress_),
                                  duration_text(Clock::now() - since_)));
    }
}

} // namespace freezectl
