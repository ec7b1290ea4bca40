// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "clock.hpp"

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

namespace bench {

/// A program with a log, seen from outside: a thread that appends 4 KiB to a file every millisecond
/// and notes when each write began and ended. It has a real-time priority, so that what it waits
/// for is the filesystem and not a processor.
class Writer final {
public:
    explicit Writer(const std::filesystem::path& directory);
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    Writer(Writer&&) = delete;
    Writer& operator=(Writer&&) = delete;

    /// Waits for its last write and tells of all of them. Throws what made it fail.
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
