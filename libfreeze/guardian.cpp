// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guardian.hpp"

#include "failure.hpp"
#include "guardian_spawn.hpp"

#include <libfreeze/error.hpp>

#include <fmt/format.h>

namespace libfreeze {

namespace {

/// What it answers once it is dead: EPIPE if a request has not reached it, ECONNRESET if it may
/// have.
bool is_lost(const std::error_code& error) noexcept {
    return error == system_error_code(EPIPE) || error == system_error_code(ECONNRESET);
}

/// Thaws what a dead guardian has left. On a kernel with the patches its hold has no owner any more
/// and this process is an administrator; no other kernel knows owners.
std::error_code clean_up(int fd) noexcept {
    const std::error_code error = thaw_ioctl(fd);
    return error == errc::expired ? std::error_code() : error;
}

} // namespace

std::shared_ptr<Guardian> Guardian::start(const Target& target, const Deadline& until) {
    FileDescriptor channel(
        the_system().start_guardian(target.fd.get(), target.filesystem.mountpoint.c_str()));
    if (!channel) {
        throw failure(Operation::freeze, target.filesystem, last_error(),
                      fmt::format("its guardian, {}, cannot be started (LIBFREEZE_GUARDIAN "
                                  "can name another)",
                                  libfreeze::quoted(guardian_program())));
    }
    return std::make_shared<Guardian>(std::move(channel), until);
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

std::error_code Guardian::freeze(int fd, std::int64_t seconds) noexcept {
    guardian_reply reply{};
    const std::error_code error = ask(GUARDIAN_FREEZE, seconds, until_, &reply);
    if (error == system_error_code(ECONNRESET)) { // perhaps after it had frozen
        clean_up(fd);
    }
    return error;
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
    return ask_about_hold(fd, GUARDIAN_RESET, seconds);
}

Outcome Guardian::thaw(int fd) noexcept {
    return ask_about_hold(fd, GUARDIAN_THAW, 0);
}

void Guardian::let_go() noexcept {
    guardian_reply reply{};
    ask(GUARDIAN_THAW, 0, the_system().now(), &reply);
}

void Guardian::release() noexcept {
    guardian_reply reply{};
    ask(GUARDIAN_RELEASE, 0, std::nullopt, &reply);
}

} // namespace libfreeze
