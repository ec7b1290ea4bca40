// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "hold.hpp"
#include "process_memory.hpp"

namespace libfreeze::internal {

/// A freeze descriptor of the kernel (part 3 of the patches).
class KernelHold final : public Hold {
public:
    /// Null, and ENOTTY in the outcome, where the kernel has none. Leaves `filesystem` with the
    /// caller then, and closes it after another failure.
    static std::unique_ptr<Hold> take(FileDescriptor* filesystem, dev_t device,
                                      const HoldRequest& request, Outcome* outcome);

    /// Operates on the holds with that id, whoever has them.
    static std::vector<ReferredHold> refer_to(std::uint64_t id);

    KernelHold(WatchedDescriptor fd, FileDescriptor mark, FileDescriptor filesystem, dev_t device,
               HoldRequest request);
    KernelHold(const KernelHold&) = delete;
    KernelHold& operator=(const KernelHold&) = delete;
    KernelHold(KernelHold&&) = delete;
    KernelHold& operator=(KernelHold&&) = delete;
    ~KernelHold() override;

    [[nodiscard]] int descriptor() const noexcept override { return fd_.get(); }
    Outcome thaw() override;
    Outcome extend(std::chrono::milliseconds timeout) override;
    /// A guardian takes over, since nobody could find a hold of the kernel by its id.
    Outcome keep() override;

private:
    Outcome ask(unsigned long request, void* argument);
    void set_timeout(std::chrono::milliseconds timeout);
    [[nodiscard]] std::chrono::milliseconds remaining_timeout() const;

    ForkMark fork_mark_;
    WatchedDescriptor fd_;
    FileDescriptor mark_;       ///< shows the id to other programs
    FileDescriptor filesystem_; ///< for the guardian that takes over; empty once thawed
    dev_t device_;
    HoldRequest request_;
    Deadline deadline_;
    bool held_ = true;
};

} // namespace libfreeze::internal
