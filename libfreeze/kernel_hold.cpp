// SPDX-License-Identifier: LGPL-2.1-or-later
#include "kernel_hold.hpp"

#include "guardian_hold.hpp"
#include "hold_mark.hpp"

#include <libfreeze/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <utility>

namespace libfreeze::internal {

namespace {

using std::chrono::milliseconds;

Outcome outcome_of(int result) {
    if (result >= 0) {
        return {};
    }
    return {errno,
            errno == ESTALE ? "its deadline has passed, or another program has thawed it" : ""};
}

/// Until a time, at least 1: for the kernel, 0 means no limit.
milliseconds time_left(Clock::time_point until) {
    const auto left = std::chrono::ceil<milliseconds>(until - syscalls().now());
    return std::max(left, milliseconds(1));
}

bool is_readable(int fd) {
    pollfd entry{fd, POLLIN, 0};
    return fd >= 0 && syscalls().poll(&entry, 1, 0) == 1;
}

/// No value: no limit. The kernel knows nothing of a descriptor that cancels, so it freezes for a
/// limited time, and then again for twice as long, until it succeeds.
class Attempts final {
public:
    explicit Attempts(const Limits& limits) : limits_(limits) {}

    [[nodiscard]] bool is_abandoned() const { return limits_.abandoned && *limits_.abandoned; }
    [[nodiscard]] std::uint64_t time() const {
        milliseconds time = limits_.cancel_fd >= 0 ? slice_ : milliseconds(0);
        if (limits_.until) {
            const milliseconds left = time_left(*limits_.until);
            time = limits_.cancel_fd >= 0 ? std::min(time, left) : left;
        }
        return static_cast<std::uint64_t>(time.count());
    }
    /// After an attempt that took too long. 0: try again.
    int give_up() {
        constexpr milliseconds longest = std::chrono::hours(1), pause{10};
        slice_ = std::min(2 * slice_, longest);
        if (is_readable(limits_.cancel_fd)) {
            return ECANCELED;
        }
        if (limits_.cancel_fd < 0 || (limits_.until && syscalls().now() >= *limits_.until)) {
            return ETIMEDOUT;
        }
        syscalls().sleep(pause); // the filesystem itself may fail like this, at once
        return is_abandoned() ? ECANCELED : 0;
    }

private:
    const Limits& limits_;
    milliseconds slice_{100};
};

Outcome freeze(int filesystem, const HoldRequest& request, FileDescriptor* fd) {
    Attempts attempts(request.limits);
    if (attempts.is_abandoned() || is_readable(request.limits.cancel_fd)) {
        return {ECANCELED};
    }
    for (;;) {
        fsfreeze_args arguments{};
        arguments.timeout_ms = static_cast<std::uint64_t>(request.timeout.count());
        arguments.acquire_timeout_ms = attempts.time();
        request.comment.copy(arguments.comment, sizeof(arguments.comment) - 1);
        *fd = FileDescriptor(retry_ioctl(filesystem, FIFREEZE_FD, &arguments));
        if (*fd) {
            return {};
        }
        if (errno != ETIMEDOUT) {
            return {errno};
        }
        if (const int error = attempts.give_up()) {
            return {error};
        }
    }
}

Outcome set_deadline(int fd, milliseconds timeout) {
    auto argument = static_cast<__u64>(timeout.count());
    return outcome_of(retry_ioctl(fd, FSFREEZE_EXTEND, &argument));
}

/// A copy of another program's freeze descriptor.
class ForeignHold final : public Hold {
public:
    explicit ForeignHold(FileDescriptor fd) : fd_(std::move(fd)) {}

    [[nodiscard]] int descriptor() const noexcept override { return fd_.get(); }
    Outcome extend(milliseconds timeout) override { return set_deadline(fd_.get(), timeout); }
    /// By its deadline, because the holder's descriptor must report it. FSFREEZE_THAW would look as
    /// if the holder had thawed.
    Outcome thaw() override {
        const Outcome outcome = extend(milliseconds(1));
        return outcome.error != 0 ? outcome : wait_for_end();
    }
    Outcome keep() override { return {EINVAL}; }

private:
    /// The descriptor reports no end that its holder has caused meanwhile.
    Outcome wait_for_end() {
        constexpr int attempts = 600;
        constexpr milliseconds pause{100};
        int error = ETIMEDOUT;
        for (int attempt = 0; attempt < attempts && error == ETIMEDOUT; ++attempt) {
            error = wait_for(fd_.get(), POLLIN, {syscalls().now() + pause, -1});
            if (!time_left_of(fd_.get())) {
                return {};
            }
        }
        return {error};
    }

