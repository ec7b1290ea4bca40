// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guardian_hold.hpp"

#include "kernel_features.hpp"
#include "start_guardian.hpp"

#include <libfreeze/freeze.h>
#include <libfreeze/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>

namespace libfreeze::internal {

namespace {

guardian_message request_of(guardian_message_type type, const HoldRequest& from) {
    guardian_message message{};
    message.type = type;
    message.id = from.id;
    message.timeout_ms = from.timeout.count();
    from.comment.copy(message.comment, sizeof(message.comment) - 1);
    return message;
}

Outcome refuse_unprotected() {
    return {ENOTRECOVERABLE,
            "nothing would thaw it if this PID namespace (container) were killed: enable "
            "libfreeze-guardian.socket on the host and mount /run/libfreeze here, or set "
            "allow_unprotected"};
}

/// A socket of a guardian that was just started, by the host if it offers that.
Outcome start(bool allow_unprotected, FileDescriptor* socket) {
    *socket = FileDescriptor(syscalls().connect(guardian_directory() + "/" + GUARDIAN_HOST_SOCKET));
    if (*socket) {
        return {};
    }
    if (!allow_unprotected && !guardian_would_survive()) {
        return refuse_unprotected();
    }
    *socket = FileDescriptor(syscalls().start_guardian());
    if (*socket) {
        return {};
    }
    return {errno, "its guardian cannot be started: " + quoted(guardian_program())};
}

/// A guardian that somebody else has started in a PID namespace protects nobody.
Outcome join(FileDescriptor socket, dev_t device, const HoldRequest& request,
             std::optional<GuardianConnection>* connection) {
    Outcome outcome =
        GuardianConnection::greet(std::move(socket), device, -1, request.limits, connection);
    if (outcome.error == 0 && (*connection)->is_unprotected() && !request.allow_unprotected) {
        connection->reset();
        return {ENOTRECOVERABLE,
                "its guardian runs in a PID namespace (container), and nothing would thaw it if "
                "that were killed: wait until the holds there have ended, or set "
                "allow_unprotected"};
    }
    return outcome;
}

/// EAGAIN: begin again.
Outcome reach(int filesystem, dev_t device, const HoldRequest& request,
              std::optional<GuardianConnection>* connection) {
    FileDescriptor socket(syscalls().connect(guardian_path(device)));
    if (socket) {
        return join(std::move(socket), device, request, connection);
    }
    Outcome outcome = start(request.allow_unprotected, &socket);
    if (outcome.error != 0) {
        return outcome;
    }
    return GuardianConnection::greet(std::move(socket), device, filesystem, request.limits,
                                     connection);
}

/// "frozen NUMBER": the kernel thaws at that time, in milliseconds of CLOCK_MONOTONIC; 0: never.
bool has_thawed_itself(const std::string& state) {
    const long long until = std::strtoll(state.c_str() + std::strlen("frozen"), nullptr, 10);
    const auto now =
        std::chrono::duration_cast<std::chrono::milliseconds>(syscalls().now().time_since_epoch());
    return until > 0 && now.count() >= until;
}

/// The kernel may close the socket of a process that was killed a little before it drops the lock.
bool lock_after_guardian(int lock) {
    constexpr int attempts = 20;
    constexpr std::chrono::milliseconds pause{1};
    for (int attempt = 0; attempt < attempts; ++attempt) {
        if (syscalls().flock(lock, LOCK_EX | LOCK_NB) == 0) {
            return true;
        }
        syscalls().sleep(pause);
    }
    return false;
}

/// Whether FITHAW ends what a dead guardian has left. It would end another program's hold if
/// somebody has thawed that already. Only part 3 of the patches can tell.
bool is_left_by_the_dead(int filesystem) {
    fsfreeze_status status{};
    std::vector<fsfreeze_holder> holders;
    return read_kernel_status(filesystem, &status, &holders) != 0 ||
           std::any_of(holders.begin(), holders.end(), [](const fsfreeze_holder& holder) {
               return (holder.flags & LIBFREEZE_HOLD_GONE) != 0;
           });
}

/// Thaws what a guardian that was killed has left frozen. Whoever gets the lock does it, once.
void thaw_after_guardian(dev_t device, int filesystem) {
    const FileDescriptor lock = open_at(AT_FDCWD, guardian_path(device, ".lock").c_str(), O_RDWR);
    std::string state;
    if (filesystem < 0 || !lock || !lock_after_guardian(lock.get()) ||
        syscalls().read_file(guardian_path(device, ".lock"), &state) != 0 ||
        state.compare(0, std::strlen("frozen"), "frozen") != 0) {
        return;
    }
    const bool is_frozen = !has_thawed_itself(state) && is_left_by_the_dead(filesystem);
    if (!is_frozen || retry_ioctl(filesystem, FITHAW, nullptr) == 0 || errno == EINVAL) {
        syscalls().ftruncate(lock.get(), 0);
    }
}

/// A guardian that exits in between is no failure: the next attempt starts another.
Outcome freeze_once(int filesystem, dev_t device, const HoldRequest& request,
                    std::optional<GuardianConnection>* connection) {
    Outcome outcome = reach(filesystem, device, request, connection);
    if (outcome.error != 0) {
        return outcome;
    }
    guardian_message message = request_of(GUARDIAN_FREEZE, request);
    outcome = (*connection)->ask(&message, request.limits);
    if (outcome.error != 0) {
        (*connection)->hang_up();
    }
    if (outcome.error == ECONNRESET && !(*connection)->is_pending()) {
        return {EAGAIN};
    }
    if (outcome.error == ECONNRESET) {
        thaw_after_guardian(device, filesystem); // its FIFREEZE may have succeeded
        return {ECONNRESET, "its guardian was killed: try again"};
    }
    return outcome;
}

Outcome freeze(int filesystem, dev_t device, const HoldRequest& request,
               std::optional<GuardianConnection>* connection) {
    constexpr int attempts = 1000;
    constexpr std::chrono::milliseconds pause{3};
    Outcome outcome;
    for (int attempt = 0; attempt < attempts; ++attempt) {
        outcome = freeze_once(filesystem, device, request, connection);
        if (outcome.error != EAGAIN) {
            break;
        }
        connection->reset();
        if (request.limits.until && syscalls().now() >= *request.limits.until) {
            return {ETIMEDOUT};
        }
        syscalls().sleep(pause);
    }
    return outcome;
}

} // namespace

std::unique_ptr<Hold> GuardianHold::take(FileDescriptor filesystem, dev_t device,
                                         const HoldRequest& request, Outcome* outcome) {
    std::optional<GuardianConnection> connection;
    *outcome = freeze(filesystem.get(), device, request, &connection);
    if (outcome->error != 0) {
        return nullptr;
    }
    auto hold = std::make_unique<GuardianHold>(std::move(*connection), device, 0);
    hold->filesystem_ = std::move(filesystem);
    return hold;
}

std::unique_ptr<GuardianHold> GuardianHold::take_kept(FileDescriptor* filesystem, dev_t device,
                                                      const HoldRequest& request,
                                                      Outcome* outcome) {
    std::optional<GuardianConnection> connection;
    *outcome = freeze(filesystem->get(), device, request, &connection);
    if (outcome->error != 0) {
        return nullptr;
    }
    auto hold = std::make_unique<GuardianHold>(std::move(*connection), device, 0);
    hold->filesystem_ = std::move(*filesystem);
    *outcome = hold->keep();
    if (outcome->error != 0) {
        *filesystem = std::move(hold->filesystem_);
        Outcome ignored;
        if (const auto kept = refer_to(device, request.id, &ignored)) { // its answer was lost
            kept->thaw();
        }
        if (outcome->error == ESTALE) { // the guardian's hold, not the caller's
            *outcome = {ECONNRESET, "its guardian was killed: try again"};
        }
        return nullptr;
    }
    hold->foreign_id_ = request.id;
    return hold;
}

std::unique_ptr<Hold> GuardianHold::adopt(FileDescriptor filesystem, dev_t device,
                                          HoldRequest* request, Outcome* outcome) {
    std::optional<GuardianConnection> connection =
        GuardianConnection::find(device, request->limits, outcome);
    if (!connection) {
        return nullptr;
    }
    guardian_message message = request_of(GUARDIAN_ADOPT, *request);
    *outcome = connection->ask(&message, request->limits);
    if (outcome->error == ECONNRESET || outcome->error == EAGAIN) { // it was exiting
        *outcome = {ESRCH};
    }
    if (outcome->error != 0) {
        return nullptr;
    }
    request->id = message.id;
    auto hold = std::make_unique<GuardianHold>(std::move(*connection), device, 0);
    hold->filesystem_ = std::move(filesystem);
    return hold;
}

std::unique_ptr<Hold> GuardianHold::refer_to(dev_t device, std::uint64_t id, Outcome* outcome) {
    std::optional<GuardianConnection> connection =
        GuardianConnection::find(device, at_once(), outcome);
    if (!connection) {
        return nullptr;
    }
    guardian_message message{};
    message.type = GUARDIAN_STATUS;
    std::vector<guardian_message> details;
    *outcome = connection->ask(&message, at_once(), &details);
    const bool is_here =
        std::any_of(details.begin(), details.end(), [id](const guardian_message& detail) {
            return detail.type == GUARDIAN_HOLDER && detail.id == id;
        });
    if (outcome->error == ECONNRESET || outcome->error == EAGAIN ||
        (outcome->error == 0 && !is_here)) {
        *outcome = {ESRCH};
    }
    return outcome->error == 0 ? std::make_unique<GuardianHold>(std::move(*connection), device, id)
                               : nullptr;
}

/// A forked child closes its copy of the descriptor, and nothing else. A program that has closed
/// the connection has closed all that it has open.
GuardianHold::~GuardianHold() {
    if (!connection_.is_open()) {
        connection_.forget();
        static_cast<void>(filesystem_.release());
    } else if (!fork_mark_.is_in_child()) {
        connection_.hang_up();
    }
}

/// A guardian that is gone has not kept the filesystem frozen.
Outcome GuardianHold::ask(guardian_message message, const Limits& limits) {
    if (!connection_.is_open()) {
        return {ESTALE, "this program has closed its descriptor"};
    }
    message.id = foreign_id_;
    Outcome outcome = connection_.ask(&message, limits);
    if (outcome.error == ECONNRESET && connection_.cause() != GUARDIAN_CAUSE_NONE) {
        return {ESTALE, describe_cause(connection_.cause())};
    }
    if (outcome.error == ECONNRESET) {
        thaw_after_guardian(device_, filesystem_.get());
        return {ESTALE, "its guardian was killed"};
    }
    if (outcome.error == ETIMEDOUT) {
        return {ETIMEDOUT, "its guardian does not answer; continue it if it is stopped"};
    }
    return outcome;
}

Outcome GuardianHold::thaw() {
    guardian_message message{};
    message.type = GUARDIAN_THAW;
    Outcome outcome = ask(message, {});
    if ((outcome.error == 0 || outcome.error == ESTALE) && connection_.is_open()) {
        filesystem_ = FileDescriptor(); // the program may unmount now
    }
    return outcome;
}

Outcome GuardianHold::extend(std::chrono::milliseconds timeout) {
    guardian_message message{};
    message.type = GUARDIAN_EXTEND;
    message.timeout_ms = timeout.count();
    return ask(message, at_once());
}

Outcome GuardianHold::keep() {
    guardian_message message{};
    message.type = GUARDIAN_KEEP;
    return ask(message, at_once());
}

} // namespace libfreeze::internal
