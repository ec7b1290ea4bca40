// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "support/child.hpp"
#include "support/clock.hpp"

#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include <sys/types.h>

namespace demo {

using testing::Clock;
using testing::Span;

/// A child process that executes requests which may block forever, so that its parent never does.
class Worker {
public:
    struct Reply {
        int error; ///< 0 or an errno
        Clock::time_point at;
    };

    /// `work` runs in the child: it executes a request and returns 0 or an errno.
    explicit Worker(const std::function<int(const std::string&)>& work);
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    Worker(Worker&&) = delete;
    Worker& operator=(Worker&&) = delete;
    ~Worker();

    /// Nothing if the worker is still blocked after `block_timeout`, or was blocked before.
    std::optional<Reply> request(const std::string& request,
                                 std::chrono::milliseconds block_timeout);
    /// The reply to a request that blocked, if it arrives within `block_timeout`.
    std::optional<Reply> late_reply(std::chrono::milliseconds block_timeout);

    [[nodiscard]] bool blocked() const { return blocked_; }
    void kill() const { child_.kill(); }

private:
    std::array<int, 2> sockets_; ///< the parent's and the child's
    testing::Child child_;
    bool blocked_ = false;
};

} // namespace demo
