// SPDX-License-Identifier: LGPL-2.1-or-later
#include "signals.hpp"

#include "exit_status.hpp"

#include <cerrno>
#include <system_error>

#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace freezectl {

namespace {

bool is_ignored(int number) {
    struct sigaction action {};
    return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

} // namespace

Signals::Signals() {
    ::sigemptyset(&heeded_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
        if (!is_ignored(number)) {
            ::sigaddset(&heeded_, number);
        }
    }
    sigset_t read = heeded_;
    ::sigaddset(&read, SIGCHLD);
    sigset_t blocked = read;
    for (const int number : {SIGTSTP, SIGTTOU, SIGTTIN, SIGPIPE}) {
        ::sigaddset(&blocked, number);
    }
    (void)std::signal(SIGCHLD, SIG_DFL); // if it is ignored, the exit status of a child is lost
    ::pthread_sigmask(SIG_BLOCK, &blocked, &original_);
    fd_ = ::signalfd(-1, &read, SFD_CLOEXEC | SFD_NONBLOCK);
    cancel_fd_ = ::signalfd(-1, &heeded_, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd_ < 0 || cancel_fd_ < 0) {
        throw std::system_error(errno, std::system_category(), "cannot wait for signals");
    }
}

Signals::~Signals() {
    ::close(cancel_fd_);
    ::close(fd_);
}

std::optional<int> Signals::take() {
    signalfd_siginfo info{};
    while (::read(fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        if (info.ssi_signo != SIGCHLD) {
            return static_cast<int>(info.ssi_signo);
        }
    }
    return std::nullopt;
}

bool Signals::is_heeded(int number) const noexcept {
    return ::sigismember(&heeded_, number) == 1;
}

void die_of(int number) {
    const rlimit no_core{0, 0}; // QUIT is not a fault of this program
    ::setrlimit(RLIMIT_CORE, &no_core);
    (void)std::signal(number, SIG_DFL);
    sigset_t only{};
    ::sigemptyset(&only);
    ::sigaddset(&only, number);
    ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
    ::kill(::getpid(), number);
    ::_exit(exit_status::signal_base + number);
}

} // namespace freezectl
