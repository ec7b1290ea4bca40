// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <functional>

namespace libfreeze {

/// Calls `work` with each number below `count`, at the same time, and returns when all calls have.
/// `work` must not throw. The threads handle no signals; where there can be none, the caller's does
/// their work too.
void in_parallel(std::size_t count, const std::function<void(std::size_t)>& work) noexcept;

} // namespace libfreeze
