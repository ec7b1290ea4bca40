// SPDX-License-Identifier: LGPL-2.1-or-later
/// What this process holds frozen, per superblock.
#pragma once

#include "guardian.hpp"
#include "system.hpp"
#include "timed_mutex.hpp"

#include <chrono>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>

#include <sys/types.h>

namespace libfreeze {

/// One hold in the kernel, shared by all guards of the process that were made while it lived.
struct Hold {
    std::list<Deadline> seats;    ///< of the guards
    std::list<Deadline> released; ///< of guards that went away and left the filesystem frozen
    std::error_code ended; ///< how it was found out that the kernel has ended the hold; none: live
    std::error_code
        no_timeouts; ///< why not FIFREEZE_RESET_TIMEOUT: ENOTTY, or not allowed; none: it works
    std::shared_ptr<Guardian> guardian; ///< who makes the requests; none: this process
};

/// A guard's share of a hold.
struct Seat {
    std::shared_ptr<Hold> hold;
    std::list<Deadline>::iterator deadline;
};

/// Nests the freezes of one process on one superblock.
///
/// A second FIFREEZE cannot do it. Stock kernels refuse one. With the patches a process's holds are
/// a stack, and FITHAW and FIFREEZE_RESET_TIMEOUT reach only the top one: a guard that is thawed
/// out of order would drop another guard's hold, and the one that remains could expire before it
/// has got the other's deadline. So the process has one hold, and its deadline is the latest that
/// any guard on it wants:
///
///   first guard     FIFREEZE or FIFREEZE_TIMEOUT
///   another guard   FIFREEZE_RESET_TIMEOUT to the latest deadline. EINVAL: the hold has ended, so
///                   its guards have expired, and the new one starts a hold of its own, as if it
///                   were the first.
///   extend          the same with the guard's new deadline; EINVAL: expired
///   a guard goes    the same with the deadlines of those that stay. EINVAL: all have expired. If
///                   all those deadlines have passed: FITHAW, and those that stay have expired.
///   the last goes   FITHAW; EINVAL: expired
///
/// Every step thus asks the kernel if the hold is live, and an ended hold is never thawed or frozen
/// again, so no guard takes a later freeze for its own. A stock kernel has no
/// FIFREEZE_RESET_TIMEOUT; there FIFREEZE asks: EBUSY says that the filesystem is frozen, success
/// that it was not (a new guard keeps that freeze, otherwise it is undone). The guard that is
/// thawed keeps its seat until the kernel has agreed, so that it can try again.
///
/// A hold of a guardian is as one on a kernel with timeouts: the guardian gets the requests.
///
/// This is why the library has state of the process, beside the failure handler. It is kept only
/// while there are guards; their open descriptors see to it that the superblock's number is not
/// used again.
///
/// Thread-safe: one mutex per superblock. It is held across FIFREEZE only if no guard holds the
/// filesystem (or, on a stock kernel, if someone has thawed it), so no extend() waits for a freeze.
/// Another guard that is to be made meanwhile does, no longer than its guardian may.
class Superblock final {
public:
    /// The one with that number; guards of this process share it.
    static std::shared_ptr<Superblock> find(dev_t device);

    /// `timeout` zero: none. `guardian`: whose hold a new one shall be, if anybody's. join and
    /// adopt fill `seat` only on success. After errc::expired, leave has given the seat up and
    /// extend has not; after any other error the seat is as before. adopt throws std::logic_error
    /// if guards of this process hold the superblock and none was released.
    Outcome join(int fd, std::chrono::nanoseconds timeout, std::shared_ptr<Guardian> guardian,
                 Seat* seat);
    Outcome adopt(int fd, std::chrono::nanoseconds timeout, Seat* seat);
    Outcome extend(int fd, std::chrono::nanoseconds timeout, Seat* seat);
    Outcome leave(int fd, Seat* seat);
    /// As probe_timeout(), but the kernel is asked once.
    std::error_code why_no_timeouts(int fd);
    /// Whether a guard holds it, as far as is known, or is still busy with freezing it when the
    /// time of `guardian` (null: for ever) is over.
    [[nodiscard]] bool is_held(const Guardian* guardian);
    /// Leaves the hold to the next adopt(). errc::expired if it is known to have ended. The seat is
    /// given up in any case.
    Outcome release(int fd, Seat* seat) noexcept;
    /// Gives the seat up although the kernel did not thaw; a guardian thaws when it can.
    void abandon(Seat* seat) noexcept;

private:
    std::error_code ask_for_timeouts(int fd) noexcept;
    /// Waits for the other guards; without the mutex if the time of `guardian` is over before.
    std::unique_lock<TimedMutex> wait(const Guardian* guardian);
    void remove(Seat* seat) noexcept;
    void forget_ended() noexcept;

    TimedMutex mutex_;
    std::shared_ptr<Hold> current_; ///< the live one; none if nobody has a seat on it
    std::optional<std::error_code> why_no_timeouts_; ///< the kernel's answer; none: not asked yet
};

} // namespace libfreeze
