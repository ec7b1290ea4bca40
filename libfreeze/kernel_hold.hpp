// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "hold.hpp"

namespace libfreeze::internal {

/// A freeze descriptor of the kernel (part 3 of the patches).
class KernelHold final : public Hold {
public:
    /// Null, and ENOTTY in the outcome, where the kernel has none.
    static std::unique_ptr<Hold> take(int filesystem, const HoldRequest& request, Outcome* outcome);

    [[nodiscard]] int descriptor() const noexcept override { return fd_.get(); }
    Outcome thaw() override;
    Outcome extend(std::chrono::milliseconds timeout) override;
    Outcome keep() override;

private:
    explicit KernelHold(FileDescriptor fd) : fd_(std::move(fd)) {}

    FileDescriptor fd_;
};

} // namespace libfreeze::internal
