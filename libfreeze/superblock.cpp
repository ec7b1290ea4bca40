// SPDX-License-Identifier: LGPL-2.1-or-later
#include "superblock.hpp"

#include "failure.hpp"
#include "freeze_ioctl.hpp"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <map>
#include <stdexcept>

namespace libfreeze {

namespace {

/// The superblocks that have guards.
struct Registry {
    Registry(pid_t owner, Registry* before) noexcept : process(owner), inherited(before) {}

    const pid_t process;
    Registry* const inherited; // kept reachable for leak checkers
    std::mutex mutex;
    std::map<dev_t, std::weak_ptr<Superblock>> superblocks;
};

/// A forked child starts with an empty one: the holds are its parent's, and so may be the locked
/// mutex.
Registry& registry() {
    static std::atomic<Registry*> current{nullptr};
    Registry* found = current.load();
    const pid_t self = the_system().getpid();
    while (found == nullptr || found->process != self) {
        auto fresh = std::make_unique<Registry>(self, found);
        if (current.compare_exchange_strong(found, fresh.get())) {
            return *fresh.release();
        }
    }
    return *found;
}

std::int64_t seconds_of(std::chrono::nanoseconds timeout) noexcept {
    return timeout == timeout.zero() ? 0 : kernel_seconds(timeout);
}

/// When a hold ends that gets this timeout now.
Deadline deadline_after(std::chrono::nanoseconds timeout) noexcept {
    if (timeout == timeout.zero()) {
        return std::nullopt;
    }
    return the_system().now() + std::chrono::seconds(kernel_seconds(timeout));
}

/// The latest deadline of all on a hold but one (null: of all); no value of the outer optional:
/// there are none.
std::optional<Deadline> latest(const Hold& hold, const Deadline* except) noexcept {
    std::optional<Deadline> result;
    for (const auto* list : {&hold.seats, &hold.released}) {
        for (const Deadline& deadline : *list) {
            if (&deadline != except) {
                const bool later = !result || (*result && (!deadline || *deadline > **result));
                result = later ? deadline : *result;
            }
        }
    }
    return result;
}

Deadline later_of(const std::optional<Deadline>& others, const Deadline& mine) noexcept {
    if (!others || !mine) {
        return mine;
    }
    return !*others || **others > *mine ? *others : mine;
}

bool has_passed(const Deadline& deadline) noexcept {
    return deadline && *deadline <= the_system().now();
}

Outcome freeze(int fd, Hold& hold, std::chrono::nanoseconds timeout) noexcept {
    const std::int64_t seconds = seconds_of(timeout);
    return hold.guardian ? hold.guardian->freeze(fd, seconds)
                         : Outcome{freeze_ioctl(fd, seconds), {}};
}

Outcome thaw(int fd, Hold& hold) noexcept {
    return hold.guardian ? hold.guardian->thaw(fd) : Outcome{thaw_ioctl(fd), {}};
}

/// Moves the hold's deadline to this one; EINVAL if it is no longer live.
Outcome reset(int fd, Hold& hold, const Deadline& deadline) noexcept {
    const std::int64_t seconds = deadline ? kernel_seconds(*deadline - the_system().now()) : 0;
    return hold.guardian ? hold.guardian->reset(fd, seconds)
                         : Outcome{reset_timeout_ioctl(fd, seconds), {}};
}

/// Asks a kernel without timeouts if the filesystem is frozen, without leaving it frozen.
Outcome check_by_freezing(int fd) noexcept {
    const std::error_code answer = freeze_ioctl(fd, 0);
    if (answer == errc::already_frozen) {
        return {};
    }
    if (answer) {
        return {answer, {}};
    }
    std::error_code leftover = thaw_ioctl(fd);
    if (leftover) { // once more: nobody else will
        leftover = thaw_ioctl(fd);
    }
    return {make_error_code(errc::expired), leftover};
}

/// Asks the kernel if the hold is live, and gives it a deadline.
Outcome check(int fd, Hold& hold, const Deadline& deadline) noexcept {
    const Outcome outcome = hold.no_timeouts ? check_by_freezing(fd) : reset(fd, hold, deadline);
    if (outcome.code == errc::expired) {
        hold.ended = outcome.code;
    }
    return outcome;
}

/// What forbids a call: a timeout that cannot be had, or a hold to be shared that cannot be asked
/// about.
std::error_code forbids(const Hold& hold, std::chrono::nanoseconds timeout, bool shared) noexcept {
    const bool unknown = hold.no_timeouts && hold.no_timeouts != errc::unsupported_by_kernel;
    return timeout != timeout.zero() || (shared && unknown) ? hold.no_timeouts : std::error_code();
}

/// For those who have released it, when nobody else is left: a guardian must not thaw.
Outcome leave_frozen(int fd, Hold& hold) noexcept {
    Outcome outcome = hold.guardian ? hold.guardian->release(fd) : Outcome{};
    if (outcome.code == errc::expired) {
        hold.ended = outcome.code;
    }
    return outcome;
}

void sit(const std::shared_ptr<Hold>& hold, std::list<Deadline>& mine, Seat* seat) noexcept {
    hold->seats.splice(hold->seats.end(), mine);
    seat->hold = hold;
    seat->deadline = std::prev(hold->seats.end());
}

} // namespace

std::shared_ptr<Superblock> Superblock::find(dev_t device) {
    Registry& known = registry();
    const std::lock_guard lock(known.mutex);
    for (auto it = known.superblocks.begin(); it != known.superblocks.end();) {
        it = it->second.expired() ? known.superblocks.erase(it) : std::next(it);
    }
    auto& entry = known.superblocks[device];
    auto superblock = entry.lock();
    if (!superblock) {
        superblock = std::make_shared<Superblock>();
        entry = superblock;
    }
    return superblock;
}

Outcome Superblock::join(int fd, std::chrono::nanoseconds timeout,
                         std::shared_ptr<Guardian> guardian, Seat* seat) {
    const auto lock = wait(guardian.get());
    if (!lock) {
        return {make_error_code(errc::acquire_timeout), {}};
    }
    auto fresh = std::make_shared<Hold>();
    std::list<Deadline> mine(1);
    if (current_) {
        if (const auto error = forbids(*current_, timeout, true)) {
            return {error, {}};
        }
    }
    if (current_ && !current_->no_timeouts) {
        mine.front() = deadline_after(timeout);
        const Outcome shared =
            check(fd, *current_, later_of(latest(*current_, nullptr), mine.front()));
        if (!shared.code) {
            sit(current_, mine, seat);
        }
        if (shared.code != errc::expired) {
            return shared;
        }
        forget_ended();
    }
    fresh->guardian = std::move(guardian);
    if (!fresh->guardian) {
        fresh->no_timeouts = current_ ? current_->no_timeouts : ask_for_timeouts(fd);
    }
    if (const auto error = forbids(*fresh, timeout, false)) {
        return {error, {}};
    }
    const Outcome frozen = freeze(fd, *fresh, timeout);
    if (frozen.code == errc::already_frozen && current_) {
        sit(current_, mine, seat);
        return {};
    }
    if (frozen.code) {
        return frozen;
    }
    if (current_) { // a kernel without timeouts: it was thawed, or it would have been EBUSY
        current_->ended = make_error_code(errc::expired);
    }
    mine.front() = deadline_after(timeout);
    current_ = fresh;
    sit(current_, mine, seat);
    return {};
}

Outcome Superblock::adopt(int fd, std::chrono::nanoseconds timeout, Seat* seat) {
    const std::lock_guard lock(mutex_);
    if (current_ && current_->released.empty()) {
        throw std::logic_error(
            "libfreeze: adopt() of a filesystem that a guard of this process holds: "
            "release() that one first");
    }
    auto hold = current_ ? current_ : std::make_shared<Hold>();
    std::list<Deadline> mine{deadline_after(timeout)};
    if (!current_) {
        hold->no_timeouts = ask_for_timeouts(fd);
    }
    if (const auto error = forbids(*hold, timeout, true)) {
        return {error, {}};
    }
    const Deadline* const taken = hold->released.empty() ? nullptr : &hold->released.front();
    const Outcome outcome = check(fd, *hold, later_of(latest(*hold, taken), mine.front()));
    if (outcome.code) {
        forget_ended();
        return outcome;
    }
    if (taken != nullptr) {
        hold->released.pop_front();
    }
    current_ = hold;
    sit(current_, mine, seat);
    return {};
}

Outcome Superblock::extend(int fd, std::chrono::nanoseconds timeout, Seat* seat) {
    const std::lock_guard lock(mutex_);
    Hold& hold = *seat->hold;
    if (hold.ended) {
        return {hold.ended, {}};
    }
    if (hold.no_timeouts) {
        return {hold.no_timeouts, {}};
    }
    const Deadline wanted = deadline_after(timeout);
    const Outcome outcome = check(fd, hold, later_of(latest(hold, &*seat->deadline), wanted));
    if (!outcome.code) {
        *seat->deadline = wanted;
    }
    forget_ended();
    return outcome;
}

Outcome Superblock::leave(int fd, Seat* seat) {
    const std::lock_guard lock(mutex_);
    Hold& hold = *seat->hold;
    Outcome outcome{hold.ended, {}};
    if (!hold.ended) {
        const std::optional<Deadline> others = latest(hold, &*seat->deadline);
        if (others && !has_passed(*others)) {
            outcome = check(fd, hold, *others);
            if (!outcome.code && hold.seats.size() == 1) {
                outcome = leave_frozen(fd, hold);
            }
        } else {
            outcome = thaw(fd, hold);
            hold.ended = outcome.code && outcome.code != errc::expired
                             ? std::error_code()
                             : make_error_code(errc::expired);
        }
    }
    if (!outcome.code || outcome.code == errc::expired) {
        remove(seat);
    }
    return outcome;
}

std::error_code Superblock::why_no_timeouts(int fd) {
    const std::lock_guard lock(mutex_);
    return ask_for_timeouts(fd);
}

/// That it is not allowed may change.
std::error_code Superblock::ask_for_timeouts(int fd) noexcept {
    if (why_no_timeouts_) {
        return *why_no_timeouts_;
    }
    const std::error_code answer = probe_timeout(fd);
    if (!answer || answer == errc::unsupported_by_kernel) {
        why_no_timeouts_ = answer;
    }
    return answer;
}

bool Superblock::is_held(const Guardian* guardian) {
    const auto lock = wait(guardian);
    return !lock || current_ != nullptr;
}

std::unique_lock<TimedMutex> Superblock::wait(const Guardian* guardian) {
    const Deadline until = guardian == nullptr ? std::nullopt : guardian->until();
    return until ? std::unique_lock(mutex_, *until - the_system().now()) : std::unique_lock(mutex_);
}

Outcome Superblock::release(int fd, Seat* seat) noexcept {
    const std::lock_guard lock(mutex_);
    auto& hold = *seat->hold;
    Outcome outcome{hold.ended, {}};
    hold.released.splice(hold.released.end(), hold.seats, seat->deadline);
    if (!hold.ended && hold.seats.empty()) {
        outcome = leave_frozen(fd, hold);
    }
    forget_ended();
    seat->hold.reset();
    return outcome;
}

void Superblock::abandon(Seat* seat) noexcept {
    const std::lock_guard lock(mutex_);
    const Hold& hold = *seat->hold;
    if (hold.guardian && hold.seats.size() == 1) {
        hold.guardian->let_go();
    }
    remove(seat);
}

void Superblock::remove(Seat* seat) noexcept {
    seat->hold->seats.erase(seat->deadline);
    forget_ended();
    seat->hold.reset();
}

/// A hold that has ended is not shared any more, nor one that is only released: to this process it
/// is gone.
void Superblock::forget_ended() noexcept {
    if (current_ && (current_->ended || current_->seats.empty())) {
        current_.reset();
    }
}

} // namespace libfreeze
