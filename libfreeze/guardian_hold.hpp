// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "hold.hpp"
#include "process_memory.hpp"

namespace libfreeze::internal {

/// A hold that a guardian keeps. Its connection is the hold.
class GuardianHold final : public Hold {
public:
    /// Reaches the superblock's guardian, or starts one, and freezes.
    static std::unique_ptr<Hold> take(FileDescriptor filesystem, dev_t device,
                                      const HoldRequest& request, Outcome* outcome);
    /// The same for a hold that is kept already, which this object refers to. After a failure there
    /// is none, and `filesystem` is left with the caller.
    static std::unique_ptr<GuardianHold> take_kept(FileDescriptor* filesystem, dev_t device,
                                                   const HoldRequest& request, Outcome* outcome);
    static std::unique_ptr<Hold> adopt(FileDescriptor filesystem, dev_t device,
                                       HoldRequest* request, Outcome* outcome);
    static std::unique_ptr<Hold> refer_to(dev_t device, std::uint64_t id, Outcome* outcome);

    GuardianHold(GuardianConnection connection, dev_t device, std::uint64_t foreign_id)
        : connection_(std::move(connection)), device_(device), foreign_id_(foreign_id) {}

    GuardianHold(const GuardianHold&) = delete;
    GuardianHold& operator=(const GuardianHold&) = delete;
    GuardianHold(GuardianHold&&) = delete;
    GuardianHold& operator=(GuardianHold&&) = delete;
    ~GuardianHold() override;

    [[nodiscard]] int descriptor() const noexcept override { return connection_.descriptor(); }
    Outcome thaw() override;
    Outcome extend(std::chrono::milliseconds timeout) override;
    Outcome keep() override;

private:
    Outcome ask(guardian_message message, const Limits& limits);

    ForkMark fork_mark_;
    FileDescriptor filesystem_; ///< to thaw with if the guardian is killed; empty: not ours
    GuardianConnection connection_;
    dev_t device_;
    std::uint64_t foreign_id_; ///< 0: the hold of this connection
};

} // namespace libfreeze::internal
