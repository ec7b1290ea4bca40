// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ending.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace freezectl {

class Signals;

/// COMMAND of `run`, in its own process group. It has the terminal if freezectl had it. The whole
/// group is killed if freezectl dies.
class CommandProcess final {
public:
    /// Starts it. `variables` ("NAME=value") are added to the environment. Throws std::system_error
    /// if no process can be started.
    CommandProcess(const std::vector<std::string>& words, const std::vector<std::string>& variables,
                   const Signals& signals);
    /// Takes the terminal back.
    ~CommandProcess();
    CommandProcess(const CommandProcess&) = delete;
    CommandProcess& operator=(const CommandProcess&) = delete;
    CommandProcess(CommandProcess&&) = delete;
    CommandProcess& operator=(CommandProcess&&) = delete;

    [[nodiscard]] bool has_terminal() const noexcept { return has_terminal_; }
    /// How it ended, if it has ended. A command that was stopped is continued: while it is stopped,
    /// the filesystem stays frozen.
    std::optional<Ending> ending();
    /// The signal (TTIN, TTOU) that stopped it because it uses a terminal that it does not have.
    /// Such a command would stop again.
    [[nodiscard]] std::optional<int> terminal_stop() const noexcept { return terminal_stop_; }
    /// Why it could not be executed: an errno; 0 if it was.
    [[nodiscard]] int exec_error() const noexcept;
    /// Sends a signal to its group, and continues the group so that it has an effect.
    void send(int signal) const;
    /// Gives it some time to end, then kills what is left of its group.
    void finish(std::chrono::milliseconds grace);

private:
    bool ends_within(std::chrono::milliseconds time);
    void take_terminal_back() const;

    pid_t pid_ = -1;
    pid_t killer_ = -1;       ///< kills the group if freezectl dies
    int killer_channel_ = -1; ///< the killer waits for its end
    int error_channel_ = -1;  ///< has the errno if COMMAND cannot be executed
    bool has_terminal_ = false;
    std::optional<int> terminal_stop_;
};

} // namespace freezectl
