// SPDX-License-Identifier: LGPL-2.1-or-later
#include "parallel.hpp"

#include <utility>
#include <vector>

#include <csignal>

namespace libfreeze::internal {

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

} // namespace

std::thread start_thread(std::function<void()> work) {
    const SignalsBlocked blocked;
    return std::thread(std::move(work));
}

void in_thread(const std::function<void()>& work) noexcept {
    std::thread thread;
    try {
        thread = start_thread(work);
    } catch (...) {
        work();
        return;
    }
    thread.join();
}

void in_parallel(std::size_t count, const std::function<void(std::size_t)>& work) noexcept {
    std::vector<std::thread> threads;
    for (std::size_t number = 0; number + 1 < count; ++number) {
        try {
            threads.push_back(start_thread([&work, number] { work(number); }));
        } catch (...) {
            work(number);
        }
    }
    if (count != 0) {
        work(count - 1);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

} // namespace libfreeze::internal
