// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "file_descriptor.hpp"
#include "freeze_ioctl.hpp"
#include "guardian_protocol.h"
#include "resolve.hpp"

#include <cstdint>
#include <memory>
#include <system_error>

namespace libfreeze {

/// A process that makes the requests of one hold in place of this one, and thaws when this one dies
/// or this object goes, and at the deadline where the kernel has none. See guardian_main.c.
///
/// To whoever has one it is as a kernel with timeouts. `fd` is on the filesystem: if the guardian
/// is found dead, what it had frozen is thawed through it, and the freeze has expired.
///
/// Not thread-safe.
class Guardian final {
public:
    /// Throws the failure of a freeze. `until`: when to give up waiting for sync() and freeze().
    static std::shared_ptr<Guardian> start(const Target& target, const Deadline& until);

    Guardian(FileDescriptor channel, const Deadline& until) noexcept
        : channel_(std::move(channel)), until_(until) {}

    /// errc::acquire_timeout: it will undo the freeze when that is complete.
    std::error_code sync() noexcept;
    std::error_code freeze(int fd, std::int64_t seconds) noexcept;
    Outcome reset(int fd, std::int64_t seconds) noexcept;
    Outcome thaw(int fd) noexcept;
    /// Thaws when it can. Does not wait for that.
    void let_go() noexcept;
    [[nodiscard]] const Deadline& until() const noexcept { return until_; }
    /// Leaves it frozen. Where only the guardian knows the deadline it stays until then.
    void release() noexcept;

private:
    std::error_code ask(guardian_operation operation, std::int64_t seconds, const Deadline& until,
                        guardian_reply* reply) noexcept;
    Outcome ask_about_hold(int fd, guardian_operation operation, std::int64_t seconds) noexcept;

    FileDescriptor channel_;
    Deadline until_;
};

} // namespace libfreeze
