// SPDX-License-Identifier: LGPL-2.1-or-later
#include "parallel.hpp"

#include <thread>
#include <vector>

#include <csignal>

namespace libfreeze {

namespace {

/// Blocks all signals of the calling thread, and of those that it starts. The program's handlers
/// expect its own threads.
class SignalsBlocked final {
public:
    SignalsBlocked() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    SignalsBlocked(SignalsBlocked&&) = delete;
    SignalsBlocked& operator=(SignalsBlocked&&) = delete;

private:
    sigset_t before_{};
};

/// False if there is no memory for a thread, or there are too many.
bool start(std::vector<std::thread>& threads, const std::function<void(std::size_t)>& work,
           std::size_t number) noexcept {
    try {
        const SignalsBlocked blocked;
        threads.emplace_back(std::cref(work), number);
        return true;
    } catch (...) {
        return false;
    }
}

} // namespace

void in_parallel(std::size_t count, const std::function<void(std::size_t)>& work) noexcept {
    std::vector<std::thread> threads;
    for (std::size_t number = 0; number < count; ++number) {
        if (number + 1 == count || !start(threads, work, number)) {
            work(number);
        }
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

} // namespace libfreeze
