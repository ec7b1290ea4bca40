// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guardian_client.hpp"

#include "start_guardian.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace libfreeze::internal {

namespace {

/// In milliseconds, for poll(2).
int time_left(const Deadline& until) noexcept {
    constexpr std::int64_t longest = 3'600'000;
    if (!until) {
        return longest;
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*until - syscalls().now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, longest));
}

bool is_answer(const guardian_message& message) noexcept {
    return message.type == GUARDIAN_RESULT;
}

/// 0 if it is not open.
std::uint64_t inode_of(int fd) noexcept {
    struct statx status {};
    return syscalls().statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &status) == 0
               ? status.stx_ino
               : 0;
}

bool exists(const std::string& path) {
    struct statx status {};
    return syscalls().statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &status) == 0 ||
           errno != ENOENT;
}

/// Of connect(2): nobody listens there, or the program may not look.
bool means_none(int error) noexcept {
    return error == ENOENT || error == ECONNREFUSED || error == ENOTDIR || error == EACCES;
}

std::optional<dev_t> parse_device(const std::string& name) {
    unsigned int major_number = 0;
    unsigned int minor_number = 0;
    const char* const end = name.data() + name.size();
    const auto first = std::from_chars(name.data(), end, major_number);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != ':') {
        return std::nullopt;
    }
    const auto second = std::from_chars(first.ptr + 1, end, minor_number);
    if (second.ec != std::errc() || second.ptr != end) {
        return std::nullopt;
    }
    return makedev(major_number, minor_number);
}

} // namespace

Limits at_once() {
    constexpr std::chrono::seconds answer_time{5};
    return {syscalls().now() + answer_time, -1};
}

std::string guardian_directory() {
    return trusted_environment("LIBFREEZE_RUNTIME_DIR").value_or(GUARDIAN_DIRECTORY);
}

std::string guardian_path(dev_t device, const char* suffix) {
    return guardian_directory() + "/" + std::to_string(major(device)) + ":" +
           std::to_string(minor(device)) + suffix;
}

int wait_for(int fd, short events, const Limits& limits) {
    for (;;) {
        std::array<pollfd, 2> entries{{{fd, events, 0}, {limits.cancel_fd, POLLIN, 0}}};
        const int left = time_left(limits.until);
        const int ready = syscalls().poll(entries.data(), entries.size(), left);
        if (ready < 0 && errno != EINTR) {
            return errno;
        }
        if (ready > 0 && entries[0].revents != 0) {
            return 0;
        }
        if (ready > 0 && entries[1].revents != 0) {
            return ECANCELED;
        }
        if (ready == 0 && limits.until && time_left(limits.until) == 0) {
            return ETIMEDOUT;
        }
    }
}

const char* describe_cause(std::uint32_t cause) {
    switch (cause) {
    case GUARDIAN_CAUSE_DEADLINE:
        return "its deadline has passed";
    case GUARDIAN_CAUSE_ADMINISTRATOR:
        return "another program has thawed it";
    case GUARDIAN_CAUSE_UNKNOWN_THAW:
        return "a program that does not use libfreeze has thawed it";
    default:
        return "";
    }
}

GuardianConnection::GuardianConnection(FileDescriptor socket)
    : socket_(std::move(socket)), inode_(inode_of(socket_.get())) {}

bool GuardianConnection::is_open() const noexcept {
    return inode_of(socket_.get()) == inode_;
}

void GuardianConnection::hang_up() noexcept {
    if (is_open()) {
        syscalls().shutdown(socket_.get());
    }
}

Outcome GuardianConnection::greet(FileDescriptor socket, dev_t device, int filesystem,
                                  const Limits& limits, std::optional<GuardianConnection>* result) {
    GuardianConnection connection(std::move(socket));
    guardian_message hello{};
    hello.type = GUARDIAN_HELLO;
    hello.version = GUARDIAN_VERSION;
    hello.device_major = major(device);
    hello.device_minor = minor(device);
    Outcome outcome = connection.send(hello, filesystem, limits);
    while (outcome.error == 0 && !is_answer(hello)) {
        outcome = connection.receive(&hello, limits);
    }
    if (outcome.error == ECONNRESET) {
        return {EAGAIN}; // it was exiting
    }
    if (outcome.error == 0 && hello.error == EPROTONOSUPPORT) {
        return {EPROTONOSUPPORT, "its guardian speaks version " + std::to_string(hello.version) +
                                     " of the protocol, this program version " +
                                     std::to_string(GUARDIAN_VERSION) +
                                     ": update the older one of the two"};
    }
    if (outcome.error == 0 && hello.error != 0) {
        return {hello.error, hello.text};
    }
    if (outcome.error == 0) {
        connection.unprotected_ = (hello.flags & GUARDIAN_FLAG_UNPROTECTED) != 0;
        *result = std::move(connection);
    }
    return outcome;
}

