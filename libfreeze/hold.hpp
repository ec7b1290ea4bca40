// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "guardian_client.hpp"
#include "target.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace libfreeze::internal {

/// What every hold of a guard is made with.
struct HoldRequest {
    std::uint64_t id = 0;
    std::chrono::milliseconds timeout{0}; ///< zero: no deadline
    std::string comment;
    bool allow_unprotected = false;
    Limits limits; ///< until the filesystem is frozen
};

/// Keeps one filesystem frozen until it is thawed, until its deadline, or until it is destroyed.
class Hold {
public:
    Hold() = default;
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    Hold(Hold&&) = delete;
    Hold& operator=(Hold&&) = delete;
    /// Drops the hold. Never blocks: whoever keeps it thaws.
    virtual ~Hold() = default;

    /// Readable, or hung up, once the hold has ended early.
    [[nodiscard]] virtual int descriptor() const noexcept = 0;
    /// 0: it was frozen until now, and the hold is dropped. ESTALE: it was not, and the hold is
    /// gone. Any other error: the hold is still in place.
    virtual Outcome thaw() = 0;
    /// Zero: no deadline. 0, ESTALE, or another error. Never blocks.
    virtual Outcome extend(std::chrono::milliseconds timeout) = 0;
    /// Leaves the filesystem frozen without this object. 0, ESTALE, or another error.
    virtual Outcome keep() = 0;
};

/// Freezes a filesystem, or waits for a freeze in progress. Takes the target's descriptor; on
/// failure it is closed.
std::unique_ptr<Hold> take_hold(FileDescriptor filesystem, dev_t device, const HoldRequest& request,
                                Outcome* outcome);

/// Makes a kept hold this process's: with that id, or the newest if it is 0. ESRCH: there is none.
/// `filesystem`: an open file on it, if there is one.
std::unique_ptr<Hold> adopt_hold(FileDescriptor filesystem, dev_t device, HoldRequest* request,
                                 Outcome* outcome);

/// Operates on the hold with that id, whoever has it. ESRCH: no guardian of the superblock has it.
std::unique_ptr<Hold> refer_to_hold(dev_t device, std::uint64_t id, Outcome* outcome);

/// A hold that another object has.
struct ReferredHold {
    dev_t device = 0;
    std::unique_ptr<Hold> hold; ///< null on failure
    Outcome outcome = {};
};

/// The holds with that id that the kernel keeps, on all superblocks.
std::vector<ReferredHold> refer_to_kernel_holds(std::uint64_t id);

/// Whether anybody is known to keep the superblock frozen, or to be freezing it; also if a guardian
/// that could tell cannot be asked. `filesystem`: an
/// open file on it, if there is one; otherwise -1.
bool is_held(dev_t device, int filesystem = -1);

} // namespace libfreeze::internal
