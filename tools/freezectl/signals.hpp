// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <csignal>
#include <optional>

namespace freezectl {

/// While something is frozen, signals wait until they are asked for: INT, TERM, HUP and QUIT since
/// the thaw comes first, TSTP, TTOU and PIPE since the program would stop or die with the freeze in
/// place. What was ignored when the program started (nohup) stays ignored. All threads that are
/// started afterwards inherit this; it is never undone.
class Signals final {
public:
    Signals();
    ~Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
    Signals(Signals&&) = delete;
    Signals& operator=(Signals&&) = delete;

    /// Readable when there is something to take(), or a child has changed its state.
    [[nodiscard]] int fd() const noexcept { return fd_; }
    /// The next signal that is to end the program. Does not wait.
    std::optional<int> take();
    /// Whether it was not ignored when the program started.
    [[nodiscard]] bool heeds(int number) const noexcept;
    /// What was blocked before: for the programs that are run.
    [[nodiscard]] const sigset_t& original_mask() const noexcept { return original_; }

private:
    int fd_ = -1;
    sigset_t original_{};
    sigset_t heeded_{};
};

/// Ends the program as the signal does.
[[noreturn]] void die_of(int number);

/// Thrown where a signal ends what is done; nothing is frozen any more.
struct Interrupted {
    int number = 0;
};

} // namespace freezectl
