// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "clock.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace demo {

/// A process that does things which may block for ever, on request, so that its parent never does.
///
/// A task that is blocked on a frozen filesystem is in state D and cannot be killed: past its
/// deadline a party is left alone, and never waited for.
class Party {
public:
    struct Reply {
        int error;       ///< 0 or an errno
        std::int64_t at; ///< when it was done
    };

    /// `work` runs in the party's process: it does what the string says and returns 0 or an errno.
    explicit Party(const std::function<int(const std::string&)>& work);
    Party(const Party&) = delete;
    Party& operator=(const Party&) = delete;
    Party(Party&&) = delete;
    Party& operator=(Party&&) = delete;
    /// Kills the process, as far as it can be killed.
    ~Party();

    /// Nothing when the party is still blocked after `patience`, or was so before.
    std::optional<Reply> ask(const std::string& request, std::chrono::milliseconds patience);
    /// The reply to a request that blocked, should it have come by now or come within `patience`.
    std::optional<Reply> late_reply(std::chrono::milliseconds patience);

    [[nodiscard]] bool blocked() const { return blocked_; }
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    int socket_ = -1;
    pid_t pid_ = -1;
    bool blocked_ = false;
};

/// Runs a command, found in PATH, with its output left out; its exit status, or -1.
int run(const std::vector<std::string>& command);

} // namespace demo
