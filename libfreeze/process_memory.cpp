// SPDX-License-Identifier: LGPL-2.1-or-later
#include "process_memory.hpp"

#include "error.hpp"
#include "no_destructor.hpp"
#include "syscalls.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <utility>

#include <sys/mman.h>

namespace libfreeze::internal {

namespace {

struct Locks {
    std::mutex mutex;
    unsigned int count = 0;
    bool was_locked = false; ///< by the program, before
};

Locks& locks() {
    static NoDestructor<Locks> object;
    return object.get();
}

/// proc_pid_status(5): the memory that is locked, in kB.
bool has_locked_memory() {
    const std::string name = "VmLck:";
    std::string text;
    if (syscalls().read_file("/proc/self/status", &text) != 0) {
        return true; // so that nothing of the program's is undone
    }
    const auto at = text.find(name);
    return at == std::string::npos ||
           std::strtol(text.c_str() + at + name.size(), nullptr, 10) != 0;
}

using Counter = std::atomic<unsigned long>;

Counter* make_counter() {
    static Counter fallback{1};
    void* const page = syscalls().map_wiped_on_fork(sizeof(Counter));
    return page == nullptr ? &fallback : ::new (page) Counter(1);
}

} // namespace

/// The counter is zero in a child, and the child's next generation is one that no ancestor has had.
unsigned long ForkMark::current() {
    static Counter* const counter = make_counter();
    static Counter last{1};
    unsigned long generation = counter->load();
    if (generation == 0) {
        const unsigned long next = ++last;
        generation = counter->compare_exchange_strong(generation, next) ? next : counter->load();
    }
    return generation;
}

MemoryLock MemoryLock::lock() {
    const std::lock_guard guard(locks().mutex);
    if (locks().count == 0) {
        locks().was_locked = has_locked_memory();
        if (syscalls().mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
            throw Error(errno, "libfreeze: the program's memory cannot be locked: raise "
                               "RLIMIT_MEMLOCK, or do not set lock_memory");
        }
    }
    ++locks().count;
    MemoryLock result;
    result.is_locked_ = true;
    return result;
}

MemoryLock::MemoryLock(MemoryLock&& other) noexcept
    : is_locked_(std::exchange(other.is_locked_, false)) {}

MemoryLock& MemoryLock::operator=(MemoryLock&& other) noexcept {
    std::swap(is_locked_, other.is_locked_);
    return *this;
}

MemoryLock::~MemoryLock() {
    if (!is_locked_) {
        return;
    }
    const std::lock_guard guard(locks().mutex);
    if (--locks().count == 0 && !locks().was_locked) {
        syscalls().munlockall();
    }
}

} // namespace libfreeze::internal
