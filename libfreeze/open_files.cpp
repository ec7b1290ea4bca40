// SPDX-License-Identifier: LGPL-2.1-or-later
/// What the kernel knows of this process's descriptors.
#include "file_descriptor.hpp"
#include "syscalls.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace libfreeze::internal {

namespace {

struct DiagRequest {
    nlmsghdr header;
    unix_diag_req request;
};

DiagRequest peer_request(ino_t inode) {
    DiagRequest message{};
    message.header.nlmsg_len = sizeof(message);
    message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    message.header.nlmsg_flags = NLM_F_REQUEST;
    message.request.sdiag_family = AF_UNIX;
    message.request.udiag_states = ~0U;
    message.request.udiag_ino = static_cast<std::uint32_t>(inode);
    message.request.udiag_show = UDIAG_SHOW_PEER;
    message.request.udiag_cookie[0] = ~0U; // any
    message.request.udiag_cookie[1] = ~0U;
    return message;
}

/// A struct of the kernel's answer, as far as it has one there.
template <typename Struct>
bool read_at(const std::string& answer, std::size_t at, Struct* result) {
    if (at + sizeof(*result) > answer.size()) {
        return false;
    }
    std::memcpy(result, answer.data() + at, sizeof(*result));
    return true;
}

/// The peer in the kernel's answer; 0 if it has none. All parts begin at multiples of 4.
std::uint64_t peer_in(const std::string& answer) {
    nlmsghdr header{};
    if (!read_at(answer, 0, &header) || header.nlmsg_type != SOCK_DIAG_BY_FAMILY) {
        return 0;
    }
    rtattr attribute{};
    std::size_t at = sizeof(header) + sizeof(unix_diag_msg);
    while (read_at(answer, at, &attribute) && attribute.rta_len >= sizeof(attribute)) {
        std::uint32_t peer = 0;
        if (attribute.rta_type == UNIX_DIAG_PEER &&
            read_at(answer, at + sizeof(attribute), &peer)) {
            return peer;
        }
        at += (attribute.rta_len + 3U) / 4 * 4;
    }
    return 0;
}

} // namespace

int Syscalls::get_flags(int fd) {
    return ::fcntl(fd, F_GETFL);
}

int Syscalls::socket_peer(int fd, std::uint64_t* inode) {
    struct ::stat status {};
    if (::fstat(fd, &status) != 0) { // never blocks on a socket
        return -1;
    }
    const FileDescriptor channel(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    const DiagRequest request = peer_request(status.st_ino);
    if (!channel || ::send(channel.get(), &request, sizeof(request), 0) < 0) {
        return -1;
    }
    std::string answer(4096, '\0');
    const ssize_t length = ::recv(channel.get(), answer.data(), answer.size(), 0);
    answer.resize(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    *inode = peer_in(answer);
    errno = ENOTCONN;
    return *inode == 0 ? -1 : 0;
}

} // namespace libfreeze::internal
