// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "file_descriptor.hpp"
#include "freeze_ioctl.hpp"
#include "guardian_protocol.h"
#include "resolve.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>

namespace libfreeze {

/// Whether a guardian's answer is that it is dead: EPIPE if a request has not reached it,
/// ECONNRESET if it may have.
bool is_lost(const std::error_code& error) noexcept;

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

    /// `name`: where the filesystem is mounted, for who looks at the list of processes.
    Guardian(FileDescriptor channel, std::string name, const Deadline& until) noexcept
        : channel_(std::move(channel)), name_(std::move(name)), until_(until) {}

    /// errc::acquire_timeout: it will undo the freeze when that is complete.
    std::error_code sync() noexcept;
    Outcome freeze(int fd, std::int64_t seconds) noexcept;
    Outcome reset(int fd, std::int64_t seconds) noexcept;
    Outcome thaw(int fd) noexcept;
    /// Thaws when it can. Does not wait for that.
    void let_go() noexcept;
    [[nodiscard]] const Deadline& until() const noexcept { return until_; }
    /// Leaves it frozen. Where only the guardian knows the deadline it stays until then.
    Outcome release(int fd) noexcept;

private:
    std::error_code ask(guardian_operation operation, std::int64_t seconds, const Deadline& until,
                        guardian_reply* reply) noexcept;
    Outcome ask_about_hold(int fd, guardian_operation operation, std::int64_t seconds) noexcept;
    /// When it is dead: what it has left frozen. An error if that could not be thawed.
    [[nodiscard]] std::error_code clean_up(int fd) const noexcept;
    [[nodiscard]] std::error_code rescue(int fd) const noexcept;

    FileDescriptor channel_;
    std::string name_;
    Deadline until_;
    Deadline ends_; ///< the hold, if the kernel has timeouts
};

} // namespace libfreeze
