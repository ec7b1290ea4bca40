// SPDX-License-Identifier: LGPL-2.1-or-later
/// The client's side of guardian/PROTOCOL.md.
#pragma once

#include "error.hpp"
#include "file_descriptor.hpp"
#include "guardian/protocol.h"
#include "syscalls.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace libfreeze::internal {

/// When to give up waiting.
struct Limits {
    Deadline until;
    int cancel_fd = -1; ///< readable: now
    /// Whether the caller no longer waits for the work. `cancel_fd` may not be readable any more,
    /// or mean another file.
    std::shared_ptr<std::atomic<bool>> abandoned = {};
};

/// For a guardian that runs: it answers at once, whatever the kernel does. One that does not is
/// stopped.
Limits at_once();

/// The directory with the guardians' sockets.
std::string guardian_directory();

/// The file in it that belongs to a superblock: "8:1" and a suffix.
std::string guardian_path(dev_t device, const char* suffix = "");

/// A connection to a guardian.
class GuardianConnection final {
public:
    /// To the guardian of a superblock. None, and ESRCH in the outcome, if there is none; another
    /// error if it could not be asked.
    static std::optional<GuardianConnection> find(dev_t device, const Limits& limits,
                                                  Outcome* outcome = nullptr);

    /// Over a connected socket. `filesystem`: passed to a guardian that has just been started;
    /// otherwise -1. On failure the outcome has an errno: EAGAIN means "begin again".
    static Outcome greet(FileDescriptor socket, dev_t device, int filesystem, const Limits& limits,
                         std::optional<GuardianConnection>* result);

    /// Sends a request and waits for its RESULT, which replaces `message`. ECONNRESET: the guardian
    /// is gone.
    Outcome ask(guardian_message* message, const Limits& limits,
                std::vector<guardian_message>* details = nullptr);

    /// Whether the descriptor's number still means this connection: a program may close descriptors
    /// that are not its own, and their numbers are used again.
    [[nodiscard]] bool is_open() const noexcept;
    /// For a number that means another file: never closes it.
    void forget() noexcept { static_cast<void>(socket_.release()); }

    /// Drops the hold, also where a forked child has a copy of the descriptor.
    void hang_up() noexcept;

    [[nodiscard]] int descriptor() const noexcept { return socket_.get(); }
    /// Whether the guardian has taken the last FREEZE.
    [[nodiscard]] bool is_pending() const noexcept { return pending_; }
    /// Whether the guardian would die with a PID namespace.
    [[nodiscard]] bool is_unprotected() const noexcept { return unprotected_; }
    /// Why the hold of this connection ended early, if it has said so.
    [[nodiscard]] std::uint32_t cause() const noexcept { return cause_; }

private:
    explicit GuardianConnection(FileDescriptor socket);
    Outcome send(const guardian_message& message, int passed, const Limits& limits);
    Outcome receive(guardian_message* message, const Limits& limits);

    FileDescriptor socket_;
    std::uint64_t inode_ = 0;
    std::string received_;          ///< the beginning of a message
    unsigned int late_answers_ = 0; ///< to requests whose caller gave up
    bool pending_ = false;
    bool unprotected_ = false;
    std::uint32_t cause_ = GUARDIAN_CAUSE_NONE;
};

/// Waits until a descriptor is ready. 0, ETIMEDOUT, ECANCELED or another errno.
int wait_for(int fd, short events, const Limits& limits);

/// "its deadline has passed", for messages.
const char* describe_cause(std::uint32_t cause);

/// What a guardian says of its superblock: a STATE message, then HOLDERs. None if there is no
/// guardian.
struct GuardianStatus {
    guardian_message state{};
    std::vector<guardian_message> holders;
};
std::optional<GuardianStatus> ask_status(dev_t device, const Limits& limits,
                                         Outcome* outcome = nullptr);

/// The superblocks that have a guardian. Throws Error if that cannot be found out.
std::vector<dev_t> guarded_devices();

} // namespace libfreeze::internal
