// SPDX-License-Identifier: LGPL-2.1-or-later
#include "journal.hpp"

#include "text.hpp"

#include <libfreeze/error.hpp>

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

namespace freezectl {

namespace {

/// Finds the entries of freezectl: journalctl MESSAGE_ID=...
constexpr std::string_view message_id = "5f1c2f0d6a6b4c0e9d0b7c1f3a9e8d24";
constexpr std::string_view socket_path = "/run/systemd/journal/socket";

/// One field of the journal's native protocol. The form with a length allows any byte in the value.
void add(std::string* datagram, std::string_view name, std::string_view value) {
    *datagram += name;
    *datagram += '\n';
    for (unsigned int shift = 0; shift < 64; shift += 8) { // little endian
        *datagram += static_cast<char>(static_cast<std::uint64_t>(value.size()) >> shift & 0xffU);
    }
    *datagram += value;
    *datagram += '\n';
}

std::string join(const std::vector<libfreeze::Filesystem>& filesystems) {
    std::string result;
    for (const libfreeze::Filesystem& filesystem : filesystems) {
        result += (result.empty() ? "" : "\n") + filesystem.path.native();
    }
    return result;
}

std::string join_devices(const std::vector<libfreeze::Filesystem>& filesystems) {
    std::string result;
    for (const libfreeze::Filesystem& filesystem : filesystems) {
        result += (result.empty() ? "" : "\n") + device_number(filesystem.device);
    }
    return result;
}

std::string to_datagram(const JournalEntry& entry) {
    using std::chrono::microseconds;
    const auto time =
        std::chrono::duration_cast<microseconds>(entry.time.time_since_epoch()).count();
    const bool is_good = std::string_view(entry.result) == "done";
    std::string datagram;
    add(&datagram, "MESSAGE", printable(entry.message));
    add(&datagram, "MESSAGE_ID", message_id);
    add(&datagram, "PRIORITY", std::to_string(is_good ? LOG_INFO : LOG_ERR));
    add(&datagram, "SYSLOG_IDENTIFIER", "freezectl");
    add(&datagram, "LIBFREEZE_OPERATION", entry.operation);
    add(&datagram, "LIBFREEZE_RESULT", entry.result);
    add(&datagram, "LIBFREEZE_TIME_USEC", std::to_string(time));
    if (!entry.id.empty()) {
        add(&datagram, "LIBFREEZE_ID", entry.id);
    }
    if (!entry.filesystems.empty()) {
        add(&datagram, "LIBFREEZE_PATHS", join(entry.filesystems));
        add(&datagram, "LIBFREEZE_DEVICES", join_devices(entry.filesystems));
    }
    return datagram;
}

} // namespace

void send_to_journal(const JournalEntry& entry) {
    const std::string datagram = to_datagram(entry);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    (void)::sendto(fd, datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    ::close(fd);
}

const char* journal_result(const std::error_code& error) {
    return !error ? "done" : error == libfreeze::errc::expired ? "expired" : "failed";
}

} // namespace freezectl
