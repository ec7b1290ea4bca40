// SPDX-License-Identifier: LGPL-2.1-or-later
/// Processes that do something to the filesystem under test. Whoever may block on a frozen
/// filesystem is one: it can be given up, which the test itself cannot.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace testing {

/// The filesystem under test, from the environment that tests/host/suite makes.
struct Subject {
    std::filesystem::path mountpoint;
    std::string type;
    std::filesystem::path device;
    std::filesystem::path
        spare_device; ///< a block device with the same kind of filesystem that is not mounted
};
const Subject& subject();

/// A child process that runs a function, whose result is its exit status. Killed and not waited for
/// at the end.
class Actor final {
public:
    explicit Actor(const std::function<int()>& act);
    ~Actor();
    Actor(const Actor&) = delete;
    Actor& operator=(const Actor&) = delete;
    Actor(Actor&&) = delete;
    Actor& operator=(Actor&&) = delete;

    /// Whether it ends within that time; its exit status is then in `status`, 128 + signal if one
    /// ended it.
    bool ends_within(std::chrono::milliseconds time);
    void kill() const;
    [[nodiscard]] pid_t pid() const { return pid_; }
    int status = -1;

private:
    pid_t pid_ = -1;
    bool ended_ = false;
};

/// Writes to the filesystem under test, or to another, once.
class Writer final {
public:
    explicit Writer(const std::filesystem::path& directory = subject().mountpoint);
    /// Waits this long for the write to get through.
    bool is_blocked(std::chrono::milliseconds time = std::chrono::milliseconds(300));
    bool gets_through_within(std::chrono::milliseconds time);

private:
    Actor actor_;
};

/// Runs a command, by its path in $PATH; its exit status, or 255 if it does not end in ten seconds.
int run(const std::vector<std::string>& command);

/// What a child wrote to standard error while it ran `act`.
std::string stderr_of(const std::function<void()>& act);

} // namespace testing
