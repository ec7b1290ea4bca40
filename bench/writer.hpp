// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "support/clock.hpp"

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

namespace bench {

using testing::Clock;
using testing::Span;

/// Stands for a program with a log: a thread that appends 4 KiB to a file every millisecond and
/// records when each write began and ended. Its priority is real-time, so that it waits for the
/// filesystem and not for a processor.
class Writer final {
public:
    explicit Writer(const std::filesystem::path& directory);
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    Writer(Writer&&) = delete;
    Writer& operator=(Writer&&) = delete;

    /// Waits for the last write and returns all of them. Throws if a write failed.
    const std::vector<Span>& stop();

private:
    void write();

    int fd_;
    int error_ = 0;
    std::vector<Span> spans_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

} // namespace bench