std::optional<GuardianConnection> GuardianConnection::find(dev_t device, const Limits& limits,
                                                           Outcome* outcome) {
    constexpr int attempts = 100;
    Outcome ignored;
    Outcome& why = outcome == nullptr ? ignored : *outcome;
    for (int attempt = 0; attempt < attempts; ++attempt) {
        FileDescriptor socket(syscalls().connect(guardian_path(device)));
        if (!socket) {
            const int error = errno; // there may be no descriptor left to connect with
            why = {means_none(error) || !exists(guardian_path(device)) ? ESRCH : error};
            return std::nullopt;
        }
        std::optional<GuardianConnection> result;
        why = greet(std::move(socket), device, -1, limits, &result);
        if (why.error != EAGAIN) {
            return result;
        }
        syscalls().sleep(std::chrono::milliseconds(2));
    }
    return std::nullopt;
}

Outcome GuardianConnection::send(const guardian_message& message, int passed,
                                 const Limits& limits) {
    const auto* const bytes = reinterpret_cast<const char*>(&message);
    std::size_t sent = 0;
    while (sent < sizeof(message)) {
        const ssize_t length = syscalls().send(socket_.get(), bytes + sent, sizeof(message) - sent,
                                               sent == 0 ? passed : -1);
        if (length > 0) {
            sent += static_cast<std::size_t>(length);
            continue;
        }
        if (length < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            return {}; // what it had to say may still be there to read
        }
        if (length < 0 && errno != EAGAIN && errno != EINTR) {
            return {errno};
        }
        if (const int error = wait_for(socket_.get(), POLLOUT, limits)) {
            return {error};
        }
    }
    return {};
}

Outcome GuardianConnection::receive(guardian_message* message, const Limits& limits) {
    std::array<char, sizeof(guardian_message)> buffer{};
    while (received_.size() < sizeof(*message)) {
        if (const int error = wait_for(socket_.get(), POLLIN, limits)) {
            return {error};
        }
        const ssize_t length =
            syscalls().recv(socket_.get(), buffer.data(), sizeof(*message) - received_.size());
        if (length > 0) {
            received_.append(buffer.data(), static_cast<std::size_t>(length));
        } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
            return {ECONNRESET};
        }
    }
    std::memcpy(message, received_.data(), sizeof(*message));
    received_.clear();
    message->command[sizeof(message->command) - 1] = '\0';
    message->comment[sizeof(message->comment) - 1] = '\0';
    message->text[sizeof(message->text) - 1] = '\0';
    if (message->type == GUARDIAN_ENDED) {
        cause_ = message->cause;
    }
    return {};
}

Outcome GuardianConnection::ask(guardian_message* message, const Limits& limits,
                                std::vector<guardian_message>* details) {
    pending_ = false;
    if (!is_open()) {
        return {ECONNRESET};
    }
    if (Outcome outcome = send(*message, -1, limits); outcome.error != 0) {
        return outcome;
    }
    for (;;) {
        const Outcome outcome = receive(message, limits);
        if (outcome.error == ECONNRESET) {
            hang_up(); // if the guardian is alive after all, it drops the hold now
        }
        if (outcome.error != 0) {
            ++late_answers_;
            return outcome;
        }
        pending_ = pending_ || message->type == GUARDIAN_PENDING;
        if (is_answer(*message) && late_answers_ != 0) {
            --late_answers_;
        } else if (is_answer(*message)) {
            return {message->error,
                    message->text[0] != '\0' ? message->text : describe_cause(message->cause)};
        } else if (details != nullptr && message->type != GUARDIAN_ENDED) {
            details->push_back(*message);
        }
    }
}

std::optional<GuardianStatus> ask_status(dev_t device, const Limits& limits, Outcome* outcome) {
    Outcome ignored;
    Outcome& why = outcome == nullptr ? ignored : *outcome;
    std::optional<GuardianConnection> connection = GuardianConnection::find(device, limits, &why);
    if (!connection) {
        return std::nullopt;
    }
    guardian_message message{};
    message.type = GUARDIAN_STATUS;
    std::vector<guardian_message> details;
    why = connection->ask(&message, limits, &details);
    if (why.error == ECONNRESET || why.error == EAGAIN) { // it was exiting
        why = {ESRCH};
    }
    if (why.error != 0 || details.empty()) {
        return std::nullopt;
    }
    GuardianStatus status;
    status.state = details.front();
    status.holders.assign(details.begin() + 1, details.end());
    return status;
}

std::vector<dev_t> guarded_devices() {
    std::vector<std::string> names;
    std::vector<dev_t> devices;
    if (syscalls().list_directory(guardian_directory(), &names) != 0 && !means_none(errno)) {
        throw Error(errno, "libfreeze: " + quoted(guardian_directory()) + " cannot be read");
    }
    for (const std::string& name : names) {
        if (const std::optional<dev_t> device = parse_device(name)) {
            devices.push_back(*device);
        }
    }
    return devices;
}

} // namespace libfreeze::internal
