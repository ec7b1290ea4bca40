// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace freezectl {

class Signals;

/// How a program has ended: by itself, or by a signal (then not 0).
struct Ending {
    int status = 0;
    int signal = 0;
};

/// What `run` runs, in a process group of its own. It has the terminal if freezectl had it.
class Program final {
public:
    /// Starts it. Throws std::system_error if it cannot be executed.
    Program(const std::vector<std::string>& words, const Signals& signals);
    /// Takes the terminal back.
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    Program(Program&&) = delete;
    Program& operator=(Program&&) = delete;

    [[nodiscard]] bool has_terminal() const noexcept { return has_terminal_; }
    /// How it has ended, if it has. Continues it if somebody stopped it from the keyboard: stopped,
    /// it would keep the filesystem frozen.
    std::optional<Ending> ending();
    /// To its whole group, which is continued, so that it is heeded.
    void send(int signal) const;
    /// Gives it some time to end, then kills what is left of its group.
    void finish(std::chrono::milliseconds grace);

private:
    bool ends_within(std::chrono::milliseconds time);

    pid_t pid_ = -1;
    bool has_terminal_ = false;
};

} // namespace freezectl
