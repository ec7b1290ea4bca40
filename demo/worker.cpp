// SPDX-License-Identifier: LGPL-2.1-or-later
#include "worker.hpp"

#include <cerrno>
#include <stdexcept>
#include <system_error>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace demo {

namespace {

std::array<int, 2> make_sockets() {
    std::array<int, 2> sockets{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0)
        throw std::system_error(errno, std::generic_category(), "socketpair");
    return sockets;
}

/// Until the parent has exited.
int serve(int socket, const std::function<int(const std::string&)>& work) {
    std::array<char, 128> request{};
    for (;;) {
        const ssize_t length = recv(socket, request.data(), request.size(), 0);
        if (length <= 0)
            return 0;
        const int error = work(std::string(request.data(), std::size_t(length)));
        const Worker::Reply reply{error, Clock::now()};
        if (send(socket, &reply, sizeof(reply), MSG_NOSIGNAL) < 0)
            return 0;
    }
}

} // namespace

Worker::Worker(const std::function<int(const std::string&)>& work)
    : sockets_(make_sockets()), child_([&] {
          close(sockets_[0]);
          return serve(sockets_[1], work);
      }) {
    close(sockets_[1]);
}

Worker::~Worker() {
    close(sockets_[0]);
}

std::optional<Worker::Reply> Worker::request(const std::string& request,
                                             std::chrono::milliseconds block_timeout) {
    if (blocked_)
        return std::nullopt;
    if (send(sockets_[0], request.data(), request.size(), MSG_NOSIGNAL) < 0)
        throw std::system_error(errno, std::generic_category(), "a worker has died");
    blocked_ = true;
    return late_reply(block_timeout);
}

std::optional<Worker::Reply> Worker::late_reply(std::chrono::milliseconds block_timeout) {
    pollfd ready{sockets_[0], POLLIN, 0};
    if (!blocked_ || poll(&ready, 1, int(block_timeout.count())) != 1)
        return std::nullopt;
    Reply reply{};
    if (recv(sockets_[0], &reply, sizeof(reply), 0) != sizeof(reply))
        throw std::runtime_error("a worker has died");
    blocked_ = false;
    return reply;
}

} // namespace demo
