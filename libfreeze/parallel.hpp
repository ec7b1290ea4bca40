// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <functional>
#include <system_error>
#include <thread>

namespace libfreeze::internal {

/// A thread that handles no signals: the program's handlers expect its own threads. Throws
/// std::system_error if there is no memory for one, or there are too many.
std::thread start_thread(std::function<void()> work);

/// Calls `work` in a new thread and returns when it has; in this thread if there can be no other.
/// `work` must not throw.
void in_thread(const std::function<void()>& work) noexcept;

/// Calls `work` with each number below `count`, at the same time, and returns when all calls have.
/// `work` must not throw. Where there can be no threads, the caller's does their work too.
void in_parallel(std::size_t count, const std::function<void(std::size_t)>& work) noexcept;

} // namespace libfreeze::internal
