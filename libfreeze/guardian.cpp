// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guardian.hpp"

#include "failure.hpp"
#include "guardian_spawn.hpp"

#include <libfreeze/error.hpp>

#include <fmt/format.h>

namespace libfreeze {

namespace {

std::error_code unless_thawed(const std::error_code& error) noexcept {
    return error == errc::expired ? std::error_code() : error;
}

Deadline seconds_from_now(std::int64_t seconds) noexcept {
    return seconds == 0 ? std::nullopt
                        : Deadline(the_system().now() + std::chrono::seconds(seconds));
}

/// That the kernel has ended a hold at its deadline, or is about to.
bool is_over(const Deadline& deadline) noexcept {
    return deadline && *deadline - std::chrono::seconds(1) <= the_system().now();
}

} // namespace

bool is_lost(const std::error_code& error) noexcept {
    return error == system_error_code(EPIPE) || error == system_error_code(ECONNRESET);
}

std::shared_ptr<Guardian> Guardian::start(const Target& target, const Deadline& until) {
    FileDescriptor channel(
        the_system().start_guardian(target.fd.get(), target.filesystem.mountpoint.c_str()));
    if (!channel) {
        throw failure(Operation::freeze, target.filesystem, last_error(),
                      fmt::format("its guardian, {}, cannot be started (LIBFREEZE_GUARDIAN "
                                  "can name another)",
                                  libfreeze::quoted(guardian_program())));
    }
    return std::make_shared<Guardian>(std::move(channel), target.filesystem.mountpoint.native(),
                                      until);
}

std::error_code Guardian::ask(guardian_operation operation, std::int64_t seconds,
                              const Deadline& until, guardian_reply* reply) noexcept {
    const guardian_request request{seconds, operation, 0};
    if (!channel_) {
        return system_error_code(EPIPE);
    }
    if (the_system().ask_guardian(channel_.get(), request, reply, until) == 0) {
        return reply->error == 0 ? std::error_code() : system_error_code(reply->error);
    }
    const std::error_code error = last_error();
    channel_ = FileDescriptor();
    return error == system_error_code(ETIMEDOUT) ? make_error_code(errc::acquire_timeout) : error;
}

std::error_code Guardian::sync() noexcept {
    guardian_reply reply{};
    return ask(GUARDIAN_SYNC, 0, until_, &reply);
}

Outcome Guardian::freeze(int fd, std::int64_t seconds) noexcept {
    guardian_reply reply{};
    const std::error_code error = ask(GUARDIAN_FREEZE, seconds, until_, &reply);
    ends_ = seconds_from_now(seconds);
    if (error == system_error_code(ECONNRESET)) { // perhaps after it had frozen
        return {error, clean_up(fd)};
    }
    return {error, {}};
}

/// A kernel without timeouts knows no owners: there any process thaws. With the patches a hold that
/// has ended must be left alone, since an administrator's thaw would end somebody else's.
std::error_code Guardian::clean_up(int fd) const noexcept {
    if (probe_timeout(fd)) {
        return unless_thawed(thaw_ioctl(fd));
    }
    return is_over(ends_) ? std::error_code() : rescue(fd);
}

/// By a new process. This one reaches only its own holds if it has ever frozen there; any other is
/// an administrator, who gets a dead owner's hold first.
std::error_code Guardian::rescue(int fd) const noexcept {
    const FileDescriptor channel(the_system().start_guardian(fd, name_.c_str()));
    const guardian_request request{0, GUARDIAN_RESCUE, 0};
    guardian_reply reply{};
    if (channel && the_system().ask_guardian(channel.get(), request, &reply, std::nullopt) == 0) {
        return unless_thawed(reply.error == 0 ? std::error_code() : system_error_code(reply.error));
    }
    const std::error_code why_not = last_error();
    const std::error_code error = thaw_ioctl(fd);
    return error == errc::expired ? why_not : error;
}

Outcome Guardian::ask_about_hold(int fd, guardian_operation operation,
                                 std::int64_t seconds) noexcept {
    guardian_reply reply{};
    const std::error_code error = ask(operation, seconds, std::nullopt, &reply);
    if (is_lost(error)) {
        return {make_error_code(errc::expired), clean_up(fd)};
    }
    return {error, reply.leftover == 0 ? std::error_code() : system_error_code(reply.leftover)};
}

Outcome Guardian::reset(int fd, std::int64_t seconds) noexcept {
    const Outcome outcome = ask_about_hold(fd, GUARDIAN_RESET, seconds);
    ends_ = outcome.code ? ends_ : seconds_from_now(seconds);
    return outcome;
}

Outcome Guardian::thaw(int fd) noexcept {
    return ask_about_hold(fd, GUARDIAN_THAW, 0);
}

void Guardian::let_go() noexcept {
    guardian_reply reply{};
    ask(GUARDIAN_THAW, 0, the_system().now(), &reply);
}

Outcome Guardian::release(int fd) noexcept {
    return ask_about_hold(fd, GUARDIAN_RELEASE, 0);
}

} // namespace libfreeze
