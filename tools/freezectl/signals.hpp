// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <csignal>
#include <optional>

namespace freezectl {

/// Blocks signals while something may be frozen. INT, TERM, HUP and QUIT end the program after the
/// thaw; TSTP, TTIN, TTOU and PIPE would stop or end it with the freeze in place. A signal that was
/// ignored when the program started (nohup) stays ignored. Threads that are started afterwards
/// inherit this. It is never undone.
class Signals final {
public:
    Signals();
    ~Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
    Signals(Signals&&) = delete;
    Signals& operator=(Signals&&) = delete;

    /// Readable if take() returns a signal, or if a child has changed its state.
    [[nodiscard]] int fd() const noexcept { return fd_; }
    /// Readable if take() returns a signal.
    [[nodiscard]] int cancel_fd() const noexcept { return cancel_fd_; }
    /// The next signal that shall end the program. Does not wait.
    std::optional<int> take();
    /// Whether the signal was not ignored when the program started.
    [[nodiscard]] bool is_heeded(int number) const noexcept;
    /// The signals that were blocked before. For the programs that are run.
    [[nodiscard]] const sigset_t& original_mask() const noexcept { return original_; }

private:
    int fd_ = -1;
    int cancel_fd_ = -1;
    sigset_t original_{};
    sigset_t heeded_{};
};

/// Ends the program as the signal does.
[[noreturn]] void die_of(int number);

/// Thrown where a signal ends the program. Nothing that it has frozen is frozen any more.
struct Interrupted {
    int number = 0;
};

} // namespace freezectl