    FileDescriptor fd_;
};

} // namespace

std::unique_ptr<Hold> KernelHold::take(FileDescriptor* filesystem, dev_t device,
                                       const HoldRequest& request, Outcome* outcome) {
    FileDescriptor fd;
    *outcome = freeze(filesystem->get(), request, &fd);
    if (outcome->error == ENOTTY) {
        return nullptr;
    }
    FileDescriptor owned = std::move(*filesystem);
    if (outcome->error != 0) {
        return nullptr;
    }
    FileDescriptor mark = make_mark(request.id, device, fd.get());
    WatchedDescriptor watched;
    if (mark) {
        watched = WatchedDescriptor(std::move(fd));
    }
    if (!watched) {
        *outcome = {errno};
        return nullptr;
    }
    return std::make_unique<KernelHold>(std::move(watched), std::move(mark), std::move(owned),
                                        device, request);
}

std::vector<ReferredHold> KernelHold::refer_to(std::uint64_t id) {
    std::vector<ReferredHold> found;
    std::set<dev_t> seen;
    for (const HoldMark& mark : find_marks(id)) {
        if (seen.count(mark.device) != 0) { // a forked child of the holder shows the same hold
            continue;
        }
        FileDescriptor fd = copy_descriptor(mark);
        if (fd) {
            seen.insert(mark.device);
            found.push_back({mark.device, std::make_unique<ForeignHold>(std::move(fd))});
        } else if (errno != ESRCH) {
            found.push_back({mark.device,
                             nullptr,
                             {errno, "the descriptor of the process that has frozen it cannot be "
                                     "copied"}});
        }
    }
    return found;
}

KernelHold::KernelHold(WatchedDescriptor fd, FileDescriptor mark, FileDescriptor filesystem,
                       dev_t device, HoldRequest request)
    : fd_(std::move(fd)),
      mark_(std::move(mark)),
      filesystem_(std::move(filesystem)),
      device_(device),
      request_(std::move(request)) {
    set_timeout(request_.timeout);
}

/// A close ends the hold, unless a forked child has a copy of the descriptor. FSFREEZE_THAW could
/// block. A forked child closes its own copies, and nothing else.
KernelHold::~KernelHold() {
    if (!fd_.is_open()) {
        // The program has closed all that it has open.
        static_cast<void>(filesystem_.release());
        static_cast<void>(mark_.release());
    } else if (held_ && !fork_mark_.is_in_child()) {
        set_deadline(fd_.get(), milliseconds(1));
    }
}

void KernelHold::set_timeout(milliseconds timeout) {
    deadline_ = timeout == timeout.zero() ? std::nullopt : Deadline(syscalls().now() + timeout);
}

Outcome KernelHold::ask(unsigned long request, void* argument) {
    if (!fd_.is_open()) {
        return {ESTALE, "this program has closed its descriptor"};
    }
    return outcome_of(retry_ioctl(fd_.get(), request, argument));
}

Outcome KernelHold::thaw() {
    Outcome outcome = ask(FSFREEZE_THAW, nullptr);
    if (outcome.error == 0 || outcome.error == ESTALE) {
        held_ = false;
        if (fd_.is_open()) {
            filesystem_ = FileDescriptor(); // the program may unmount now
        }
    }
    return outcome;
}

Outcome KernelHold::extend(milliseconds timeout) {
    auto argument = static_cast<__u64>(timeout.count());
    Outcome outcome = ask(FSFREEZE_EXTEND, &argument);
    if (outcome.error == 0) {
        set_timeout(timeout);
    }
    return outcome;
}

/// 0: no deadline. As the kernel has it, because another program may have extended the hold.
milliseconds KernelHold::remaining_timeout() const {
    if (const std::optional<std::int64_t> left = time_left_of(fd_.get())) {
        return milliseconds(*left < 0 ? 0 : std::max<std::int64_t>(*left, 1));
    }
    return deadline_ ? time_left(*deadline_) : milliseconds(0);
}

/// The guardian's hold begins before the kernel's ends, so the filesystem is frozen without a
/// break, and the thaw tells whether it was until then.
Outcome KernelHold::keep() {
    if (!fd_.is_open() || is_readable(fd_.get())) { // it has ended
        return thaw();
    }
    HoldRequest request = request_;
    request.timeout = remaining_timeout();
    request.limits = at_once();
    Outcome outcome;
    const std::unique_ptr<GuardianHold> kept =
        GuardianHold::take_kept(&filesystem_, device_, request, &outcome);
    if (kept) {
        outcome = thaw();
        if (outcome.error != 0) {
            kept->thaw();
        }
    }
    return outcome;
}

} // namespace libfreeze::internal
