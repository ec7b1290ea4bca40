// SPDX-License-Identifier: LGPL-2.1-or-later
#include "command_supervisor.hpp"

#include "command_process.hpp"
#include "console.hpp"
#include "duration.hpp"
#include "signals.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

namespace freezectl {

using Reason = SupervisionEnd::Reason;

SupervisionEnd CommandSupervisor::supervise() {
    for (;;) {
        if (const std::optional<SupervisionEnd> end = look()) {
            return *end;
        }
        show();
        sleep();
    }
}

std::optional<SupervisionEnd> CommandSupervisor::look() {
    if (const std::optional<int> signal = signals_.take()) {
        return SupervisionEnd{Reason::signal, {}, *signal};
    }
    if (has_hung_up_) {
        return SupervisionEnd{Reason::signal, {}, SIGHUP};
    }
    if (const std::optional<Ending> ending = command_.ending()) {
        return SupervisionEnd{Reason::command_ended, *ending, 0};
    }
    if (const std::optional<int> signal = command_.terminal_stop()) {
        return SupervisionEnd{Reason::needs_terminal, {}, *signal};
    }
    if (has_freeze_ended_) {
        return SupervisionEnd{Reason::freeze_ended, {}, 0};
    }
    return std::nullopt;
}

void CommandSupervisor::show() const {
    constexpr std::chrono::seconds quick{1}; // most commands end earlier, and print themselves
    const auto passed = Clock::now() - since_;
    if (passed < quick) {
        return;
    }
    const auto left = timeout_ - passed; // not known any more if the deadline was moved
    const bool shows_left = timeout_ != timeout_.zero() && left > left.zero();
    console_.show(fmt::format("frozen for {}", duration_text(passed)) +
                  (shows_left ? fmt::format(", {} left", duration_text(left)) : ""));
}

/// Until there is something to look at.
void CommandSupervisor::sleep() {
    constexpr int second = 1000;
    const bool watches_terminal = command_.has_terminal() && signals_.is_heeded(SIGHUP);
    std::array<pollfd, 3> entries{{{signals_.fd(), POLLIN, 0},
                                   {guard_.descriptor(), POLLIN, 0},
                                   {watches_terminal ? STDIN_FILENO : -1, 0, 0}}};
    if (::poll(entries.data(), entries.size(), console_.is_live() ? second : -1) < 0 &&
        errno != EINTR) {
        throw std::system_error(errno, std::system_category(), "cannot wait for the command");
    }
    has_freeze_ended_ = entries[1].revents != 0;
    has_hung_up_ = (entries[2].revents & POLLHUP) != 0;
}

} // namespace freezectl
