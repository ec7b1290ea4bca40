// SPDX-License-Identifier: LGPL-2.1-or-later
#include "acquisition.hpp"

#include "parallel.hpp"

#include <cerrno>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

namespace libfreeze::internal {

namespace {

/// The work itself looks at its limits, and gives up in order where it can. After this time it is
/// left alone.
constexpr std::chrono::milliseconds grace{150};
constexpr std::chrono::milliseconds pause{10};

/// What the two threads share. The worker may be the last that uses it.
class Shared final {
public:
    Shared() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (!event_) {
            throw Error(errno, "libfreeze: cannot create an event descriptor");
        }
    }

    void report(const libfreeze_progress& progress) {
        const std::lock_guard lock(mutex_);
        progress_ = progress;
        is_new_ = true;
        wake();
    }

    void run(const std::function<void(const ProgressFunction&)>& work) noexcept {
        std::exception_ptr problem;
        try {
            work([this](const libfreeze_progress& progress) { report(progress); });
        } catch (...) {
            problem = std::current_exception();
        }
        const std::lock_guard lock(mutex_);
        problem_ = problem;
        is_done_ = true;
        wake();
    }

    /// Calls `progress` if there is news. True when the work is done.
    bool look(const ProgressFunction& progress) {
        libfreeze_progress news{};
        bool is_new = false;
        bool is_done = false;
        {
            const std::lock_guard lock(mutex_);
            std::uint64_t count = 0;
            (void)!::read(event_.get(), &count, sizeof(count));
            news = progress_;
            is_new = std::exchange(is_new_, false);
            is_done = is_done_;
        }
        if (is_new && progress) {
            progress(news);
        }
        return is_done;
    }

    void rethrow() const {
        if (problem_) {
            std::rethrow_exception(problem_);
        }
    }

    [[nodiscard]] int event() const noexcept { return event_.get(); }

private:
    void wake() noexcept {
        const std::uint64_t one = 1;
        (void)!::write(event_.get(), &one, sizeof(one));
    }

    std::mutex mutex_;
    FileDescriptor event_;
    libfreeze_progress progress_{};
    bool is_new_ = false;
    bool is_done_ = false;
    std::exception_ptr problem_;
};

/// 0 when the work is done; otherwise ETIMEDOUT or ECANCELED. If it cannot be waited for, it is
/// looked at now and then.
int wait(Shared& shared, const Limits& limits, const ProgressFunction& progress) {
    while (!shared.look(progress)) {
        const int error = wait_for(shared.event(), POLLIN, limits);
        const bool is_late = limits.until && syscalls().now() >= *limits.until;
        if (error == ECANCELED || is_late) {
            return shared.look(progress) ? 0 : error == ECANCELED ? ECANCELED : ETIMEDOUT;
        }
        if (error != 0) {
            syscalls().sleep(pause);
        }
    }
    return 0;
}

} // namespace

void run_bounded(const Limits& limits, Operation operation, const std::string& path,
                 const ProgressFunction& progress,
                 std::function<void(const ProgressFunction&)> work) {
    if (!limits.until && limits.cancel_fd < 0) {
        work(progress ? progress : [](const libfreeze_progress&) {});
        return;
    }
    const auto shared = std::make_shared<Shared>();
    std::thread thread;
    try {
        thread = start_thread([shared, work = std::move(work)]() mutable {
            shared->run(work);
            work = nullptr; // what it owns goes away now
        });
    } catch (const std::system_error& problem) {
        throw failure(operation, Filesystem{path}, problem.code().value(),
                      "no thread can be started");
    }
    const int error = wait(*shared, limits, progress);
    if (error != 0 && limits.abandoned) {
        *limits.abandoned = true;
    }
    if (error != 0 && wait(*shared, {syscalls().now() + grace, -1}, progress) != 0) {
        thread.detach();
        throw failure(operation, Filesystem{path}, error);
    }
    thread.join();
    shared->rethrow();
}

} // namespace libfreeze::internal
