// SPDX-License-Identifier: LGPL-2.1-or-later
#include "child.hpp"

#include "system.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace testing {

Child::Child(const std::function<int()>& work) {
    (void)std::fflush(stdout);
    pid_ = ::fork();
    if (pid_ < 0) {
        throw std::system_error(errno, std::system_category(), "fork");
    }
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        int result = 99;
        try {
            result = work();
        } catch (const std::exception& error) {
            const std::string_view text = error.what();
            (void)!::write(STDERR_FILENO, text.data(), text.size());
        }
        ::_exit(result); // no destructor of the parent's objects, no output of its buffers
    }
}

Child::~Child() {
    if (!ended_) {
        kill();
        ends_within(1s);
    }
}

bool Child::ends_within(std::chrono::milliseconds time) {
    int raw = 0;
    if (!ended_ && exits_within(pid_, static_cast<int>(time.count()), &raw)) {
        ended_ = true;
        status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    }
    return ended_;
}

void Child::kill() const {
    ::kill(pid_, SIGKILL);
}

int run(const std::vector<std::string>& command, std::chrono::milliseconds within,
        Messages messages) {
    std::vector<char*> arguments;
    arguments.reserve(command.size() + 1);
    for (const std::string& argument : command) {
        arguments.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments.push_back(nullptr);

    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (messages == Messages::hidden) {
        ::posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    }
    pid_t child = -1;
    const int error =
        ::posix_spawnp(&child, arguments[0], &files, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    if (error != 0) {
        return -1;
    }
    int status = 0;
    if (!exits_within(child, static_cast<int>(within.count()), &status)) {
        ::kill(child, SIGKILL);
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

} // namespace testing
