// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ending.hpp"

#include <libfreeze/freeze_guard.hpp>

#include <chrono>
#include <optional>

namespace freezectl {

class CommandProcess;
class Console;
class Signals;

/// Why supervise() returned.
struct SupervisionEnd {
    enum class Reason {
        command_ended,
        signal,         ///< freezectl shall end
        freeze_ended,   ///< by its deadline, or by another program
        needs_terminal, ///< COMMAND was stopped because it uses the terminal in the background
    };
    Reason reason = Reason::command_ended;
    Ending ending;  ///< of the command
    int signal = 0; ///< for freezectl, or the one that stopped COMMAND
};

/// Watches COMMAND, the freeze and the signals, and shows how long the freeze lasts.
class CommandSupervisor final {
public:
    CommandSupervisor(CommandProcess& command, Signals& signals,
                      const libfreeze::FreezeGuard& guard, Console& console,
                      std::chrono::milliseconds timeout)
        : command_(command),
          signals_(signals),
          guard_(guard),
          console_(console),
          timeout_(timeout) {}

    /// Returns as soon as the freeze shall end. Throws std::system_error if it cannot wait.
    SupervisionEnd supervise();

private:
    using Clock = std::chrono::steady_clock;

    std::optional<SupervisionEnd> look();
    void show() const;
    void sleep();

    CommandProcess& command_;
    Signals& signals_;
    const libfreeze::FreezeGuard& guard_;
    Console& console_;
    std::chrono::milliseconds timeout_;
    Clock::time_point since_ = Clock::now();
    bool has_freeze_ended_ = false;
    bool has_hung_up_ = false; ///< the terminal is closed
};

} // namespace freezectl
