// SPDX-License-Identifier: LGPL-2.1-or-later
#include "party.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace demo {

namespace {

[[noreturn]] void serve(int socket, const std::function<int(const std::string&)>& work) {
    std::array<char, 128> request{};
    for (;;) {
        const ssize_t length = recv(socket, request.data(), request.size(), 0);
        if (length <= 0)
            _exit(0); // the parent has gone
        const int error = work(std::string(request.data(), std::size_t(length)));
        const Party::Reply reply{error, now_ns()};
        if (send(socket, &reply, sizeof(reply), MSG_NOSIGNAL) < 0)
            _exit(0);
    }
}

} // namespace

Party::Party(const std::function<int(const std::string&)>& work) {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw std::system_error(errno, std::generic_category(), "socketpair");
    pid_ = fork();
    if (pid_ < 0)
        throw std::system_error(errno, std::generic_category(), "fork");
    if (pid_ == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        serve(ends[1], work);
    }
    close(ends[1]);
    socket_ = ends[0];
}

Party::~Party() {
    close(socket_);
    kill(pid_, SIGKILL);
    for (int i = 0; i < 20 && waitpid(pid_, nullptr, WNOHANG) == 0; ++i)
        usleep(5000);
}

std::optional<Party::Reply> Party::ask(const std::string& request,
                                       std::chrono::milliseconds patience) {
    if (blocked_)
        return std::nullopt;
    if (send(socket_, request.data(), request.size(), MSG_NOSIGNAL) < 0)
        throw std::system_error(errno, std::generic_category(), "a party has died");
    blocked_ = true;
    return late_reply(patience);
}

std::optional<Party::Reply> Party::late_reply(std::chrono::milliseconds patience) {
    pollfd ready{socket_, POLLIN, 0};
    if (!blocked_ || poll(&ready, 1, int(patience.count())) != 1)
        return std::nullopt;
    Reply reply{};
    if (recv(socket_, &reply, sizeof(reply), 0) != sizeof(reply))
        throw std::runtime_error("a party has died");
    blocked_ = false;
    return reply;
}

int run(const std::vector<std::string>& command) {
    std::vector<char*> arguments;
    arguments.reserve(command.size() + 1);
    for (const std::string& argument : command)
        arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);

    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t child = -1;
    const int error =
        posix_spawnp(&child, arguments[0], &quiet, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&quiet);
    int status = 0;
    if (error != 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

} // namespace demo
