// SPDX-License-Identifier: LGPL-2.1-or-later
#include "program.hpp"

#include "signals.hpp"
#include "text.hpp"

#include <csignal>
#include <system_error>
#include <thread>

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace freezectl {

namespace {

using Clock = std::chrono::steady_clock;

/// Not if it is in the background: the terminal is another's then.
bool owns_terminal() {
    return ::isatty(STDIN_FILENO) == 1 && ::tcgetpgrp(STDIN_FILENO) == ::getpgrp();
}

/// How to start a program.
class Setup final {
public:
    Setup(const Signals& signals, bool gives_terminal) {
        ::posix_spawnattr_init(&attributes_);
        ::posix_spawn_file_actions_init(&actions_);
        ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
        ::posix_spawnattr_setpgroup(&attributes_, 0);
        ::posix_spawnattr_setsigmask(&attributes_, &signals.original_mask());
        if (gives_terminal) {
            ::posix_spawn_file_actions_addtcsetpgrp_np(&actions_, STDIN_FILENO);
        }
    }
    ~Setup() {
        ::posix_spawn_file_actions_destroy(&actions_);
        ::posix_spawnattr_destroy(&attributes_);
    }
    Setup(const Setup&) = delete;
    Setup& operator=(const Setup&) = delete;
    Setup(Setup&&) = delete;
    Setup& operator=(Setup&&) = delete;

    int start(std::vector<char*> words, pid_t* pid) {
        return ::posix_spawnp(pid, words.front(), &actions_, &attributes_, words.data(), ::environ);
    }

private:
    posix_spawnattr_t attributes_{};
    posix_spawn_file_actions_t actions_{};
};

} // namespace

Program::Program(const std::vector<std::string>& words, const Signals& signals)
    : has_terminal_(owns_terminal()) {
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (const std::string& word : words) {
        pointers.push_back(const_cast<char*>(word.c_str()));
    }
    pointers.push_back(nullptr);
    const int error = Setup(signals, has_terminal_).start(pointers, &pid_);
    if (error != 0) {
        if (has_terminal_) { // it may have had it already
            ::tcsetpgrp(STDIN_FILENO, ::getpgrp());
        }
        throw std::system_error(error, std::system_category(),
                                fmt::format("cannot run {}", in_quotes(words.front())));
    }
}

Program::~Program() {
    int status = 0;
    (void)::waitpid(pid_, &status, WNOHANG);
    if (has_terminal_) {
        ::tcsetpgrp(STDIN_FILENO, ::getpgrp());
    }
}

/// Leaves it a zombie: as long as it is one, its group's number is no other group's.
std::optional<Ending> Program::ending() {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) !=
            0 ||
        info.si_pid == 0) {
        return std::nullopt;
    }
    if (info.si_code == CLD_STOPPED) {
        if (info.si_status == SIGTSTP) {
            ::kill(-pid_, SIGCONT);
        }
        return std::nullopt;
    }
    return info.si_code == CLD_EXITED ? Ending{info.si_status, 0} : Ending{0, info.si_status};
}

void Program::send(int signal) const {
    ::kill(-pid_, signal);
    ::kill(-pid_, SIGCONT);
}

void Program::finish(std::chrono::milliseconds grace) {
    ends_within(grace);
    ::kill(-pid_, SIGKILL);
    ends_within(std::chrono::seconds(1)); // not longer: the device may keep it in the kernel
}

bool Program::ends_within(std::chrono::milliseconds time) {
    const auto deadline = Clock::now() + time;
    while (!ending()) {
        if (Clock::now() >= deadline) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
}

} // namespace freezectl
