// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace libfreeze::internal {

/// Tells whether this is still the process that made it, or a forked child. Process ids do not:
/// two PID namespaces can have the same.
class ForkMark final {
public:
    ForkMark() : generation_(current()) {}
    [[nodiscard]] bool is_in_child() const { return current() != generation_; }

private:
    static unsigned long current();

    unsigned long generation_;
};

/// Keeps the memory of the process locked while any of these is locked. Memory that the program has
/// locked itself stays so.
class MemoryLock final {
public:
    MemoryLock() = default;
    /// Throws Error.
    static MemoryLock lock();
    MemoryLock(MemoryLock&& other) noexcept;
    MemoryLock& operator=(MemoryLock&& other) noexcept;
    MemoryLock(const MemoryLock&) = delete;
    MemoryLock& operator=(const MemoryLock&) = delete;
    ~MemoryLock();

private:
    bool is_locked_ = false;
};

} // namespace libfreeze::internal
