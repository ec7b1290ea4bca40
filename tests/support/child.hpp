// SPDX-License-Identifier: LGPL-2.1-or-later
/// Child processes that may block. A task that is blocked on a frozen filesystem cannot be killed:
/// after its deadline it is given up, and never waited for.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace testing {

/// Runs a function in a child process; its result is the exit status.
class Child final {
public:
    explicit Child(const std::function<int()>& work);
    /// Kills the process, and waits for a moment: it may be unkillable, and is then left behind.
    ~Child();
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    Child(Child&&) = delete;
    Child& operator=(Child&&) = delete;

    /// Whether it ends in that time; `status` is then its exit status, or 128 + the signal that
    /// killed it.
    bool ends_within(std::chrono::milliseconds time);
    void kill() const;
    [[nodiscard]] pid_t pid() const { return pid_; }
    int status = -1;

private:
    pid_t pid_ = -1;
    bool ended_ = false;
};

/// Where the messages of a command go. Its output is never shown.
enum class Messages { hidden, shown };

/// Runs a command, found in $PATH. Returns its exit status, or -1 if it cannot be started, is
/// killed by a signal, or does not end in time.
int run(const std::vector<std::string>& command,
        std::chrono::milliseconds within = std::chrono::seconds(10),
        Messages messages = Messages::hidden);

} // namespace testing
